import { rm, writeFile } from 'node:fs/promises';
import { ClrkError, type RunCommand } from '#lib';

/**
 * Network namespaces that live as long as a file: unshare(1) binds the new namespace to it, others enter by that path.
 * Nothing under /run/netns, no `ip netns`: two stacks on a host, or a stack in a pod, do not meet.
 */

/** Makes an empty namespace; nothing but a loopback that is down. */
export const createNetns = async (run: RunCommand, file: string): Promise<void> => {
  await writeFile(file, '');
  await run('unshare', [`--net=${file}`, 'true']);
};

/** Unbinds a namespace, which ends when the last process in it does. Does nothing when it is not there. */
export const removeNetns = async (run: RunCommand, file: string): Promise<void> => {
  await run('umount', [file]).catch((error: unknown) => {
    if (!(error instanceof ClrkError) || !/not mounted|no mount point|not found|No such file/.test(error.message)) throw error;
  });
  await rm(file, { force: true });
};

/** Runs lines of ip(8) inside a namespace in one process. */
export const ipBatch = (run: RunCommand, netns: string, lines: readonly string[]): Promise<unknown> =>
  run('ip', ['-batch', '-'], { netns, input: `${lines.join('\n')}\n` });
