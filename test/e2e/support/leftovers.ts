import { readdir, readFile, readlink } from 'node:fs/promises';

export interface ProcessInfo {
  readonly pid: number;
  readonly argv: readonly string[];
}

/** Every process of this machine that has a command line. */
export const processes = async (): Promise<ProcessInfo[]> => {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => ({ pid: Number(pid), argv: (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').slice(0, -1) })),
  );
  return found.filter(({ argv }) => argv.length > 0);
};

/** Processes whose command line names one of the directories. */
export const processesOf = async (...dirs: string[]): Promise<ProcessInfo[]> =>
  (await processes()).filter(({ pid, argv }) => pid !== process.pid && argv.some((arg) => dirs.some((dir) => arg.includes(dir))));

const parentOf = async (pid: number): Promise<number> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
};

/** Without those whose parent is one of them, too: a process that is just starting another one shows up twice for a moment. */
export const withoutForks = async (pids: readonly number[]): Promise<number[]> => {
  const parents = await Promise.all(pids.map(parentOf));
  return pids.filter((_, index) => !pids.includes(parents[index]!));
};

/** The processes and all their descendants. */
export const withDescendants = async (pids: readonly number[]): Promise<number[]> => {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const parents = new Map<number, number>();
  for (const pid of all) parents.set(pid, await parentOf(pid));
  const below = (pid: number | undefined): boolean => pid !== undefined && pid > 0 && (pids.includes(pid) || below(parents.get(pid)));
  return all.filter(below);
};

/** Mount points at or below the directories, as a process sees them: a stack has a mount namespace of its own. */
export const mountsOf = async (pid: number | 'self', ...dirs: string[]): Promise<string[]> =>
  (await readFile(`/proc/${pid}/mountinfo`, 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => dirs.some((dir) => point === dir || point.startsWith(`${dir}/`)));

/** Processes in the network or mount namespace of that inode number. */
export const pidsInNamespace = async (kind: 'net' | 'mnt', ino: number): Promise<number[]> => {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const inside = await Promise.all(
    pids.map(async (pid) => ((await readlink(`/proc/${pid}/ns/${kind}`).catch(() => '')) === `${kind}:[${ino}]` ? [Number(pid)] : [])),
  );
  return inside.flat();
};
