import {
  findCondition,
  isTrue,
  notBuiltFields,
  pinProblem,
  stopsRun,
  taskAgents,
  type Agent,
  type AgentSandboxRevision,
  type TaskAgent,
  type WorkerPool,
} from '#api';
import { enforced, foldConditions, type Finding } from '../status.ts';
import { latestReady, servingRevision } from './revisions.ts';
import { warmth, type WarmFacts } from './warm.ts';

/** What the status of an agent is derived from. */
export interface AgentFacts {
  /** Revisions of this agent, newest first. */
  readonly revisions: readonly AgentSandboxRevision[];
  /** The object that `spec.revisionName` names. */
  readonly pinned: AgentSandboxRevision | undefined;
  /** Why the revision of the template cannot be made. */
  readonly problem: Finding | undefined;
  readonly pool: WorkerPool | undefined;
  readonly gatewayExists: (name: string) => boolean;
  /** Invocations that are Pending, Dispatched or Running. */
  readonly activeExecutions: number;
  readonly warm: Omit<WarmFacts, 'kept'>;
}

/** Condition `Ready` of an agent that names a pool or a gateway that is not there. */
export const missingReference = (agent: Agent, { pool, gatewayExists }: Pick<AgentFacts, 'pool' | 'gatewayExists'>): Finding | undefined => {
  const no = (reason: string, message: string): Finding => ({ type: 'Ready', status: 'False', reason, message });
  if (!pool) return no('WorkerPoolNotFound', `WorkerPool ${agent.spec.workerPoolRef} (spec.workerPoolRef) does not exist in this namespace.`);
  const missing = (agent.spec.egressRefs ?? []).map(({ gatewayRef }) => gatewayRef).filter((name) => !gatewayExists(name));
  return missing.length > 0
    ? no('EgressGatewayNotFound', `EgressGateway ${missing.join(', ')} (spec.egressRefs) does not exist in this namespace.`)
    : undefined;
};

const readiness = (agent: TaskAgent, { revisions, pinned, problem, pool, gatewayExists }: AgentFacts): Finding => {
  const no = (reason: string, message: string): Finding => ({ type: 'Ready', status: 'False', reason, message });
  const blocking = notBuiltFields(taskAgents, agent).filter(stopsRun);
  if (blocking.length > 0) return no('NotBuilt', `The agent cannot run, because these fields are not built yet: ${blocking.join(', ')}.`);
  const missing = missingReference(agent, { pool, gatewayExists });
  if (missing) return missing;
  if (pool?.spec.replicas === 0) return no('PoolScaledToZero', `WorkerPool ${pool.metadata.name} has no workers: raise its spec.replicas from 0.`);
  if (pool?.spec.maxExecutionsPerWorker === 0)
    return no('PoolAdmitsNothing', `WorkerPool ${pool.metadata.name} runs nothing: raise its spec.maxExecutionsPerWorker from 0.`);
  if (!problem) return revisionReadiness(agent, revisions, pinned);
  const serving = servingRevision(agent, revisions);
  return serving ? { ...problem, message: `${problem.message} Revision ${serving.metadata.name} serves meanwhile.` } : problem;
};

/** Condition `Ready` as far as revisions go: those of the agent, newest first, and what `spec.revisionName` names. */
export const revisionReadiness = (agent: Agent, revisions: readonly AgentSandboxRevision[], pinned: AgentSandboxRevision | undefined): Finding => {
  const no = (reason: string, message: string): Finding => ({ type: 'Ready', status: 'False', reason, message });
  const pin = pinProblem(agent, pinned);
  if (pin) return no(pin.reason, pin.message);
  const [newest] = revisions;
  if (pinned) {
    const ready = findCondition(pinned.status?.conditions, 'Ready');
    if (ready?.status !== 'True')
      return no('RevisionNotReady', `Revision ${pinned.metadata.name}, which spec.revisionName pins, is not ready: ${ready?.reason}: ${ready?.message}`);
    const newer = newest && newest.metadata.name !== pinned.metadata.name ? ` The newest is ${newest.metadata.name}.` : '';
    return {
      type: 'Ready',
      status: 'True',
      reason: 'RevisionPinned',
      message: `Revision ${pinned.metadata.name} serves, because spec.revisionName pins it.${newer}`,
    };
  }
  if (!newest) return no('RevisionNotReady', 'The first revision is being made.');
  if (isTrue(newest.status?.conditions, 'Ready'))
    return { type: 'Ready', status: 'True', reason: 'RevisionReady', message: `Revision ${newest.metadata.name} serves.` };
  const why = findCondition(newest.status?.conditions, 'Ready');
  const older = latestReady(agent, revisions);
  const serving = older && older !== newest && isTrue(older.status?.conditions, 'Ready') ? ` Revision ${older.metadata.name} serves meanwhile.` : '';
  return no(
    'RevisionNotReady',
    `Revision ${newest.metadata.name} is not ready: ${why ? `${why.reason}: ${why.message}` : 'no worker has reported yet.'}${serving}`,
  );
};

/** Status of an agent. `latestReadyRevisionName` moves only to a revision that is ready. */
export const agentStatus = (agent: TaskAgent, facts: AgentFacts, now: string): NonNullable<TaskAgent['status']> => {
  const { generation } = agent.metadata;
  const [newest] = facts.revisions;
  const ready = latestReady(agent, facts.revisions);
  const warm = warmth(agent, { ...facts.warm, kept: isTrue(agent.status?.conditions, 'WarmPool') });
  const before = warm ? agent.status?.conditions : agent.status?.conditions?.filter(({ type }) => type !== 'WarmPool');
  return {
    ...agent.status,
    activeExecutions: facts.activeExecutions,
    warmSandboxes: facts.warm.workers.reduce((sum, state) => sum + (state?.ready ?? 0), 0),
    latestCreatedRevisionName: newest?.metadata.name,
    latestReadyRevisionName: ready?.metadata.name,
    ...(generation !== undefined && { observedGeneration: generation }),
    conditions: foldConditions(before, [readiness(agent, facts), enforced(taskAgents, agent), ...(warm ? [warm] : [])], now, generation),
  };
};
