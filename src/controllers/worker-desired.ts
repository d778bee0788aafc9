import { LABELS } from '#api';
import { createController, signals, watches } from '#kube';
import { canonicalJson } from '#lib';
import type { GatewayRoot, WorkerDesired } from '#model';
import { servingRevisions } from './agent/revisions.ts';
import { poolKeyOf } from './caches.ts';
import type { Context } from './context.ts';

/** Root certificates of the gateways of each namespace, as the gateway controller has made them; absent = not known yet. */
export interface Roots {
  get(namespace: string): readonly GatewayRoot[] | undefined;
  /** Called with the namespace whose roots changed. */
  onChange(listener: (namespace: string) => void): () => void;
}

/** Agents, revisions and gateway roots -> what the workers of each pool should have, always whole. */
export const workerDesiredController = ({ caches: { pools, agents, revisions }, desired, log }: Context, roots: Roots): AsyncDisposable => {
  const published = new Map<string, string>();
  return createController({
    name: 'worker-desired',
    log,
    sources: [
      watches(pools),
      watches(agents, (agent) => [poolKeyOf(agent)]),
      watches(revisions, ({ metadata }) => {
        const agent = agents.get(metadata.namespace!, metadata.labels?.[LABELS.agent] ?? '');
        return agent ? [poolKeyOf(agent)] : [];
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
      const wanted: WorkerDesired = {
        revisions: agents
          .index('pool', pool)
          .flatMap((agent) => servingRevisions(agent, revisions.index('agent', `${namespace}/${agent.metadata.name}`)))
          .map(({ metadata, spec }) => ({ namespace, name: metadata.name, agent: metadata.labels?.[LABELS.agent] ?? '', image: spec.image }))
          .sort((a, b) => (a.name < b.name ? -1 : 1)),
        gateways,
      };
      const content = canonicalJson(wanted);
      if (published.get(pool) === content) return;
      published.set(pool, content);
      desired.setWorkerDesired(pool, wanted);
    },
  });
};
