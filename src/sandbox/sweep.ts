import { readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { run, type Logger } from '#lib';
import type { Runsc } from './runsc.ts';

/**
 * Removes everything an earlier life of this worker left in its directory: sandboxes (they die with a killed worker, their
 * state does not), namespaces and other mounts, bundles, sockets. Afterwards the directory does not exist. Returns how much there was.
 */
export const sweep = async (dir: string, runscRoot: string, runsc: Runsc, log: Logger): Promise<{ readonly sandboxes: number; readonly mounts: number }> => {
  const sandboxes = existsSync(runscRoot) ? await runsc.list().catch(() => []) : [];
  for (const id of sandboxes) await runsc.delete(id).catch((error: unknown) => log.warn('cannot delete a sandbox of before', { id, err: error }));
  const mounts = await mountsUnder(dir);
  for (const mount of mounts) await run('umount', ['--lazy', mount]);
  await rm(dir, { recursive: true, force: true });
  return { sandboxes: sandboxes.length, mounts: mounts.length };
};

/** Mount points in or below a directory, the newest first. */
const mountsUnder = async (dir: string): Promise<string[]> =>
  (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))))
    .filter((point) => point.startsWith(`${dir}/`))
    .reverse();
