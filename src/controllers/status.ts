import { notBuiltFields, setCondition, type Condition, type Kind, type KubeObject } from '#api';
import { isNotFound, type Client, type ResourceKind } from '#kube';
import { canonicalJson } from '#lib';

/** A condition without the parts that are filled in when it is written. */
export type Finding = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

interface WithStatus extends KubeObject {
  readonly status?: object;
}

/** `old` with the findings in it; transition times move only with the status. */
export const foldConditions = (
  old: readonly Condition[] | undefined,
  findings: readonly Finding[],
  now: string,
  observedGeneration?: number,
): readonly Condition[] =>
  findings.reduce<readonly Condition[]>(
    (conditions, finding) => setCondition(conditions, { ...finding, ...(observedGeneration !== undefined && { observedGeneration }) }, now),
    old ?? [],
  );

/** Condition `Enforced`: whether everything that is set has effect. */
export const enforced = (kind: Kind, object: KubeObject): Finding => {
  const fields = notBuiltFields(kind, object);
  return fields.length === 0
    ? { type: 'Enforced', status: 'True', reason: 'Enforced', message: 'Everything that is set is in effect.' }
    : {
        type: 'Enforced',
        status: 'False',
        reason: 'NotBuilt',
        message: `Not built yet, and what it would allow is denied: ${fields.join(', ')}.`,
      };
};

/** Writes a status when it differs from what the cache has; fields that are absent in `next` go away. An object that is gone is left alone. */
export const writeStatus = async <T extends WithStatus>(client: Client, kind: ResourceKind<T>, object: T, next: object): Promise<void> => {
  const old = (object.status ?? {}) as Readonly<Record<string, unknown>>;
  const wanted = next as Readonly<Record<string, unknown>>;
  const patch: Record<string, unknown> = {};
  for (const name of new Set([...Object.keys(old), ...Object.keys(wanted)])) {
    if (canonicalJson(old[name] ?? null) !== canonicalJson(wanted[name] ?? null)) patch[name] = wanted[name] ?? null;
  }
  if (Object.keys(patch).length === 0) return;
  try {
    await client.patchStatus(kind, object.metadata.namespace ?? '', object.metadata.name, patch);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
};
