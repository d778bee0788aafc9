import { agentSandboxRevisions, taskAgents, type AgentSandboxRevision, type TaskAgent } from '#api';
import { createController, isConflict, keyOf, signals, specChanged, splitKey, watches } from '#kube';
import { canonicalJson, kubeTime } from '#lib';
import type { WorkerReport } from '#model';
import { poolKeyOf } from '../caches.ts';
import { coalesce } from '../coalesce.ts';
import type { Context } from '../context.ts';
import { workersOf } from '../reports.ts';
import { writeStatus } from '../status.ts';
import type { ActiveRuns } from './active.ts';
import { generationOf, isOwnedBy, ownRevisions, revisionToMint } from './revisions.ts';
import { agentStatus, type AgentFacts } from './status.ts';
import { warmCapOf, warmShares } from './warm.ts';

/** TaskAgents -> AgentSandboxRevisions, and the status of each agent. */
export const agentController = (
  { client, caches: { agents, revisions, pools, gateways }, workers, clock, log }: Context,
  active: ActiveRuns,
): AsyncDisposable => {
  /** The last revision made of each agent (by uid), for as long as the cache does not show it. */
  const minted = new Map<string, AgentSandboxRevision>();

  const revisionsOf = (agent: TaskAgent): AgentSandboxRevision[] => {
    const own = ownRevisions(agent, revisions.index('agent', keyOf(agent)));
    const last = minted.get(agent.metadata.uid!);
    if (!last) return own;
    if (!own.some(({ metadata }) => metadata.uid === last.metadata.uid) && (!own[0] || generationOf(own[0]) < generationOf(last))) return [last, ...own];
    minted.delete(agent.metadata.uid!);
    return own;
  };

  /** What is known of the agent's warm sandboxes: those of the revision that serves. */
  const warmOf = (agent: TaskAgent): AgentFacts['warm'] => {
    const poolKey = poolKeyOf(agent);
    const pool = pools.get(agent.metadata.namespace!, agent.spec.workerPoolRef);
    const revision = `${agent.metadata.namespace}/${agent.status?.latestReadyRevisionName ?? ''}`;
    return {
      share: pool && warmShares(pool, agents.index('pool', poolKey)).get(agent.metadata.name),
      workers: workersOf(workers, poolKey).map(({ report }) => report.warm.find((state) => state.revision === revision)),
      poolCap: pool ? warmCapOf(pool) : 0,
    };
  };

  const mint = async (agent: TaskAgent, newest: AgentSandboxRevision | undefined): Promise<void> => {
    const revision = revisionToMint(agent, newest);
    if (!revision) return;
    const { namespace, name } = { namespace: agent.metadata.namespace!, name: revision.metadata.name };
    try {
      minted.set(agent.metadata.uid!, await client.create(agentSandboxRevisions, revision));
      log.info('revision made', { revision: `${namespace}/${name}` });
    } catch (error) {
      if (!isConflict(error)) throw error;
      const there = await client.get(agentSandboxRevisions, namespace, name);
      // Left by an agent of the same name that is gone: generations begin again with every agent.
      if (there && !isOwnedBy(there, agent)) await client.delete(agentSandboxRevisions, namespace, name);
      throw error;
    }
  };

  return createController({
    name: 'agent',
    log,
    sources: [
      watches(agents),
      watches(revisions, ({ metadata }) => metadata.ownerReferences?.map(({ name }) => `${metadata.namespace}/${name}`) ?? []),
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
      await mint(agent, revisionsOf(agent)[0]);
      const status = agentStatus(
        agent,
        {
          revisions: revisionsOf(agent),
          poolExists: pools.get(namespace, agent.spec.workerPoolRef) !== undefined,
          missingGateways: (agent.spec.egressRefs ?? []).map(({ gatewayRef }) => gatewayRef).filter((gateway) => !gateways.get(namespace, gateway)),
          activeExecutions: active.count(key),
          warm: warmOf(agent),
        },
        kubeTime(clock.now()),
      );
      await writeStatus(client, taskAgents, agent, status);
    },
  });
};

/** Agents whose warm sandboxes differ between two reports of a worker. */
const changedWarmth = (now: WorkerReport | undefined, before: WorkerReport | undefined): string[] => {
  const states = [...(now?.warm ?? []), ...(before?.warm ?? [])];
  const of = (report: WorkerReport | undefined, agent: string): string => canonicalJson(report?.warm.filter((state) => state.agent === agent) ?? []);
  return [...new Set(states.map(({ agent }) => agent))].filter((agent) => of(now, agent) !== of(before, agent));
};
