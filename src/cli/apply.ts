import { apiVersionOf, KINDS, type Kind } from '#api';
import { ApiError } from '#kube';
import { ClrkError } from '#lib';
import { manifestFiles, readManifests, type ManifestDocument } from './documents.ts';
import { paint, type Io } from './output.ts';
import type { Target } from './target.ts';

interface ApplyOptions {
  readonly namespace: string;
  /** Take over fields that another manager owns. */
  readonly force: boolean;
}

const known = new Map(KINDS.map((kind) => [`${apiVersionOf(kind)}/${kind.kind}`, kind]));

/** The kind of a manifest; an unknown one is refused with its line and what was probably meant. */
const kindOf = ({ object, file, lineOf }: ManifestDocument): Kind => {
  const kind = known.get(`${object.apiVersion}/${object.kind}`);
  if (kind) return kind;
  const meant = KINDS.find((candidate) => candidate.kind.toLowerCase() === object.kind.toLowerCase());
  const field = meant && meant.kind === object.kind ? 'apiVersion' : 'kind';
  const hint = meant ? `; did you mean ${apiVersionOf(meant)} ${meant.kind}?` : `; known kinds: ${KINDS.map(({ kind: name }) => name).join(', ')}`;
  throw new ClrkError('BadYaml', { file, line: lineOf(field), column: 1, problem: `unknown kind ${object.apiVersion} ${object.kind}${hint}` });
};

/** Field paths named by an answer of the API: those of its causes, else those quoted in its message. */
const fieldsOf = (error: ApiError): { field: string; text: string }[] => {
  const causes = error.causes.filter(({ field }) => field && field !== '<nil>');
  if (causes.length > 0) return causes.map(({ field, message }) => ({ field: field!.replace(/^\./, ''), text: message ?? '' }));
  return [...error.message.matchAll(/(?:unknown|duplicate) field "([^"]+)"/g)].map((match) => ({ field: match[1]!, text: match[0] }));
};

const explain = (error: ApiError, { file, object, lineOf }: ManifestDocument): string => {
  const fields = fieldsOf(error);
  if (fields.length === 0) return `${file}:${lineOf('')}: ${object.kind} ${object.metadata.name}: ${error.message}`;
  return fields.map(({ field, text }) => `${file}:${lineOf(field)}: ${object.kind} ${object.metadata.name}: ${field}: ${text}`).join('\n');
};

/** Applies one manifest (server-side apply); answers of the API come back with file and line. */
export const applyDocument = async ({ client }: Target, document: ManifestDocument, { namespace, force }: ApplyOptions): Promise<string> => {
  const kind = kindOf(document);
  const { object } = document;
  const body = { ...object, metadata: { ...object.metadata, ...(kind.namespaced ? { namespace: object.metadata.namespace ?? namespace } : {}) } };
  try {
    await client.apply(kind, body, { fieldManager: 'clrk', force });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const hint = error.reason === 'Conflict' ? '\nAnother manager owns these fields: use --force-conflicts to take them over.' : '';
    throw new ClrkError('ApiRefused', { what: explain(error, document) + hint }, { cause: error });
  }
  return `${kind.singular}/${object.metadata.name}`;
};

/** Applies files and directories in order. Every document is tried; the first failures are reported together at the end. */
export const applyFiles = async (io: Io, target: Target, paths: readonly string[], options: ApplyOptions & { recursive: boolean }): Promise<void> => {
  const files = await manifestFiles(paths, options.recursive);
  // Everything is read before anything is applied, so that a typing error in the last file changes nothing.
  const documents = (await Promise.all(files.map(readManifests))).flat();
  if (documents.length === 0)
    throw new ClrkError('BadArgument', {
      what: `No manifests in ${paths.join(', ')}.`,
      fix: 'Give YAML or JSON files, or directories with them (-R for those below).',
    });
  for (const document of documents) kindOf(document);
  const failures: string[] = [];
  for (const document of documents) {
    try {
      io.err(`${await applyDocument(target, document, options)} ${paint(io, 'green', 'applied')}\n`);
    } catch (error) {
      if (!(error instanceof ClrkError)) throw error;
      failures.push(error.message);
    }
  }
  if (failures.length > 0) throw new ClrkError('ApiRefused', { what: failures.join('\n') });
};
