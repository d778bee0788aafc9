import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { ClrkError } from './errors.ts';
import type { Logger } from './log.ts';
import { backoffMs } from './retry.ts';
import { sleep } from './clock.ts';

/** How a child ended: an exit code, or the signal that killed it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export const describeExit = (exit: Exit): string => (exit.signal ? `signal ${exit.signal}` : `exit code ${exit.code}`);

/** Who a child runs as. The numbers need no passwd entries. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; none by default. */
  readonly groups?: readonly number[];
  /** All capabilities it can ever have, as setpriv(1) names them; none by default. */
  readonly capabilities?: readonly string[];
}

export interface SpawnOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly stdio?: StdioOptions;
  /** A network namespace (path of its file) to start in. */
  readonly netns?: string;
  /** With a copy of the mounts that nobody else sees: what it mounts is seen by no one. */
  readonly ownMounts?: boolean;
  /** Who it runs as, without a way to become more; as this process is, by default. */
  readonly as?: Identity;
  /** It may dump core, as this process may: tests look for what should not. */
  readonly core?: boolean;
}

/** setpriv's arguments for an identity. The bounding set is a wall also for root; other uids get what they have as ambient. */
const confined = ({ uid, gid, groups = [], capabilities = [] }: Identity): readonly string[] => {
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join(',');
  return [
    '--reuid',
    String(uid),
    '--regid',
    String(gid),
    ...(groups.length > 0 ? ['--groups', groups.join(',')] : ['--clear-groups']),
    '--no-new-privs',
    '--bounding-set',
    set,
    ...(uid === 0 ? ['--inh-caps', '-all'] : ['--inh-caps', set, '--ambient-caps', set]),
  ];
};

/**
 * A parent that died before the signal was asked for sends none: then the child has another parent by now, and ends itself.
 * Fixed text; what is run comes as arguments.
 */
const IF_PARENT_LIVES = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"';

const KEPT_ENV = /^(PATH|TZ|LANG|LC_[A-Z]+|CLRK_LOG_LEVEL|NODE_OPTIONS|NODE_V8_COVERAGE|LD_PRELOAD)$/;

/** What a program of a stack gets of our environment: nothing a person may have put a secret into. */
export const programEnv = (): NodeJS.ProcessEnv => Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT_ENV.test(name)));

/**
 * Starts a child that dies with this process (`PR_SET_PDEATHSIG`) and, but for `core`, cannot dump core. The one way to start long-lived
 * children: spawn from the main thread only, because the kernel's death signal follows the thread that spawned. The signal
 * is set after the identity, which would clear it, and needs CAP_KILL in a parent of another uid.
 */
export const spawnChild = (command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess => {
  const inNamespace = [
    ...(options.netns ? ['nsenter', `--net=${options.netns}`, '--'] : []),
    ...(options.ownMounts ? ['unshare', '--mount', '--propagation', 'private', '--'] : []),
  ];
  const coreless = options.core ? [] : ['prlimit', '--core=0:0'];
  const armed = [...coreless, 'setpriv', '--pdeathsig', 'KILL', ...(options.as ? confined(options.as) : []), '--'];
  const argv = [...inNamespace, ...armed, 'sh', '-c', IF_PARENT_LIVES, 'sh', String(process.pid), command, ...args];
  return spawn(argv[0]!, argv.slice(1), {
    env: options.env ?? process.env,
    stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    // A session of its own: Ctrl-C on a terminal reaches the parent alone, which then ends its children in order.
    detached: true,
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
};

/** Resolves when the child has ended (also when it could not be started: code 127). */
export const exited = (child: ChildProcess): Promise<Exit> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve({ code: child.exitCode, signal: child.signalCode });
    child.once('error', () => resolve({ code: 127, signal: null }));
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a short command to its end; throws ChildFailed with its stderr when it fails. Output is bounded at 16 MiB. `accept` are exit codes beside 0 that are no failure. */
export const run = async (
  command: string,
  args: readonly string[],
  options: {
    input?: string | Uint8Array;
    env?: NodeJS.ProcessEnv;
    cwd?: string;
    netns?: string;
    signal?: AbortSignal;
    timeoutMs?: number;
    accept?: readonly number[];
  } = {},
): Promise<RunResult> => {
  const argv = options.netns ? ['nsenter', `--net=${options.netns}`, '--', command, ...args] : [command, ...args];
  const child = spawn(argv[0]!, argv.slice(1), {
    env: options.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.timeoutMs ? { timeout: options.timeoutMs, killSignal: 'SIGKILL' } : {}),
  });
  const limit = 16 * 1024 * 1024;
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout.length < limit ? (stdout += chunk) : undefined));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr.length < limit ? (stderr += chunk) : undefined));
  child.stdin.on('error', () => {}); // a command that does not read its input is judged by its exit code
  child.stdin.end(options.input ?? '');
  const exit = await new Promise<Exit>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new ClrkError('ToolMissing', { tool: argv[0]! }, { cause: error });
    throw error;
  });
  if (exit.code !== 0 && !options.accept?.includes(exit.code ?? -1)) {
    throw new ClrkError('ChildFailed', { command: [command, ...args].join(' '), outcome: describeExit(exit), stderr: stderr.trim().slice(-2000) });
  }
  return { stdout, stderr };
};

