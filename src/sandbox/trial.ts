import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, messageOf, poll } from '#lib';
import type { RunTemplate } from '#model';
import { caBundle, writeBundle } from './bundle.ts';
import type { RunContext } from './context.ts';
import { ImageError } from './images.ts';
import { groupLimits } from './limits.ts';
import { untilSettled, type SandboxIdentity } from './prepared.ts';

/** How long a start may take on a machine that is busy. */
const LONGEST_MS = 30_000;
const LOOK_EVERY_MS = 10;

/** Why the revision cannot run: a reason and a sentence. */
export interface TrialFailure {
  readonly reason: string;
  readonly message: string;
}

const FIX = 'Correct spec.template.spec.command, or the entrypoint or user of the image.';

/**
 * Starts what a template says once, and ends it as soon as its program has been started: whether the image, its user, the
 * command and the limits make a sandbox. The program has no network, no event and nobody who reads what it prints. Resolves with
 * undefined when it started; throws only what the signal aborted with.
 */
export const tryStart = async (
  context: RunContext,
  template: RunTemplate,
  { number, id }: SandboxIdentity,
  signal: AbortSignal,
): Promise<TrialFailure | undefined> => {
  const { dir: parent, images, cgroups, runsc, log } = context;
  await using cleanup = new AsyncDisposableStack();
  try {
    const image = await images.get(template.image);
    const dir = join(parent, String(number));
    await mkdir(dir);
    cleanup.defer(() => rm(dir, { recursive: true, force: true }));
    const group = cleanup.use(await cgroups.create(String(number), groupLimits(template)));
    const hostname = `${template.agent.slice(0, 50)}-${id.slice(0, 8)}`;
    const bundle = await writeBundle({ dir, template, hostname, image, ca: await caBundle(parent, []), address: '127.0.1.1' });
    signal.throwIfAborted();
    cleanup.defer(() => runsc.delete(id));
    const child = runsc.run(id, bundle, { joinFiles: group.joinFiles, storageBytes: template.storageBytes });
    const ended = exited(child);
    cleanup.defer(async () => {
      child.kill('SIGKILL');
      await ended;
    });
    child.stdin!.on('error', () => {});
    for (const output of [child.stdout!, child.stderr!]) output.resume();
    const isUp = async (): Promise<true | undefined> =>
      (
        await runsc
          .control(id)
          .processes()
          .catch(() => [])
      ).length > 0
        ? true
        : undefined;
    const up = poll(isUp, LOOK_EVERY_MS, AbortSignal.any([signal, untilSettled(ended), AbortSignal.timeout(LONGEST_MS)]));
    if (await up.catch(() => false)) return undefined;
    signal.throwIfAborted();
    // Over before it was seen: a program that ended, or one that never began.
    if (child.exitCode === null && child.signalCode === null)
      return { reason: 'StartFailed', message: `The process did not start within ${LONGEST_MS / 1000} s.` };
    const cause = await runsc.startError(bundle);
    return cause === undefined ? undefined : { reason: 'StartFailed', message: `The process did not start: ${cause} ${FIX}` };
  } catch (error) {
    if (signal.aborted) throw error;
    if (error instanceof ImageError) return { reason: error.reason, message: error.message };
    log.warn('a revision could not be tried', { agent: `${template.namespace}/${template.agent}`, err: error });
    return { reason: 'StartFailed', message: `No sandbox can be made of it: ${messageOf(error)}. ${FIX}` };
  }
};
