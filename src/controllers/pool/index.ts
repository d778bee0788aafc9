import { DEFAULT_POOL, workerPools } from '#api';
import { createController, keyOf, signals, specChanged, splitKey, watches, type Client } from '#kube';
import { kubeTime } from '#lib';
import { poolKeyOf } from '../caches.ts';
import type { Context } from '../context.ts';
import { workersOf } from '../reports.ts';
import { poolStatus } from './status.ts';

/**
 * Makes pool `default/default` with one replica unless there is one. Applied under the field manager of `clrk apply`, so that
 * a manifest of that name takes it over without a conflict.
 */
export const ensureDefaultPool = async (client: Client): Promise<void> => {
  if (await client.get(workerPools, DEFAULT_POOL, DEFAULT_POOL)) return;
  const pool = { metadata: { namespace: DEFAULT_POOL, name: DEFAULT_POOL }, spec: { template: { image: 'clrk/worker' } } };
  await client.apply(workerPools, pool, { fieldManager: 'clrk' });
};

/** WorkerPools and worker reports -> how many workers to run, and the status of each pool. */
export const poolController = ({ caches: { pools, agents }, desired, workers, statuses, clock, log }: Context): AsyncDisposable =>
  createController({
    name: 'pool',
    log,
    sources: [
      watches(pools),
      watches(agents, (agent) => [poolKeyOf(agent)], specChanged),
      signals((enqueue) => workers.onChange((_, ...reports) => reports.forEach((report) => report && enqueue(report.pool)))),
    ],
    async reconcile(key) {
      const wanted = pools.list().filter(({ metadata }) => !metadata.deletionTimestamp);
      desired.setWorkers({ pools: wanted.map((pool) => ({ pool: keyOf(pool), replicas: pool.spec.replicas })).sort((a, b) => (a.pool < b.pool ? -1 : 1)) });
      const { namespace, name } = splitKey(key);
      const pool = pools.get(namespace, name);
      if (!pool) return;
      const reports = workersOf(workers, key).map(({ report }) => report);
      await statuses.write(workerPools, pool, (current) => poolStatus(current, agents.index('pool', key), reports, kubeTime(clock.now())));
    },
  });
