import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments, type Document, type Node } from 'yaml';
import { ClrkError, messageOf } from '#lib';

/** One manifest as read: its object, and how to find the line of a field of it. */
export interface ManifestDocument {
  readonly file: string;
  readonly object: Record<string, unknown> & { apiVersion: string; kind: string; metadata: { name: string; namespace?: string } };
  /** Line of a field path (`spec.rules[0].matches`), or of its nearest parent that is written. */
  lineOf(path: string): number;
}

const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);
/** A manifest beyond this is refused by the API anyway. */
const MAX_BYTES = 10 * 1024 * 1024;

/** The manifest files of paths: a file as it is, a directory's YAML and JSON files by name (`recursive` = below it too), `-` = stdin. */
export const manifestFiles = async (paths: readonly string[], recursive = false): Promise<string[]> => {
  const files: string[] = [];
  for (const path of paths) {
    if (path === '-') {
      files.push(path);
      continue;
    }
    const info = await stat(path).catch((error: unknown) => {
      throw new ClrkError('FileUnreadable', { path, cause: messageOf(error) });
    });
    if (!info.isDirectory()) {
      files.push(path);
      continue;
    }
    const entries = (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (entry.isFile() && EXTENSIONS.has(extname(entry.name))) files.push(join(path, entry.name));
      if (entry.isDirectory() && recursive) files.push(...(await manifestFiles([join(path, entry.name)], true)));
    }
  }
  return files;
};

const readStdin = async (): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
};

/** Reads every document of a manifest file. Throws BadYaml with file, line and column for anything that is not a manifest. */
export const readManifests = async (file: string): Promise<ManifestDocument[]> => {
  let text: string;
  try {
    text = file === '-' ? await readStdin() : await readFile(file, 'utf8');
  } catch (error) {
    throw new ClrkError('FileUnreadable', { path: file, cause: messageOf(error) });
  }
  return parseManifests(file === '-' ? 'stdin' : file, text);
};

export const parseManifests = (file: string, text: string): ManifestDocument[] => {
  if (Buffer.byteLength(text) > MAX_BYTES) throw new ClrkError('BadYaml', { file, line: 1, column: 1, problem: `the file is larger than ${MAX_BYTES} bytes` });
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  if (!Array.isArray(documents)) return [];
  const out: ManifestDocument[] = [];
  for (const document of documents) {
    const bad = document.errors[0];
    if (bad) {
      const { line, col } = lines.linePos(bad.pos[0]);
      throw new ClrkError('BadYaml', { file, line, column: col, problem: bad.message });
    }
    if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) continue; // nothing between two lines of ---
    out.push(toManifest(file, document, lines));
  }
  return out;
};

const toManifest = (file: string, document: Document, lines: LineCounter): ManifestDocument => {
  const refuse = (problem: string, offset = document.contents?.range?.[0] ?? 0): never => {
    const { line, col } = lines.linePos(offset);
    throw new ClrkError('BadYaml', { file, line, column: col, problem });
  };
  if (!isMap(document.contents)) refuse('a manifest is a map with apiVersion, kind and metadata');
  let object: Record<string, unknown>;
  try {
    // Aliases are expanded at most this often, so that a few lines cannot become gigabytes.
    object = document.toJS({ maxAliasCount: 100 }) as Record<string, unknown>;
  } catch (error) {
    return refuse(messageOf(error));
  }
  for (const field of ['apiVersion', 'kind'] as const)
    if (typeof object[field] !== 'string' || object[field] === '') refuse(`${field} is missing or not a string`);
  const metadata = object['metadata'] as { name?: unknown } | undefined;
  if (typeof metadata?.name !== 'string' || metadata.name === '') refuse('metadata.name is missing or not a string');
  return {
    file,
    object: object as ManifestDocument['object'],
    lineOf: (path) => lines.linePos(offsetOf(document, path)).line,
  };
};

/** Where the last written part of a field path begins: its key in a map, its item in a list. */
const offsetOf = (document: Document, path: string): number => {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0] ?? 0;
  for (const [, index, key] of path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)) {
    if (index !== undefined && isSeq(node)) {
      node = node.items[Number(index)];
      offset = (isNode(node) ? node.range?.[0] : undefined) ?? offset;
    } else {
      const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === key) : undefined;
      if (!pair) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    }
  }
  return offset;
};
