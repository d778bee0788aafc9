import { apiVersionOf, KINDS, type Kind, type KubeObject } from '#api';
import { pathOf } from './judge.ts';
import { MERGE } from './play.ts';
import type { TestClient } from '../unit/apiserver/harness.ts';

/** What becomes of objects that were stored before a rule was made. */

export const TIGHTENED = KINDS.find(({ kind }) => kind === 'RateLimitPolicy')!;
const { schema } = TIGHTENED;
const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } as const;
/** The same kind when its spec could be anything. */
export const LOOSE: Kind = { ...TIGHTENED, schema: { ...schema, properties: { ...schema.properties, spec: open } } };

export const STORED = {
  apiVersion: apiVersionOf(TIGHTENED),
  kind: TIGHTENED.kind,
  metadata: { name: 'old' },
  spec: { requests: 0, window: '0s', scope: 'PerRoute' },
} as KubeObject;

/** What is patched, and the fields it is then refused for. */
export const CHANGES: readonly (readonly [patch: object, refused: readonly string[]])[] = [
  [{ metadata: { labels: { a: 'b' } } }, []],
  [{ spec: { scope: 'PerAgent' } }, []],
  [{ spec: { requests: -1 } }, ['spec.requests']],
  [{ spec: { window: '-1s' } }, ['spec.window']],
  [{ spec: { scope: 'Everybody' } }, ['spec.scope']],
  [{ spec: { requests: 5 } }, []],
  [{ spec: { requests: 0 } }, ['spec.requests']],
];

/** The fields each change is refused for. */
export const refusedFields = async (client: TestClient): Promise<string[][]> => {
  const found: string[][] = [];
  for (const [patch] of CHANGES) {
    const { body } = await client.call('PATCH', pathOf(TIGHTENED, 'old'), patch, { type: MERGE });
    const causes = (body.details?.causes ?? []) as { field: string }[];
    found.push([...new Set(causes.map(({ field }) => field).filter((field) => field !== '<nil>'))]);
  }
  return found;
};
