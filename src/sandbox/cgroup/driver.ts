/** The part of a version of cgroups that is its own: where a group is, and the names and units of its files. */

/** What one sandbox may use, everything of it together: runtime, gofer and the processes of the agent. */
export interface GroupLimits {
  /** CPUs, as a share of time: 0.5 = half of one. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Processes and threads of the host. */
  readonly pids: number;
}

/** What the kernel counted for a group. */
export interface GroupUsage {
  /** Processes the kernel killed because the memory limit was reached. */
  readonly oomKills: number;
  /** Processes and threads that were refused because of the limit. */
  readonly pidsRefused: number;
  /** Periods of the CPU limit in which something ran, and those in which it had to wait. */
  readonly periods: number;
  readonly throttledPeriods: number;
  /** Time it had to wait, over all CPUs. */
  readonly throttledMs: number;
}

export interface Driver {
  readonly version: 1 | 2;
  /** Makes the parent of groups, able to have children with limits. */
  prepare(parent: string): Promise<void>;
  /** Directories of a group, one in each hierarchy. */
  dirs(group: string): readonly string[];
  /** The files that limit a group and what goes into them, in order. */
  limits(group: string, limits: GroupLimits): readonly LimitFile[];
  usage(group: string): Promise<GroupUsage>;
  /** Processes and threads of a group now. */
  pids(group: string): Promise<number>;
}

export interface LimitFile {
  readonly file: string;
  readonly value: string;
  /** May be missing: a kernel without swap accounting. */
  readonly optional?: boolean;
}

/** Period of the CPU limit. */
export const PERIOD_US = 100_000;
/** The kernel takes no quota below 1 ms and none above 2^44 us. */
export const quotaUs = (cpus: number): number => Math.min(Math.max(Math.round(cpus * PERIOD_US), 1_000), 2 ** 43);
/** The kernel counts in pages and refuses what does not fit in 64 bits. */
export const bytes = (value: number): string => BigInt(Math.min(Math.max(Math.floor(value), 4_096), 2 ** 62)).toString();

/** A file of `key value` lines; a key that is missing counts as 0. */
export const counters = (text: string): ((key: string) => number) => {
  const values = new Map(text.split('\n').map((line): [string, string] => [line.split(' ', 1)[0]!, line.slice(line.indexOf(' ') + 1)]));
  return (key) => Number(values.get(key) ?? 0);
};
