import { stringify } from 'yaml';
import { isObject, type JsonObject } from '#admission';
import { ApiError } from '#kube';
import type { Target } from '../target.ts';
import { unifiedDiff } from '../text-diff.ts';
import { bodyOf, shortName, type Addressed } from './apply.ts';
import { badManifests, serverProblems } from './problems.ts';

/** What applying a manifest would change: the server applies it as a dry run, and the answer is compared with what is there. */

const BOOKKEEPING = new Set(['managedFields', 'resourceVersion', 'uid', 'creationTimestamp', 'generation']);

/** Without the fields that say who wrote and when, not what. */
const comparable = (object: JsonObject | undefined): JsonObject | undefined => {
  if (!object) return undefined;
  const metadata = Object.entries(object['metadata'] as JsonObject).filter(([field]) => !BOOKKEEPING.has(field));
  return { ...object, metadata: Object.fromEntries(metadata) };
};

/** Where kubectl keeps what it applied: the whole Secret. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** Values of a Secret show only whether they differ. */
const masked = (before: JsonObject | undefined, after: JsonObject | undefined): [JsonObject | undefined, JsonObject | undefined] => {
  const dataOf = (object: JsonObject | undefined): JsonObject => (isObject(object?.['data']) ? object['data'] : {});
  const [old, now] = [dataOf(before), dataOf(after)];
  const cover = (object: JsonObject | undefined, other: JsonObject, side: string): JsonObject | undefined => {
    if (!object) return object;
    const covered = Object.entries(dataOf(object)).map(([key, value]) => [key, other[key] === value ? '***' : `*** (${side})`]);
    const { annotations, ...metadata } = object['metadata'] as JsonObject;
    const told = isObject(annotations) && LAST_APPLIED in annotations ? { ...annotations, [LAST_APPLIED]: '***' } : annotations;
    return {
      ...object,
      metadata: { ...metadata, ...(told !== undefined && { annotations: told }) },
      ...('data' in object && { data: Object.fromEntries(covered) }),
    };
  };
  return [cover(before, now, 'before'), cover(after, old, 'after')];
};

const text = (object: JsonObject | undefined): string => (object ? stringify(object, { lineWidth: 0, sortMapEntries: true, aliasDuplicateObjects: false }) : '');

/** Empty when applying the manifest would change nothing. Throws BadManifests when the server would refuse it. */
export const diffOne = async ({ client }: Target, item: Addressed, force: boolean): Promise<string> => {
  const { manifest, kind, name, namespace } = item;
  try {
    const live = (await client.get(kind, namespace, name)) as JsonObject | undefined;
    const applied = (await client.apply(kind, bodyOf(item), { fieldManager: 'clrk', force, dryRun: true })) as unknown as JsonObject;
    const sides = [comparable(live), comparable(applied)] as const;
    const [before, after] = kind.kind === 'Secret' && kind.group === '' ? masked(...sides) : sides;
    const label = namespace ? `${namespace}/${shortName(item)}` : shortName(item);
    return await unifiedDiff({ label: `live/${label}`, text: text(before) }, { label: `applied/${label}`, text: text(after) });
  } catch (error) {
    if (error instanceof ApiError) throw badManifests(serverProblems(manifest, error, namespace));
    throw error;
  }
};
