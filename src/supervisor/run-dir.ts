import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '#lib';

/** The short directory of a stack's sockets: `/run/clrk/<8 hex digits of the state directory>`. */
export const runDirOf = (state: string): string => join('/run/clrk', createHash('sha256').update(state).digest('hex').slice(0, 8));

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

/** Removes a run directory with whatever a killed owner left mounted in it. */
export const removeRunDir = async (dir: string): Promise<void> => {
  await unmountUnder(dir);
  await rm(dir, { recursive: true, force: true });
};

/** A clean run directory, removed when disposed. */
export const createRunDir = async (dir: string): Promise<AsyncDisposable> => {
  await removeRunDir(dir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  return { [Symbol.asyncDispose]: () => removeRunDir(dir) };
};
