import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ClrkError, messageOf, systemCode } from '#lib';

const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);

const unreadable = (path: string, error: unknown): ClrkError => {
  const cause = { ENOENT: 'there is no such file or directory', EACCES: 'permission denied', EISDIR: 'it is a directory', ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not text in UTF-8' }[systemCode(error) ?? ''];
  return new ClrkError('FileUnreadable', { path, cause: cause ?? messageOf(error) });
};

/** The manifest files of paths: a file as it is, a directory's YAML and JSON files by name (`recursive` = below it too), `-` = stdin. */
export const manifestFiles = async (paths: readonly string[], recursive = false): Promise<string[]> => {
  const files: string[] = [];
  for (const path of paths) {
    if (path === '-') {
      files.push(path);
      continue;
    }
    const info = await stat(path).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    if (!info.isDirectory()) {
      files.push(path);
      continue;
    }
    const entries = (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      const inside = join(path, entry.name);
      // A link may be to either; one that leads nowhere is told when it is read.
      const directory = entry.isSymbolicLink() ? await stat(inside).then((target) => target.isDirectory(), () => false) : entry.isDirectory();
      if (!directory && EXTENSIONS.has(extname(entry.name))) files.push(inside);
      // Links to directories are not followed: they may lead back.
      if (entry.isDirectory() && recursive) files.push(...(await manifestFiles([inside], true)));
    }
  }
  return files;
};

const readStdin = async (): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};

/** Text of a manifest file, and its name in messages. Throws FileUnreadable, also for what is not UTF-8. */
export const readManifestFile = async (file: string): Promise<{ name: string; text: string }> => {
  try {
    const bytes = file === '-' ? await readStdin() : await readFile(file);
    return { name: file === '-' ? 'stdin' : file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (error) {
    throw unreadable(file, error);
  }
};
