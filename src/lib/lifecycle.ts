import { writeSync } from 'node:fs';
import { createLogger, type Logger } from './log.ts';
import { messageOf } from './errors.ts';

/** What a program of `src/cmd` gets: where its state and sockets are, its logger, and the signal that ends it. */
export interface Program {
  readonly name: string;
  /** The state directory (`DIR`), as an absolute path. */
  readonly state: string;
  /** The short directory that holds sockets and other things that end with the stack. */
  readonly run: string;
  readonly args: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Register what must end with the program; ended in reverse order. */
  readonly resources: AsyncDisposableStack;
  /** Tells the parent (one JSON line on fd 3) that this program is ready, with what it must know. */
  readonly ready: (report?: object) => void;
  /** Ends the program as SIGTERM does. */
  readonly stop: () => void;
}

/** `--name value` and `--name=value` pairs. (parseArgs would take an option it was not told of for a flag without value.) */
const programArgs = (argv: readonly string[]): Record<string, string> => {
  const args: Record<string, string> = {};
  for (let i = 0; i < argv.length; i++) {
    const [, name, inline] = /^--([^=]+)(?:=(.*))?$/s.exec(argv[i]!) ?? [];
    if (name !== undefined) args[name] = inline ?? argv[++i] ?? '';
  }
  return args;
};

/**
 * Runs a program: `--state DIR --run DIR [--name value]…`. SIGTERM and SIGINT abort its signal, then its resources are
 * ended in reverse order and it exits 0. An error at start exits 1 with a log line. A stray error later ends the process:
 * its parent restarts it, and no state may depend on a clean end.
 */
export const runProgram = async (name: string, main: (program: Program) => Promise<void>): Promise<void> => {
  const args = programArgs(process.argv.slice(2));
  const component = args['component'] ?? name;
  const log = createLogger(component);
  const abort = new AbortController();
  const resources = new AsyncDisposableStack();
  process.on('uncaughtException', (error) => {
    log.error('uncaught error', { err: error });
    process.exit(1);
  });
  process.on('unhandledRejection', (error) => {
    log.error('unhandled rejection', { err: error });
    process.exit(1);
  });
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop());
  try {
    if (!args['state'] || !args['run']) throw new Error('--state and --run are required');
    await main({
      name: component,
      state: args['state'],
      run: args['run'],
      args,
      log,
      signal: abort.signal,
      resources,
      ready: (report = {}) => {
        try {
          writeSync(3, `${JSON.stringify({ ready: true, ...report })}\n`);
        } catch {
          // started by hand, without a parent that listens
        }
      },
      stop,
    });
    await stopped;
    abort.abort();
    await resources.disposeAsync();
    process.exit(0);
  } catch (error) {
    log.error(`cannot start: ${messageOf(error)}`, { err: error });
    abort.abort();
    await resources.disposeAsync().catch(() => {});
    process.exit(1);
  }
};
