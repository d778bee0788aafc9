import { readFile } from 'node:fs/promises';

/** What processes cost, from /proc. */

/** Processes by what they are called in a table. */
export type Processes = Readonly<Record<string, readonly number[]>>;
/** A number for each of those. */
export type PerProcess = Readonly<Record<string, number>>;

const TICK_MS = 10;

const sumOf = async (pids: readonly number[], of: (pid: number) => Promise<number>): Promise<number> =>
  (await Promise.all(pids.map(of))).reduce((sum, one) => sum + one, 0);

const each = async (processes: Processes, of: (pid: number) => Promise<number>): Promise<PerProcess> =>
  Object.fromEntries(await Promise.all(Object.entries(processes).map(async ([name, pids]) => [name, await sumOf(pids, of)] as const)));

/** User and system time so far, in ms (fields 14 and 15 of /proc/PID/stat). */
const cpuOf = (processes: Processes): Promise<PerProcess> =>
  each(processes, async (pid) => {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  });

/** Resident memory, MiB. */
export const rssOf = (processes: Processes): Promise<PerProcess> =>
  each(processes, async (pid) => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024);

/** Runs something and says what CPU time (ms) the processes spent meanwhile. */
export const withCpu = async <T>(processes: Processes, work: () => Promise<T>): Promise<readonly [T, PerProcess]> => {
  const before = await cpuOf(processes);
  const result = await work();
  const after = await cpuOf(processes);
  return [result, Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, ms - before[name]!]))];
};

export const total = (of: PerProcess): number => Object.values(of).reduce((sum, one) => sum + one, 0);
