import { taskAgents, type TaskAgent } from '#api';
import { createController, keyOf, signals, specChanged, splitKey, watches } from '#kube';
import { canonicalJson, kubeTime } from '#lib';
import type { WorkerReport } from '#model';
import { poolKeyOf } from '../caches.ts';
import { coalesce } from '../coalesce.ts';
import type { Context } from '../context.ts';
import { workersOf } from '../reports.ts';
import type { ActiveRuns } from './active.ts';
import { RevisionKeeper } from './keeper.ts';
import { agentStatus, type AgentFacts } from './status.ts';
import { warmCapOf, warmShares } from './warm.ts';

/** TaskAgents -> AgentSandboxRevisions, and the status of each agent. */
export const agentController = (context: Context, active: ActiveRuns): AsyncDisposable => {
  const { caches, workers, statuses, clock, log } = context;
  const { agents, revisions, pools, gateways } = caches;
  const keeper = new RevisionKeeper(taskAgents, context, active);

  /** What is known of the agent's warm sandboxes: those of the revision that serves. */
  const warmOf = (agent: TaskAgent): AgentFacts['warm'] => {
    const poolKey = poolKeyOf(agent);
    const pool = pools.get(agent.metadata.namespace!, agent.spec.workerPoolRef);
    const revision = `${agent.metadata.namespace}/${agent.spec.revisionName ?? agent.status?.latestReadyRevisionName ?? ''}`;
    return {
      share: pool && warmShares(pool, agents.index('pool', poolKey)).get(agent.metadata.name),
      workers: workersOf(workers, poolKey).map(({ report }) => report.warm.find((state) => state.revision === revision)),
      poolCap: pool ? warmCapOf(pool) : 0,
    };
  };

  return createController({
    name: 'agent',
    log,
    sources: [
      watches(agents),
      keeper.source,
      watches(pools, (pool) => agents.index('pool', keyOf(pool)).map(keyOf)),
      watches(gateways, ({ metadata }) => agents.list(metadata.namespace).map(keyOf)),
      signals((enqueue) => active.onChange(enqueue)),
      // A wish for warm sandboxes takes from what the other agents of the pool can have.
      watches(agents, (agent) => agents.index('pool', poolKeyOf(agent)).map(keyOf), specChanged),
      signals((enqueue) => {
        const changes = coalesce(enqueue);
        const stop = workers.onChange((_, now, before) => changedWarmth(now, before).forEach(changes.add));
        return () => (stop(), changes.stop());
      }),
    ],
    async reconcile(key) {
      const { namespace, name } = splitKey(key);
      const agent = agents.get(namespace, name);
      if (!agent || agent.metadata.deletionTimestamp) return;
      const problem = await keeper.mint(agent);
      await statuses.write(taskAgents, agent, (current) =>
        agentStatus(
          current,
          {
            revisions: keeper.of(agent),
            pinned: revisions.get(namespace, agent.spec.revisionName ?? ''),
            problem,
            pool: pools.get(namespace, agent.spec.workerPoolRef),
            gatewayExists: (gateway) => gateways.get(namespace, gateway) !== undefined,
            activeExecutions: active.count(key),
            warm: warmOf(agent),
          },
          kubeTime(clock.now()),
        ),
      );
      await keeper.retain(agent);
    },
  });
};

/** Agents whose warm sandboxes differ between two reports of a worker. */
const changedWarmth = (now: WorkerReport | undefined, before: WorkerReport | undefined): string[] => {
  const states = [...(now?.warm ?? []), ...(before?.warm ?? [])];
  const of = (report: WorkerReport | undefined, agent: string): string => canonicalJson(report?.warm.filter((state) => state.agent === agent) ?? []);
  return [...new Set(states.map(({ agent }) => agent))].filter((agent) => of(now, agent) !== of(before, agent));
};
