import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { sleep } from '#lib';

const SAMPLE_MS = 50;
/** Samples in a row without work that count as rest. */
const SAMPLES = 2;
/** A process that never rests counts as ready after this long. */
const LONGEST_MS = 5_000;

/**
 * Resolves when a process and all it started have used no CPU for a while: a sandbox whose program has loaded and waits for
 * its input. Nothing else tells: gVisor shows nobody outside what its programs wait for.
 */
export const quiet = async (pid: number | undefined, signal: AbortSignal): Promise<void> => {
  if (pid === undefined) return;
  const until = performance.now() + LONGEST_MS;
  let last = -1;
  for (let rest = 0; rest < SAMPLES && performance.now() < until && !signal.aborted;) {
    const ticks = await ticksOf(pid);
    // The program has not begun while runsc has not started what it runs in.
    rest = ticks.processes > 1 && ticks.sum === last ? rest + 1 : 0;
    last = ticks.sum;
    await sleep(SAMPLE_MS, signal).catch(() => {});
  }
};

/** Ids of the children of a process, see proc(5). */
export const childrenOf = async (pid: number): Promise<number[]> => {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')));
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
};

/** Of the flags of a process (linux/sched.h): it has begun to exit. */
const EXITING = 0x4;
/** SIGKILL in a signal set. */
const KILL = 1 << 8;

/**
 * Whether a process is there, and neither dead nor about to be: the end of a large one takes a while, so one that was killed
 * counts as dead before it is. Synchronous: what it says holds for what is done next. See proc(5).
 */
export const isAlive = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // After the name, which can hold anything: field 3 is first, flags are 9.
    const [state = 'X', , , , , , flags = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if ('ZX'.includes(state) || (Number(flags) & EXITING) !== 0) return false;
    const pending = readFileSync(`/proc/${pid}/status`, 'latin1').matchAll(/^(?:SigPnd|ShdPnd):\s+[0-9a-f]*([0-9a-f]{8})$/gm);
    return ![...pending].some(([, low]) => (Number.parseInt(low!, 16) & KILL) !== 0);
  } catch {
    return false;
  }
};

/** CPU ticks (10 ms) of a process and its descendants, see proc(5). */
const ticksOf = async (pid: number): Promise<{ readonly sum: number; readonly processes: number }> => {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // After the name, which can hold anything: field 3 is first; utime and stime are 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const below = await Promise.all((await childrenOf(pid)).map(ticksOf));
    return {
      sum: below.reduce((sum, child) => sum + child.sum, Number(fields[11]) + Number(fields[12])),
      processes: below.reduce((count, child) => count + child.processes, 1),
    };
  } catch {
    return { sum: 0, processes: 0 }; // gone meanwhile
  }
};
