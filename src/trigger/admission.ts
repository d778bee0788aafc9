import {
  agentSandboxRevisions,
  DEFAULT_MAX_EXECUTIONS,
  findCondition,
  notBuiltFields,
  pinProblem,
  resourceErrors,
  runTemplateOf,
  stopsRun,
  taskAgents,
  type AgentSandboxRevision,
  type TaskAgent,
  type WorkerPool,
} from '#api';
import { parseDuration } from '#lib';
import { templateKey, type Assignment, type RunTemplate, type SlotRequest } from '#model';

/** An agent as the cluster has it now, with what it refers to. */
export interface AgentView {
  readonly agent: TaskAgent;
  /** What `spec.revisionName` names, else the latest ready revision; absent when there is no such object. */
  readonly revision?: AgentSandboxRevision;
  readonly pool?: WorkerPool;
}

export interface AgentDirectory {
  get(namespace: string, name: string): AgentView | undefined;
}

/** What a run of this agent is made of, besides its own id, trace and event; or why it cannot run. */
export type Admission =
  | {
      readonly slot: Omit<SlotRequest, 'invocation'>;
      readonly run: RunTemplate & Pick<Assignment, 'timeoutMs'>;
    }
  | { readonly refused: string; readonly message: string };

const DEFAULT_TIMEOUT = '100s';
/** A run waits for its slot as long as it may then take, but never longer than this, in milliseconds. */
const MAX_WAIT_MS = 300_000;

/**
 * Reasons of a condition that do not count when there is a revision to run. An older one serves while there is no newer one that
 * can; what the others say is judged here, from what there is now: the status may be of before.
 */
const OLDER_SERVES = ['RevisionNotReady', 'RevisionNameTaken', 'RevisionInvalid'];
const JUDGED_HERE = ['RevisionNotFound', 'RevisionNotOwned', 'WorkerPoolNotFound', 'PoolScaledToZero', 'PoolAdmitsNothing'];

/** Decides whether an agent can run. Fails closed: what is missing, unknown or not built refuses the run with its reason. */
export const admit = ({ agent, revision, pool }: AgentView): Admission => {
  const { namespace = '', name } = agent.metadata;
  const unbuilt = [...notBuiltFields(taskAgents, agent), ...(revision ? notBuiltFields(agentSandboxRevisions, revision) : [])].filter(stopsRun);
  if (unbuilt.length > 0) return { refused: 'NotBuilt', message: `These fields are not built yet: ${[...new Set(unbuilt)].join(', ')}.` };

  const { replicas, maxExecutionsPerWorker = DEFAULT_MAX_EXECUTIONS } = pool?.spec ?? {};
  if (replicas === 0) return { refused: 'PoolScaledToZero', message: `WorkerPool ${agent.spec.workerPoolRef} has no workers: raise its spec.replicas from 0.` };
  if (maxExecutionsPerWorker === 0) {
    return { refused: 'PoolAdmitsNothing', message: `WorkerPool ${agent.spec.workerPoolRef} runs nothing: raise its spec.maxExecutionsPerWorker from 0.` };
  }
  const pin = pinProblem(agent, revision);
  if (pin) return { refused: pin.reason, message: pin.message };
  const ready = findCondition(agent.status?.conditions, 'Ready');
  if (ready?.status === 'False' && !(revision && [...OLDER_SERVES, ...JUDGED_HERE].includes(ready.reason)))
    return { refused: ready.reason, message: ready.message };
  if (!revision) return { refused: 'NoReadyRevision', message: 'The agent has no ready revision yet.' };
  if (!pool)
    return {
      refused: 'WorkerPoolNotFound',
      message: `WorkerPool ${agent.spec.workerPoolRef} does not exist: create it, or name another in spec.workerPoolRef.`,
    };
  const timeoutMs = parseDuration(agent.spec.timeout ?? DEFAULT_TIMEOUT);
  if (timeoutMs === undefined || timeoutMs <= 0) return { refused: 'TimeoutInvalid', message: `The timeout ${agent.spec.timeout} is not a positive duration.` };

  const [bad] = resourceErrors(agent.spec.resources, 'spec.resources');
  if (bad) return { refused: 'ResourcesInvalid', message: `${bad.field}: ${bad.message}` };

  const template = runTemplateOf(agent, revision);
  return {
    slot: {
      agent: `${namespace}/${name}`,
      pool: `${namespace}/${pool.metadata.name}`,
      maxConcurrent: agent.spec.maxConcurrent ?? 0,
      maxExecutionsPerWorker,
      maxWaitMs: Math.min(timeoutMs, MAX_WAIT_MS),
      template: templateKey(template),
    },
    run: { ...template, timeoutMs },
  };
};

/** Decides the same for an agent (`namespace/name`) whose run has waited. */
export const readmit = (directory: AgentDirectory, agent: string): Admission => {
  const at = agent.indexOf('/');
  const view = directory.get(agent.slice(0, at), agent.slice(at + 1));
  return view ? admit(view) : { refused: 'AgentNotFound', message: 'The agent was deleted while the run waited.' };
};

/** What holds now for a request that waits, or why it waits in vain. */
export const reviewer =
  (directory: AgentDirectory) =>
  ({ agent, pool }: SlotRequest): Omit<SlotRequest, 'invocation'> | { readonly refused: string; readonly message: string } => {
    const admission = readmit(directory, agent);
    if ('refused' in admission) return admission;
    if (admission.slot.pool === pool) return admission.slot;
    return { refused: 'PoolChanged', message: `The agent moved to pool ${admission.slot.pool} while the run waited for pool ${pool}; trigger it again.` };
  };
