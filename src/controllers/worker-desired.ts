import { controllerOf, isProven, pinProblem, runTemplateOf, type TaskAgent, type WorkerPool } from '#api';
import { createController, signals, specChanged, watches } from '#kube';
import { canonicalJson } from '#lib';
import type { GatewayRoot, WarmTarget, WorkerDesired } from '#model';
import { preparedRevisions } from './agent/revisions.ts';
import { idleTtlOf, warmShares } from './agent/warm.ts';
import { poolKeyOf } from './caches.ts';
import type { Context } from './context.ts';

/** Root certificates of the gateways of each namespace, as the gateway controller has made them; absent = not known yet. */
export interface Roots {
  get(namespace: string): readonly GatewayRoot[] | undefined;
  /** Called with the namespace whose roots changed. */
  onChange(listener: (namespace: string) => void): () => void;
}

/** Agents, revisions and gateway roots -> what the workers of each pool should have, always whole. */
export const workerDesiredController = ({ caches: { pools, agents, daemons, revisions }, desired, log }: Context, roots: Roots): AsyncDisposable => {
  const published = new Map<string, string>();
  const warmTargets = (pool: WorkerPool, own: readonly TaskAgent[]): WarmTarget[] => {
    const shares = warmShares(pool, own);
    return own.flatMap((agent) => {
      const size = shares.get(agent.metadata.name)?.size ?? 0;
      // The revision that serves, as the dispatcher runs it.
      const revision = revisions.get(agent.metadata.namespace!, agent.spec.revisionName ?? agent.status?.latestReadyRevisionName ?? '');
      return size > 0 && revision && !pinProblem(agent, revision) ? [{ template: runTemplateOf(agent, revision), size, idleTtlMs: idleTtlOf(agent) }] : [];
    });
  };
  return createController({
    name: 'worker-desired',
    log,
    sources: [
      watches(pools),
      watches(agents, (agent) => [poolKeyOf(agent)]),
      watches(daemons, (agent) => [poolKeyOf(agent)], specChanged),
      watches(revisions, (revision) => {
        const name = controllerOf(revision)?.name ?? '';
        return [agents, daemons].flatMap((cache) => cache.get(revision.metadata.namespace!, name) ?? []).map(poolKeyOf);
      }),
      signals((enqueue) =>
        roots.onChange((namespace) => {
          for (const { metadata } of pools.list(namespace)) enqueue(`${namespace}/${metadata.name}`);
        }),
      ),
    ],
    async reconcile(pool) {
      const namespace = pool.slice(0, pool.indexOf('/'));
      const gateways = roots.get(namespace);
      // A snapshot without the gateways would take them away from workers that have them.
      if (!gateways) return;
      const own = agents
        .index('pool', pool)
        .filter(({ metadata }) => !metadata.deletionTimestamp)
        .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
      const object = pools.get(namespace, pool.slice(namespace.length + 1));
      const wanted: WorkerDesired = {
        revisions: [...own, ...daemons.index('pool', pool).filter(({ metadata }) => !metadata.deletionTimestamp)]
          .flatMap((agent) =>
            preparedRevisions(agent, revisions.index('owner', agent.metadata.uid!)).map((revision) => ({
              template: { ...runTemplateOf(agent, revision), gateways: [] },
              proven: isProven(revision),
            })),
          )
          .sort((a, b) => (a.template.revision < b.template.revision ? -1 : 1)),
        gateways,
        warm: object ? warmTargets(object, own) : [],
      };
      const content = canonicalJson(wanted);
      if (published.get(pool) === content) return;
      published.set(pool, content);
      desired.setWorkerDesired(pool, wanted);
    },
  });
};
