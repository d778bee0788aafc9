import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run, systemCode } from '#lib';

/** Directory of all stacks' run directories. Every uid may pass through it, nobody but root may look into it. */
export const RUN_ROOT = '/run/clrk';

/** The short directory of a stack's sockets: `/run/clrk/<8 hex digits of the state directory>`. */
export const runDirOf = (state: string): string => join(RUN_ROOT, createHash('sha256').update(state).digest('hex').slice(0, 8));

/** Directories of the checkout that programs load from. Each is bound by itself, so that the checkout's own mode does not matter. */
export const APP_PARTS = ['src', 'node_modules'] as const;

/** What is bound into a run directory, in the stack's own mount namespace: parts of the checkout, the state directory, the tools. */
const BOUND = [...APP_PARTS.map((part) => join('app', part)), 'state', 'tools'];

/** Mount points at or below `dir`, deepest first. Mountinfo writes odd characters as octal; our paths have none. */
const mountsUnder = async (dir: string): Promise<string[]> =>
  (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === dir || point.startsWith(`${dir}/`))
    .reverse();

/** Unmounts everything in a directory: namespaces are bind mounts of their files. */
export const unmountUnder = async (dir: string): Promise<void> => {
  for (const point of await mountsUnder(dir)) await run('umount', ['--lazy', point]);
};

/**
 * Removes a run directory with whatever a killed owner left mounted in it. What is bound there is somebody's checkout and
 * state: those directories go only when they are empty, and else nothing does.
 */
export const removeRunDir = async (dir: string): Promise<void> => {
  await unmountUnder(dir);
  for (const name of BOUND) {
    await rmdir(join(dir, name)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  }
  await rm(dir, { recursive: true, force: true });
};

/** A clean run directory that every uid may pass through, removed when disposed. */
export const createRunDir = async (dir: string): Promise<AsyncDisposable> => {
  await mkdir(RUN_ROOT, { recursive: true });
  await chmod(RUN_ROOT, 0o711);
  await removeRunDir(dir);
  await mkdir(dir);
  await chmod(dir, 0o711);
  return { [Symbol.asyncDispose]: () => removeRunDir(dir) };
};
