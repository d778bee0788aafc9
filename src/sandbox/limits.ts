import type { Exit } from '#lib';
import type { RunConditions, RunTemplate, RunUpdate } from '#model';
import type { GroupLimits, GroupUsage } from './cgroup/index.ts';

/** Processes and threads one sandbox can have; a fork beyond it fails inside (EAGAIN), and the agent goes on. */
export const TASKS = 512;
/**
 * What that may cost the host: a process inside is up to five of the host's (its address space, and threads that enter it), a
 * thread inside is none. Should the runtime need more, it dies of it, and the run ends PidsLimited.
 */
const HOST_PIDS = 4096;

/** Told as CPUThrottled: a run that had to wait in this share of the periods of its limit, and this long in all. */
const THROTTLED_SHARE = 0.1;
const THROTTLED_MS = 500;

type Limits = Pick<RunTemplate, 'cpus' | 'memoryBytes' | 'storageBytes'>;

export const groupLimits = ({ cpus, memoryBytes }: Limits): GroupLimits => ({ cpus, memoryBytes, pids: HOST_PIDS });

/** What a run met of its limits. */
export interface ObservedLimits {
  readonly outOfMemory: boolean;
  readonly outOfPids: boolean;
  readonly conditions: RunConditions;
}

/** `tasksFull`: it was seen with as many processes and threads as it may have. */
export const observedLimits = (usage: GroupUsage | undefined, { cpus }: Limits, tasksFull = false): ObservedLimits => {
  if (!usage) return { outOfMemory: false, outOfPids: false, conditions: {} };
  const { periods, throttledPeriods, throttledMs } = usage;
  const outOfPids = tasksFull || usage.pidsRefused > 0;
  const conditions: Record<string, string> = {};
  if (throttledMs >= THROTTLED_MS && throttledPeriods >= periods * THROTTLED_SHARE) {
    const seconds = (throttledMs / 1000).toFixed(1);
    conditions['CPUThrottled'] = `Its threads waited ${seconds} s in all because of the limit of ${cpus} CPUs (in ${throttledPeriods} of ${periods} periods).`;
  }
  if (outOfPids) conditions['PidsLimited'] = `It reached the limit of ${TASKS} processes and threads.`;
  return { outOfMemory: usage.oomKills > 0, outOfPids, conditions };
};

/** How a run ended that a limit ended; undefined when none did. A run that lost a process to its memory limit has failed. */
export const limitVerdict = (
  { outOfMemory, outOfPids }: ObservedLimits,
  exit: Exit,
  { memoryBytes }: Limits,
): Pick<RunUpdate, 'phase' | 'reason' | 'message' | 'exitCode'> | undefined => {
  if (outOfMemory) {
    const limit = `${Math.floor(memoryBytes / 2 ** 20)} MiB`;
    return { phase: 'Failed', reason: 'OOMKilled', message: `It needed more memory than its limit of ${limit}.`, exitCode: 137 };
  }
  if (outOfPids && exit.code !== 0) {
    const how = exit.code === null ? `signal ${exit.signal}` : `exit code ${exit.code}`;
    const message = `It ended with ${how} at its limit of ${TASKS} processes and threads.`;
    return { phase: 'Failed', reason: 'PidsLimited', message, exitCode: exit.code ?? 137 };
  }
  return undefined;
};
