import { expect, test } from 'vitest';
import type { KubeObject } from '#api';
import { createController, watches, type ChangeListener, type Informer } from '#kube';
import { silentLogger } from '#lib';

const object = (resourceVersion: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { namespace: 'default', name: 'a', resourceVersion },
});

test('a change of an object is one run of each key it has, not one for what it was and one for what it is', async () => {
  let tell: ChangeListener<KubeObject> | undefined;
  const informer = {
    synced: Promise.resolve(),
    list: () => [],
    onChange: (listener: ChangeListener<KubeObject>) => {
      tell = listener;
      return () => {};
    },
  } as unknown as Informer;
  const runs: string[] = [];
  await using _ = createController({
    name: 'test',
    log: silentLogger,
    sources: [watches(informer, ({ metadata }) => ['both', metadata.resourceVersion!])],
    reconcile: async (key) => void runs.push(key),
  });
  while (!tell) await new Promise(setImmediate);
  tell('default/a', object('2'), object('1'));
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  expect(runs.toSorted()).toEqual(['1', '2', 'both']);
});
