import { randomBytes } from 'node:crypto';
import { chmod, chown, lstat, mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from './errors.ts';
import { run } from './process.ts';

/** Writes a file so that a reader sees the old content or the new, never a part, also after a crash. */
export const writeFileAtomic = async (path: string, data: string | Uint8Array, mode = 0o600): Promise<void> => {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  const file = await open(temporary, 'wx', mode);
  try {
    await file.writeFile(data);
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
  const dir = await open(dirname(path), 'r');
  await dir.sync().finally(() => dir.close());
};

/**
 * The same for what can be made anew: without waiting for the disk, so after a power cut (not after the end of a process) the
 * file may be empty or old.
 */
export const replaceFile = async (path: string, data: string, mode = 0o600): Promise<void> => {
  const temporary = `${path}.new`;
  await writeFile(temporary, data, { mode });
  await rename(temporary, path);
};

/**
 * Removes what a writer of these that was killed in the middle left in a directory. Call it before anybody writes
 * there, or with the prefix of files only the caller writes.
 */
export const sweepTemporaries = async (dir: string, prefix = ''): Promise<void> => {
  const names = await readdir(dir).catch(() => []);
  for (const name of names) if (name.startsWith(prefix) && /(\.[0-9a-f]{8}\.tmp|\.new)$/.test(name)) await rm(join(dir, name), { force: true });
};

/** The content of a file, or undefined when it does not exist. */
export const readIfExists = async (path: string): Promise<string | undefined> => {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
};

/** Owner, group and mode of a directory. Mode 02000 hands the group on to what is made in it. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/**
 * Makes a directory (it appears with its owner), or takes over one that belongs to somebody else with all that is in it.
 * Links are changed themselves, never followed. The directory itself comes last, so that what was interrupted is done again.
 * Only below directories that nobody else may write.
 */
export const ownDirectory = async (path: string, { uid, gid, mode }: Ownership): Promise<void> => {
  const now = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!now) {
    await mkdir(dirname(path), { recursive: true });
    const made = await mkdtemp(`${path}.`);
    await chown(made, uid, gid);
    await chmod(made, mode);
    return rename(made, path);
  }
  if (!now.isDirectory()) throw new Error(`${path} is not a directory`);
  // A group that is not what it was may be the doing of its owner, and then changes nothing inside. A file with a second name
  // somewhere else is not given away: who could write here may have made that link.
  if (now.uid !== uid || (now.uid === 0 && now.gid !== gid)) {
    const own = ['-exec', 'chown', '--no-dereference', `${uid}:${gid}`, '{}', '+'];
    await run('find', ['-P', path, '-xdev', '-mindepth', '1', '(', '!', '-type', 'f', '-o', '-links', '1', ')', ...own]);
  }
  if (now.uid !== uid || now.gid !== gid) await chown(path, uid, gid);
  await chmod(path, mode);
};
