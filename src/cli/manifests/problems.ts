import { meantField, judge } from '#admission';
import { notBuiltFields } from '#api';
import type { ApiError } from '#kube';
import { ClrkError } from '#lib';
import type { Manifest, ManifestProblem, Manifests } from './documents.ts';
import { localKind, unknownKind } from './kinds.ts';
import { parseManifests } from './documents.ts';
import { manifestFiles, readManifestFile } from './files.ts';

/** What is wrong with manifests: by the rules of their kinds, or by the answer of a server. */

/** `agent.yaml:7:3: TaskAgent summarizer: spec.timeOut: unknown field` */
export const problemLine = ({ file, line, column, object, field, message }: ManifestProblem): string =>
  [`${file}:${line}:${column}`, object, field, message].filter((part) => part !== '').join(': ');

const withHint = (manifest: Manifest, field: string, message: string): string => {
  const kind = localKind(manifest);
  const meant = kind && meantField(kind, field);
  return meant ? `${message}; did you mean ${meant}?` : message;
};

/** Everything a server would refuse the manifest for, as far as that can be known without one. */
export const offlineProblems = (manifest: Manifest, namespace: string): ManifestProblem[] => {
  const kind = localKind(manifest);
  if (!kind) return [unknownKind(manifest)];
  return judge(kind, manifest.value, namespace).map(({ field, message, unknown = false }) =>
    manifest.problem(field, unknown ? withHint(manifest, field, message) : message, unknown),
  );
};

/** Fields that would be taken but have no effect yet. */
export const offlineWarnings = (manifest: Manifest): ManifestProblem[] => {
  const kind = localKind(manifest);
  return kind ? notBuiltFields(kind, manifest.object).map((field) => manifest.problem(field, 'has no effect yet; what it would allow is denied', true)) : [];
};

/**
 * What kube-apiserver says of an applied configuration that does not fit its schema, in a sentence or in a list:
 * `failed to create typed patch object (NS/NAME; VERSION, Kind=KIND): .spec.timeOut: field not declared in schema`.
 */
const typedProblems = (manifest: Manifest, message: string): ManifestProblem[] => {
  const [, said] = /^failed to create typed patch object \([^)]*\): (.*)$/s.exec(message) ?? [];
  return [...(said ?? '').matchAll(/^\s*\.((?:[^\s:[]|\[[^\]]*\])+): (.+)$/gm)].map(([, field, what]) => {
    const unknown = what === 'field not declared in schema';
    return manifest.problem(field!, unknown ? withHint(manifest, field!, 'unknown field') : what!, unknown);
  });
};

/** Unknown and duplicate fields, as they are quoted in a message. */
const quotedProblems = (manifest: Manifest, message: string): ManifestProblem[] =>
  [...message.matchAll(/(unknown|duplicate) field "((?:[^"\\]|\\.)*)"/g)].map(([, what, field]) => {
    const path = JSON.parse(`"${field}"`) as string;
    return manifest.problem(path, what === 'unknown' ? withHint(manifest, path, 'unknown field') : 'is there twice', true);
  });

/**
 * The problems an answer of the API names: its causes, else the fields in its message, else the whole. A server stops at fields
 * it cannot place; what else is wrong with the manifest is then told by the rules of its kind.
 */
export const serverProblems = (manifest: Manifest, error: ApiError, namespace: string): ManifestProblem[] => {
  const causes = error.causes.filter(({ field }) => field && field !== '<nil>');
  if (causes.length > 0) return causes.map(({ field, message }) => manifest.problem(field!, message ?? error.message));
  const misplaced = [...typedProblems(manifest, error.message), ...quotedProblems(manifest, error.message)];
  if (misplaced.length === 0) return [manifest.problem('', error.message)];
  const told = new Set(misplaced.map(({ field }) => field));
  const others = localKind(manifest) ? offlineProblems(manifest, namespace).filter(({ field }) => !told.has(field)) : [];
  return [...misplaced, ...others].toSorted((a, b) => a.line - b.line || a.column - b.column);
};

/** Reads the manifests of files and directories. Throws BadArgument when there are none, FileUnreadable. */
export const readManifests = async (paths: readonly string[], recursive: boolean): Promise<Manifests & { readonly files: number }> => {
  const files = await manifestFiles(paths, recursive);
  const read = await Promise.all(files.map(async (file) => readManifestFile(file)));
  const parsed = read.map(({ name, text }) => parseManifests(name, text));
  const all = { files: files.length, manifests: parsed.flatMap(({ manifests }) => manifests), problems: parsed.flatMap(({ problems }) => problems) };
  if (all.manifests.length === 0 && all.problems.length === 0)
    throw new ClrkError('BadArgument', {
      what: `No manifests in ${paths.join(', ')}.`,
      fix: 'Give YAML or JSON files, or directories with them (-R for those below).',
    });
  return all;
};

export const badManifests = (problems: readonly ManifestProblem[], fix = 'Correct the manifests and try again.'): ClrkError =>
  new ClrkError('BadManifests', { problems: problems.map(problemLine).join('\n'), fix });
