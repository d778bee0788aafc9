import { join } from 'node:path';
import { KeptChild, programEnv, READY_STDIO, readyReport, spawnChild, type Identity, type Logger } from '#lib';
import type { Place } from './place.ts';
import { renderStream } from './render-log.ts';

export interface StackContext {
  readonly place: Place;
  readonly run: string;
  readonly log: Logger;
  /** Where the plain log lines of children go. */
  readonly write: (line: string) => void;
}

/** A program of `src/cmd`, started and kept alive; `report` is what it said when it became ready (the newest start's). */
export interface RunningProgram extends AsyncDisposable {
  readonly report: Record<string, unknown>;
  readonly pid: number | undefined;
  /** Lets it end by itself, without a new start; resolves when it has. */
  retire(): Promise<void>;
}

/** Starts a program as that identity and resolves when it is ready. Workers need a longer grace: they end sandboxes first. */
export const startProgram = async (
  context: StackContext,
  program: string,
  as: Identity,
  args: readonly string[] = [],
  component = program,
  reported: (report: Record<string, unknown>) => void = () => {},
): Promise<RunningProgram> => {
  const { app, state, tools, node } = context.place;
  let report: Record<string, unknown> = {};
  const child = new KeptChild({
    log: context.log.with({ child: component }),
    graceMs: program === 'worker' ? 15_000 : 5_000,
    start: () => {
      const common = ['--state', state, '--run', context.run, '--tools', tools, '--component', component];
      const started = spawnChild(node, [join(app, 'src', 'cmd', `${program}.ts`), ...common, ...args], {
        as,
        cwd: '/',
        env: programEnv(),
        stdio: READY_STDIO,
      });
      renderStream(started.stderr!, component, context.write);
      started.stdout!.resume();
      return started;
    },
    started: async (started) => {
      report = await readyReport(started);
      reported(report);
    },
  });
  try {
    await child.start();
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return {
    get report() {
      return report;
    },
    get pid() {
      return child.pid;
    },
    retire: () => child.retire(),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
};

/** The logger of the supervising process itself. */
export const supervisorLogger = (write: (line: string) => void, render: (line: string, component: string) => string): Logger => {
  const at =
    (level: string) =>
    (message: string, fields: object = {}) =>
      write(render(JSON.stringify({ ...plain(fields), level, component: 'clrk', msg: message }), 'clrk'));
  const make = (extra: object): Logger => ({
    debug: () => {},
    info: (m, f) => at('info')(m, { ...extra, ...f }),
    warn: (m, f) => at('warn')(m, { ...extra, ...f }),
    error: (m, f) => at('error')(m, { ...extra, ...f }),
    with: (more) => make({ ...extra, ...more }),
  });
  return make({});
};

const plain = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, value instanceof Error ? { message: value.message } : value]));
