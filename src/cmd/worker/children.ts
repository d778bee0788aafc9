import type { StdioOptions } from 'node:child_process';
import { join } from 'node:path';
import { KeptChild, messageOf, programEnv, readyReport, retry, sleep, spawnChild, type Identity, type Logger, type Program } from '#lib';

/** How long the worker's own readiness waits for a child's. */
const READY_WAIT_MS = 5_000;

/**
 * Keeps one of our programs running as that identity: restarted when it ends, also when already its first start fails. Its log lines go
 * straight to our stderr. `args` come after the directories and the worker's name.
 */
export const keepProgram = async (
  program: Program,
  name: string,
  as: Identity,
  options: { netns?: string; args?: readonly string[] } = {},
): Promise<AsyncDisposable> => {
  const { state, run, args, log } = program;
  const worker = args['name']!;
  const common = ['--state', state, '--run', run, '--tools', args['tools']!, '--name', worker, '--component', `${name}-${worker}`];
  const argv = [join(import.meta.dirname, '..', `${name}.ts`), ...common, ...(options.args ?? [])];
  const abort = new AbortController();
  const stdio: StdioOptions = ['ignore', 2, 2, 'pipe']; // both outputs are our stderr; readiness on fd 3
  const make = (): KeptChild =>
    new KeptChild({
      log: log.with({ child: name }),
      start: () => spawnChild(process.execPath, argv, { as, env: programEnv(), stdio, ...(options.netns ? { netns: options.netns } : {}) }),
      started: async (child) => void (await readyReport(child)),
    });
  let child = make();
  const started = retry(
    async () => {
      try {
        await child.start();
      } catch (error) {
        await child[Symbol.asyncDispose]();
        child = make();
        throw error;
      }
    },
    { signal: abort.signal, onError: (error) => report(log, name, error) },
  ).catch(() => {});
  await Promise.race([started, sleep(READY_WAIT_MS, abort.signal).catch(() => {})]);
  return {
    async [Symbol.asyncDispose]() {
      abort.abort();
      await child[Symbol.asyncDispose]();
      await started;
      await child[Symbol.asyncDispose]();
    },
  };
};

const report = (log: Logger, name: string, error: unknown): void => log.error(`${name} does not start: ${messageOf(error)}`, { child: name });
