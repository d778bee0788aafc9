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

/** A write of ours that the cache may not show yet. */
interface Ahead {
  /** Versions of the object from before it. */
  readonly before: ReadonlySet<string>;
  /** The version it made. */
  readonly version: string;
  readonly status: object | undefined;
}

/**
 * Writes statuses that differ from what is there. A cache that does not show our last write yet is not believed: a condition
 * derived from it would have changed once more, at another time.
 */
export class Statuses {
  readonly #client: Client;
  /** By uid. */
  readonly #ahead = new Map<string, Ahead>();

  constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Brings the status of an object of a cache to what `next` makes of it; fields that are absent in the answer go away. `next` gets
   * the object with the newest status that is known. An object that is gone is left alone.
   */
  async write<T extends WithStatus>(kind: ResourceKind<T>, object: T, next: (current: T) => object): Promise<void> {
    const { namespace = '', name, uid = '', resourceVersion = '' } = object.metadata;
    const ahead = this.#aheadOf(uid, resourceVersion);
    const current = ahead ? { ...object, status: ahead.status } : object;
    const old = (current.status ?? {}) as Readonly<Record<string, unknown>>;
    const wanted = next(current) as Readonly<Record<string, unknown>>;
    const patch: Record<string, unknown> = {};
    for (const field of new Set([...Object.keys(old), ...Object.keys(wanted)])) {
      if (canonicalJson(old[field] ?? null) !== canonicalJson(wanted[field] ?? null)) patch[field] = wanted[field] ?? null;
    }
    if (Object.keys(patch).length === 0) return;
    try {
      const written = await this.#client.patchStatus(kind, namespace, name, patch);
      const before = new Set([...(ahead ? [...ahead.before, ahead.version] : []), resourceVersion]);
      if (written.metadata.uid === uid) this.#ahead.set(uid, { before, version: written.metadata.resourceVersion ?? '', status: written.status });
    } catch (error) {
      this.#ahead.delete(uid);
      if (!isNotFound(error)) throw error;
    }
  }

  #aheadOf(uid: string, resourceVersion: string): Ahead | undefined {
    const ahead = this.#ahead.get(uid);
    if (ahead?.before.has(resourceVersion)) return ahead;
    this.#ahead.delete(uid);
    return undefined;
  }
}
