import { daemonAgents, pinProblem } from '#api';
import { createController, existenceChanged, keyOf, splitKey, watches } from '#kube';
import { kubeTime } from '#lib';
import type { ActiveRuns } from './agent/active.ts';
import { RevisionKeeper } from './agent/keeper.ts';
import { latestReady } from './agent/revisions.ts';
import { missingReference } from './agent/status.ts';
import type { Context } from './context.ts';
import { enforced, foldConditions } from './status.ts';

/**
 * Kinds that exist and whose behaviour does not yet: their objects say so, and nothing they ask for happens. A DaemonAgent runs
 * nothing (its revisions are made, and tried, all the same).
 */
export const unbuiltControllers = (context: Context, active: ActiveRuns): AsyncDisposable => {
  const { caches, statuses, clock, log } = context;
  const { gateways, daemons, pools, revisions } = caches;
  const now = (): string => kubeTime(clock.now());
  const keeper = new RevisionKeeper(daemonAgents, context, active);
  return createController({
    name: 'unbuilt-daemonagents',
    log,
    sources: [
      watches(daemons),
      keeper.source,
      watches(pools, (pool) => daemons.index('pool', keyOf(pool)).map(keyOf), existenceChanged),
      watches(gateways, ({ metadata }) => daemons.list(metadata.namespace).map(keyOf), existenceChanged),
    ],
    async reconcile(key) {
      const { namespace, name } = splitKey(key);
      const agent = daemons.get(namespace, name);
      if (!agent || agent.metadata.deletionTimestamp) return;
      const problem = await keeper.mint(agent);
      const own = keeper.of(agent);
      const pin = pinProblem(agent, revisions.get(namespace, agent.spec.revisionName ?? ''));
      const dangling =
        problem ??
        missingReference(agent, {
          pool: pools.get(namespace, agent.spec.workerPoolRef),
          gatewayExists: (gateway) => gateways.get(namespace, gateway) !== undefined,
        }) ??
        (pin && ({ type: 'Ready', status: 'False', ...pin } as const));
      const ready = { type: 'Ready', status: 'False', reason: 'NotBuilt', message: 'Kind DaemonAgent is not built yet; nothing runs.' } as const;
      const { generation } = agent.metadata;
      await statuses.write(daemonAgents, agent, (current) => ({
        phase: 'Stopped',
        latestCreatedRevisionName: own[0]?.metadata.name,
        latestReadyRevisionName: latestReady(current, own)?.metadata.name,
        observedGeneration: generation,
        conditions: foldConditions(current.status?.conditions, [dangling ?? ready, enforced(daemonAgents, agent)], now(), generation),
      }));
      await keeper.retain(agent);
    },
  });
};
