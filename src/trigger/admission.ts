import { agentSandboxRevisions, findCondition, notBuiltFields, stopsRun, taskAgents, type AgentSandboxRevision, type TaskAgent, type WorkerPool } from '#api';
import { parseDuration } from '#lib';
import type { Assignment, RunTemplate, SlotRequest } from '#model';

/** An agent as the cluster has it now, with what it refers to. */
export interface AgentView {
  readonly agent: TaskAgent;
  /** The latest ready revision, if there is one. */
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

/** Runs on one worker at the same time when its pool sets no `maxExecutionsPerWorker`. */
export const DEFAULT_MAX_EXECUTIONS = 16;

const DEFAULT_TIMEOUT = '100s';

/** A newer revision is not ready yet, and an older one goes on serving. */
const OLDER_SERVES = ['RevisionNotReady'];

/** Decides whether an agent can run. Fails closed: what is missing, unknown or not built refuses the run with its reason. */
export const admit = ({ agent, revision, pool }: AgentView): Admission => {
  const { namespace = '', name } = agent.metadata;
  const unbuilt = [...notBuiltFields(taskAgents, agent), ...(revision ? notBuiltFields(agentSandboxRevisions, revision) : [])].filter(stopsRun);
  if (unbuilt.length > 0) return { refused: 'NotBuilt', message: `These fields are not built yet: ${[...new Set(unbuilt)].join(', ')}.` };

  const ready = findCondition(agent.status?.conditions, 'Ready');
  if (ready?.status === 'False' && !(revision && OLDER_SERVES.includes(ready.reason))) return { refused: ready.reason, message: ready.message };
  if (!revision) return { refused: 'NoReadyRevision', message: 'The agent has no ready revision yet.' };
  if (!pool) return { refused: 'WorkerPoolNotFound', message: `WorkerPool ${agent.spec.workerPoolRef} does not exist.` };
  const timeoutMs = parseDuration(agent.spec.timeout ?? DEFAULT_TIMEOUT);
  if (timeoutMs === undefined || timeoutMs <= 0) return { refused: 'TimeoutInvalid', message: `The timeout ${agent.spec.timeout} is not a positive duration.` };

  const { image, command = [], args = [], env = [] } = revision.spec;
  return {
    slot: {
      agent: `${namespace}/${name}`,
      pool: `${namespace}/${pool.metadata.name}`,
      maxConcurrent: agent.spec.maxConcurrent ?? 0,
      maxExecutionsPerWorker: pool.spec.maxExecutionsPerWorker ?? DEFAULT_MAX_EXECUTIONS,
    },
    run: {
      namespace,
      agent: name,
      revision: revision.metadata.name,
      image,
      command,
      args,
      env: env.map(({ name: key, value }) => ({ name: key, value: value ?? '' })),
      timeoutMs,
      // Only the first gateway is built; the others admit nothing.
      gateways: (agent.spec.egressRefs ?? []).slice(0, 1).map(({ gatewayRef }) => `${namespace}/${gatewayRef}`),
    },
  };
};
