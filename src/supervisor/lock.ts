import { open, readFile, rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { ClrkError, readIfExists, systemCode } from '#lib';

/** When a process started, in clock ticks since boot: with the pid it names a process for ever. */
const startTime = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
};

/** The process that holds a lock file, or undefined when nobody does (any more). */
export const lockHolder = async (path: string): Promise<number | undefined> => {
  const [pid, since] = ((await readIfExists(path)) ?? '').split(' ');
  return pid && since && startTime(Number(pid)) === since ? Number(pid) : undefined;
};

/** Takes the lock of a state directory until disposed; refused with StackRunning while another process holds it. */
export const takeLock = async (path: string, dir: string): Promise<AsyncDisposable> => {
  const mine = `${process.pid} ${startTime(process.pid)}`;
  for (;;) {
    try {
      const file = await open(path, 'wx', 0o600);
      await file.writeFile(mine);
      await file.close();
      return {
        async [Symbol.asyncDispose]() {
          if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true });
        },
      };
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      const pid = await lockHolder(path);
      if (pid !== undefined) throw new ClrkError('StackRunning', { dir, pid });
      await rm(path, { force: true }); // left by a process that is gone
    }
  }
};
