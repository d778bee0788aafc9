import { DEFAULT_MAX_EXECUTIONS, notBuiltFields, resourceErrors, stopsRun, taskAgents, type TaskAgent, type WorkerPool } from '#api';
import { parseDuration } from '#lib';
import type { WarmState } from '#model';
import type { Finding } from '../status.ts';

/** How many warm sandboxes of one agent each worker of its pool should have. */
export interface WarmShare {
  /** What the agent, or the pool for it, asks for. */
  readonly asked: number;
  /** What it gets: the shares of a pool stay within half of what a worker may run at the same time. */
  readonly size: number;
}

const IDLE_TTL_MS = 600_000;

export const idleTtlOf = ({ spec }: TaskAgent): number => parseDuration(spec.warmPoolIdleTTL ?? '') ?? IDLE_TTL_MS;

/** Whether sandboxes of the agent can be started before they have a run: a volume belongs to the run that has it. */
export const canBeWarm = (agent: TaskAgent): boolean =>
  agent.spec.state === undefined && !notBuiltFields(taskAgents, agent).some(stopsRun) && resourceErrors(agent.spec.resources, 'spec.resources').length === 0;

/** Half of what a worker of the pool may run at the same time. */
export const warmCapOf = ({ spec }: WorkerPool): number => Math.floor((spec.maxExecutionsPerWorker ?? DEFAULT_MAX_EXECUTIONS) / 2);

/**
 * The shares of a pool's agents, by name: first those that say how many, then those that share the pool's own `warmPool`
 * evenly. Agents get theirs in the order of their names until the cap is reached.
 */
export const warmShares = (pool: WorkerPool, agents: readonly TaskAgent[]): ReadonlyMap<string, WarmShare> => {
  const able = agents.filter(canBeWarm).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const own = able.filter(({ spec }) => spec.warmPoolSize !== undefined);
  const sharing = able.filter(({ spec }) => spec.warmPoolSize === undefined);
  const common = pool.spec.warmPool ?? 0;
  const asked = [
    ...own.map(({ metadata, spec }) => [metadata.name, spec.warmPoolSize!] as const),
    ...sharing.map(({ metadata }, index) => [metadata.name, Math.floor((common + sharing.length - 1 - index) / sharing.length)] as const),
  ];
  let left = warmCapOf(pool);
  return new Map(
    asked.map(([name, wish]) => {
      const size = Math.min(wish, left);
      left -= size;
      return [name, { asked: wish, size }];
    }),
  );
};

/** What an agent's warm sandboxes are judged by. */
export interface WarmFacts {
  readonly share: WarmShare | undefined;
  /** Of each connected worker of the pool: its report of the revision that serves. */
  readonly workers: readonly (WarmState | undefined)[];
  readonly poolCap: number;
  /** The condition was True before: a sandbox that a run has just taken is being replaced. */
  readonly kept: boolean;
}

/** Condition `WarmPool` of an agent, or undefined for one that wants no warm sandboxes. */
export const warmth = (agent: TaskAgent, { share, workers, poolCap, kept }: WarmFacts): Finding | undefined => {
  const no = (reason: string, message: string): Finding => ({ type: 'WarmPool', status: 'False', reason, message });
  if ((agent.spec.warmPoolSize ?? 0) > 0 && !canBeWarm(agent))
    return no('NotPossible', 'Sandboxes of this agent are not started ahead, because of spec.state, spec.resources or a field that is not built yet.');
  if (!share || share.asked === 0) return undefined;
  const { asked, size } = share;
  const limit = `Half of the pool's maxExecutionsPerWorker is ${poolCap}, for all its agents together`;
  if (size === 0) return no('Clamped', `${limit}; nothing of it is left for this agent, which asks for ${asked} on each worker.`);
  const trouble = workers.find((state) => state?.reason);
  if (trouble?.reason === 'StartsBeforeEvent')
    return no('StartsBeforeEvent', `${trouble.message} It cannot be started ahead, so its runs start cold until its template changes.`);
  if (trouble) return no(trouble.reason, trouble.message);
  if (workers.length === 0) return no('NoWorker', `No worker of WorkerPool ${agent.spec.workerPoolRef} is connected.`);
  if (!kept && workers.some((state) => (state?.ready ?? 0) < size)) return no('Starting', `The first ${size} on each worker are being started.`);
  if (size < asked) return { type: 'WarmPool', status: 'True', reason: 'Clamped', message: `${limit}; this agent has ${size} of ${asked} on each worker.` };
  return { type: 'WarmPool', status: 'True', reason: 'Kept', message: `${size} on each worker; one that is used is replaced.` };
};
