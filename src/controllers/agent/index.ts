import { agentSandboxRevisions, taskAgents, type AgentSandboxRevision, type TaskAgent } from '#api';
import { createController, isConflict, keyOf, signals, splitKey, watches } from '#kube';
import { kubeTime } from '#lib';
import type { Context } from '../context.ts';
import { writeStatus } from '../status.ts';
import type { ActiveRuns } from './active.ts';
import { generationOf, isOwnedBy, ownRevisions, revisionToMint } from './revisions.ts';
import { agentStatus } from './status.ts';

/** TaskAgents -> AgentSandboxRevisions, and the status of each agent. */
export const agentController = ({ client, caches: { agents, revisions, pools, gateways }, clock, log }: Context, active: ActiveRuns): AsyncDisposable => {
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
        },
        kubeTime(clock.now()),
      );
      await writeStatus(client, taskAgents, agent, status);
    },
  });
};
