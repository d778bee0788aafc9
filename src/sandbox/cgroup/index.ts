import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { poll, systemCode } from '#lib';
import { detectDriver } from './detect.ts';
import type { Driver, GroupLimits, GroupUsage } from './driver.ts';

export { detectDriver } from './detect.ts';
export type { Driver, GroupLimits, GroupUsage } from './driver.ts';

/** How long the kernel may take to end the processes of a group that is removed. */
const EMPTY_WAIT_MS = 10_000;

/** The control group of one sandbox: its limits, and what it used. Disposing it ends every process in it. */
export interface Group extends AsyncDisposable {
  /** Files of all hierarchies; a process that writes its id into each is in the group. */
  readonly joinFiles: readonly string[];
  usage(): Promise<GroupUsage>;
  /** Processes and threads in it now. */
  pids(): Promise<number>;
}

/**
 * The groups of one worker, below a parent of their own whose name no other stack has: removing the parent with all it holds
 * is safe at any time, and is how a new life of the worker begins.
 */
export class Cgroups implements AsyncDisposable {
  readonly #driver: Driver;
  readonly #parent: string;

  private constructor(driver: Driver, parent: string) {
    this.#driver = driver;
    this.#parent = parent;
  }

  /** Removes what an earlier life left below `parent` and begins anew. Throws CgroupsUnusable. */
  static async open(parent: string, driver?: Driver): Promise<Cgroups> {
    const groups = new Cgroups(driver ?? (await detectDriver()), parent);
    await groups.#removeAll();
    await groups.#driver.prepare(parent);
    return groups;
  }

  get version(): 1 | 2 {
    return this.#driver.version;
  }

  /** Makes a group that holds its members to `limits` from the first moment. */
  async create(name: string, limits: GroupLimits): Promise<Group> {
    const driver = this.#driver;
    const group = join(this.#parent, name);
    const dirs = driver.dirs(group);
    const dispose = async (): Promise<void> => {
      for (const dir of dirs) await remove(dir);
    };
    try {
      for (const dir of dirs) await mkdir(dir);
      for (const { file, value, optional } of driver.limits(group, limits)) {
        await writeFile(file, value, { flag: 'r+' }).catch((error: unknown) => {
          if (!(optional && systemCode(error) === 'ENOENT')) throw error;
        });
      }
    } catch (error) {
      await dispose();
      throw error;
    }
    return {
      joinFiles: dirs.map((dir) => join(dir, 'cgroup.procs')),
      usage: () => driver.usage(group),
      pids: () => driver.pids(group),
      [Symbol.asyncDispose]: dispose,
    };
  }

  async #removeAll(): Promise<void> {
    for (const dir of this.#driver.dirs(this.#parent)) await remove(dir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#removeAll();
  }
}

/** Removes a group with its children; every process in them is killed. Fine when it is not there. */
const remove = async (dir: string): Promise<void> => {
  const entries = await readdir(dir, { withFileTypes: true }).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!entries) return;
  for (const entry of entries) if (entry.isDirectory()) await remove(join(dir, entry.name));
  const gone = async (): Promise<true | undefined> => {
    for (const pid of await members(dir)) kill(pid);
    try {
      await rmdir(dir);
      return true;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return true;
      if (systemCode(error) === 'EBUSY') return undefined;
      throw error;
    }
  };
  await poll(gone, 20, AbortSignal.timeout(EMPTY_WAIT_MS));
};

const members = async (dir: string): Promise<number[]> => {
  const text = await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '');
  // 0 is a process of another pid namespace: not ours to see, so not ours to kill.
  return text.split('\n').map(Number).filter(Boolean);
};

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has just ended
  }
};

/** Joins every file before `--` and becomes the command after it. A process that cannot join does not start. */
const JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 128; shift; done; shift; exec "$@"';

/** The command that runs `argv` as a member of a group. Nothing of `argv` is read by the shell. */
export const inGroup = (joinFiles: readonly string[], argv: readonly string[]): readonly [string, ...string[]] => [
  '/bin/sh',
  '-c',
  JOIN,
  'sh',
  ...joinFiles,
  '--',
  ...argv,
];
