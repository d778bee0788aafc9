import { isObject, sameJson } from '#admission';
import type { KubeObject } from '#api';
import { ApiError, type ResourceKind } from '#kube';
import { ClrkError } from '#lib';
import { paint, type Io } from '../output.ts';
import type { Target } from '../target.ts';
import type { Manifest, ManifestProblem } from './documents.ts';
import { KindFinder, unknownKind } from './kinds.ts';
import { badManifests, readManifests, serverProblems } from './problems.ts';

/** Server-side apply of manifests. */

export interface ApplyOptions {
  /** For manifests that name none. */
  readonly namespace: string;
  /** Take over fields that another manager owns. */
  readonly force: boolean;
  /** The server judges and answers, and keeps nothing. */
  readonly dryRun?: boolean;
}

export type Outcome = 'created' | 'configured' | 'unchanged';

export interface Applied {
  readonly object: KubeObject;
  readonly outcome: Outcome;
}

const CONFLICT = 'another manager owns these fields: --force-conflicts takes them over';

/** A manifest and the resource it is of; both are known before anything is written. */
export interface Addressed {
  readonly manifest: Manifest;
  readonly kind: ResourceKind;
  readonly name: string;
  /** Empty for cluster-wide kinds. */
  readonly namespace: string;
}

/** `taskagent/summarizer` */
export const shortName = ({ kind, name }: Pick<Addressed, 'kind' | 'name'>): string => `${kind.kind.toLowerCase()}/${name}`;

/** The fields under which a server keeps an object must be there before one can be asked. */
const address = async (manifest: Manifest, finder: KindFinder, namespace: string): Promise<Addressed | ManifestProblem> => {
  const kind = await finder.find(manifest);
  if (!kind) return unknownKind(manifest);
  const metadata = manifest.value['metadata'];
  if (!isObject(metadata)) return manifest.problem('metadata', 'is missing or not a map');
  const { name, namespace: own } = metadata;
  if (typeof name !== 'string' || name === '') return manifest.problem('metadata.name', 'is missing or not text');
  if (own !== undefined && own !== null && typeof own !== 'string') return manifest.problem('metadata.namespace', 'is not text');
  return { manifest, kind, name, namespace: kind.namespaced ? own || namespace : '' };
};

/** What others are in comes first. */
const rank = ({ kind }: Addressed): number => (kind.kind === 'Namespace' && kind.group === '' ? 0 : 1);

/**
 * Reads files and directories and finds where each object belongs: in the order they are written, but Namespaces first. Throws
 * BadManifests with everything that is wrong so far.
 */
export const addressed = async ({ client }: Target, paths: readonly string[], { recursive, namespace }: { recursive: boolean; namespace: string }): Promise<Addressed[]> => {
  const { manifests, problems } = await readManifests(paths, recursive);
  const finder = new KindFinder(client);
  const found = await Promise.all(manifests.map((manifest) => address(manifest, finder, namespace)));
  const bad = [...problems, ...found.filter((item): item is ManifestProblem => !('kind' in item))];
  if (bad.length > 0) throw badManifests(bad);
  return found.filter((item): item is Addressed => 'kind' in item).toSorted((a, b) => rank(a) - rank(b));
};

/** What is sent for a manifest. */
export const bodyOf = ({ manifest, namespace }: Addressed): Manifest['object'] => {
  const { object } = manifest;
  return namespace ? { ...object, metadata: { ...object.metadata, namespace } } : object;
};

/** Applies one manifest. Throws BadManifests with file, line and field of everything the server refuses it for. */
export const applyOne = async ({ client }: Target, item: Addressed, { force, dryRun = false }: Pick<ApplyOptions, 'force' | 'dryRun'>): Promise<Applied> => {
  const { manifest, kind, name, namespace } = item;
  try {
    const before = await client.get(kind, namespace, name);
    const object = await client.apply(kind, bodyOf(item), { fieldManager: 'clrk', force, dryRun });
    return { object, outcome: !before ? 'created' : isSame(before, object, dryRun) ? 'unchanged' : 'configured' };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const problems = serverProblems(manifest, error, namespace);
    const conflict = error.causes.some(({ reason }) => reason === 'FieldManagerConflict');
    throw badManifests(conflict ? problems.map((problem) => ({ ...problem, message: `${problem.message}; ${CONFLICT}` })) : problems);
  }
};

/** A dry run makes no new version: whether something would change then shows in the content. */
const isSame = (before: KubeObject, after: KubeObject, dryRun: boolean): boolean => {
  if (!dryRun) return before.metadata.resourceVersion === after.metadata.resourceVersion;
  const content = ({ metadata: { managedFields: _managed, resourceVersion: _version, ...metadata }, ...object }: KubeObject) => ({ ...object, metadata });
  return sameJson(content(before), content(after));
};

const COLOURS = { created: 'green', configured: 'yellow', unchanged: 'dim' } as const;

/**
 * Applies files and directories in order. Everything is read before anything is applied, so that a typing error in the last file
 * changes nothing; then each object is tried, and all refusals are thrown together at the end. `report` is called for each that went well.
 */
export const applyFiles = async (
  target: Target,
  paths: readonly string[],
  options: ApplyOptions & { readonly recursive: boolean },
  report: (item: Addressed, applied: Applied) => void,
): Promise<void> => {
  const refused: string[] = [];
  for (const item of await addressed(target, paths, options)) {
    try {
      report(item, await applyOne(target, item, options));
    } catch (error) {
      if (!(error instanceof ClrkError) || error.code !== 'BadManifests') throw error;
      refused.push(error.message);
    }
  }
  if (refused.length > 0) throw new ClrkError('BadManifests', { problems: refused.join('\n'), fix: '' });
};

/** `taskagent/summarizer created` */
export const appliedLine = (io: Io, item: Addressed, { outcome }: Applied, dryRun = false): string =>
  `${shortName(item)} ${paint(io, COLOURS[outcome], outcome)}${dryRun ? ' (dry run)' : ''}\n`;