/** Stops a child: SIGTERM, then SIGKILL after `graceMs`. */
export const stopChild = async (child: ChildProcess, graceMs = 5_000): Promise<Exit> => {
  const end = exited(child);
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  return end.finally(() => clearTimeout(timer));
};

/** Asks a worker to take no new work and to end when it has none left. */
export const DRAIN_SIGNAL = 'SIGUSR2';

/**
 * Keeps a child alive: restarts it with back-off (100 ms doubling to 5 s) when it ends, until disposed.
 * `started` runs for every new process and resolves when it is ready.
 */
export class KeptChild {
  readonly #start: () => ChildProcess;
  readonly #started: (child: ChildProcess) => Promise<void>;
  readonly #log: Logger;
  readonly #graceMs: number;
  readonly #abort = new AbortController();
  #child: ChildProcess | undefined;
  #loop: Promise<void> = Promise.resolve();
  #ready: Promise<void> = Promise.resolve();
  #retiring = false;
  restarts = 0;

  /** `graceMs` is the time between SIGTERM and SIGKILL when disposed, 5 s by default. */
  constructor(options: { start: () => ChildProcess; started?: (child: ChildProcess) => Promise<void>; log: Logger; graceMs?: number }) {
    this.#start = options.start;
    this.#started = options.started ?? (async () => {});
    this.#log = options.log;
    this.#graceMs = options.graceMs ?? 5_000;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when the first process is ready; rejects when it ends before that. */
  async start(): Promise<void> {
    await this.#launch();
    this.#loop = this.#keep();
  }

  async #launch(): Promise<void> {
    const child = this.#start();
    this.#child = child;
    const ended = exited(child);
    this.#ready = Promise.race([
      this.#started(child),
      ended.then((exit) => {
        throw new ClrkError('ChildFailed', { command: child.spawnargs.join(' '), outcome: describeExit(exit), stderr: 'it ended before it was ready' });
      }),
    ]);
    await this.#ready;
  }

  async #keep(): Promise<void> {
    for (let failures = 0; !this.#abort.signal.aborted;) {
      const since = performance.now();
      const exit = await exited(this.#child!);
      if (this.#abort.signal.aborted || this.#retiring) return;
      if (performance.now() - since > 10_000) failures = 0;
      this.#log.warn('child ended, restarting it', { outcome: describeExit(exit), restarts: ++this.restarts });
      try {
        await sleep(backoffMs(failures++, { firstMs: 100, maxMs: 5_000, factor: 2 }), this.#abort.signal);
        if (this.#retiring) return;
        await this.#launch();
      } catch (error) {
        if (!this.#abort.signal.aborted) this.#log.error('restart failed', { err: error });
      }
    }
  }

  /** Has the child end by itself, however long that takes (DRAIN_SIGNAL); it is not started again. Resolves when it has ended. */
  async retire(): Promise<void> {
    this.#retiring = true;
    // A signal that comes before it is handled would end it in the middle of its start.
    await this.#ready.catch(() => {});
    this.#child?.kill(DRAIN_SIGNAL);
    await this.#loop;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    if (this.#child) await stopChild(this.#child, this.#graceMs);
    await this.#loop;
  }
}

/** The stdio of a child that reports readiness on fd 3. */
export const READY_STDIO: StdioOptions = ['ignore', 'pipe', 'pipe', 'pipe'];

/** Resolves with the JSON line the child writes on fd 3 when it is ready. Never rejects: race it with `exited`. */
export const readyReport = (child: ChildProcess): Promise<Record<string, unknown>> =>
  new Promise((resolve) => {
    let text = '';
    const stream = child.stdio[3] as NodeJS.ReadableStream;
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const end = text.indexOf('\n');
      if (end >= 0) resolve(JSON.parse(text.slice(0, end)) as Record<string, unknown>);
    });
  });
