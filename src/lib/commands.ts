import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpus } from 'node:os';
import { ClrkError } from './errors.ts';
import { spawnChild } from './process.ts';

export interface CommandOptions {
  /** Its standard input; none by default. */
  readonly input?: string;
  /** Network namespace (path of its file) to run in. */
  readonly netns?: string;
  /** It is killed after this long. */
  readonly timeoutMs?: number;
}

/** Runs a short command to its end; rejects with ChildFailed and what it said when it fails. `run` is one, too. */
export type RunCommand = (command: string, args: readonly string[], options?: CommandOptions) => Promise<unknown>;

interface Job {
  readonly script: string;
  readonly command: string;
  /** When it is given up with its shell, in milliseconds. */
  readonly longestMs: number;
  readonly done: PromiseWithResolvers<void>;
}

/** More at a time than there are CPUs, as most wait for the kernel; few, as they compete with what they are run for. */
const SHELLS = Math.max(2, cpus().length);
/** A command that is stuck must not keep its shell from the others: it is killed after this long, whatever it asked for and this. */
const LONGEST_MS = 30_000;
/** Ends the input of a command; no line of one may be that. */
const END = 'end-of-clrk-input';
/** Characters that are kept of what a command says: its end. */
const KEPT = 4_000;

/**
 * Short commands, run by a few small shells that stay: a process forks its whole page table, which holds up a Node.js process
 * of 150 MiB for 5 ms each time, and a shell for 0.2 [measured]. Commands run with no environment but PATH; those that wait
 * are run in the order of calls.
 */
export class Commands implements AsyncDisposable {
  readonly #idle: Shell[] = [];
  readonly #all = new Set<Shell>();
  readonly #queue: Job[] = [];
  readonly #longestMs: number;
  /** Begins what a shell says after a command, behind a NUL; no command knows it. */
  readonly #mark = randomUUID();

  constructor({ longestMs = LONGEST_MS }: { readonly longestMs?: number } = {}) {
    this.#longestMs = longestMs;
  }

  readonly run: RunCommand = async (command, args, options = {}) => {
    const job: Job = {
      script: scriptOf(command, args, options, this.#mark),
      command: [command, ...args].join(' '),
      longestMs: (options.timeoutMs ?? 0) + this.#longestMs,
      done: Promise.withResolvers(),
    };
    this.#queue.push(job);
    this.#next();
    await job.done.promise;
  };

  #next(): void {
    while (this.#queue.length > 0) {
      const shell = this.#idle.pop() ?? (this.#all.size < SHELLS ? this.#open() : undefined);
      if (!shell) return;
      shell.run(this.#queue.shift()!);
    }
  }

  #open(): Shell {
    const shell = new Shell(`\0${this.#mark} `, {
      free: () => {
        this.#idle.push(shell);
        this.#next();
      },
      gone: () => {
        this.#all.delete(shell);
        if (this.#idle.includes(shell)) this.#idle.splice(this.#idle.indexOf(shell), 1);
        this.#next();
      },
    });
    this.#all.add(shell);
    return shell;
  }

  /** Resolves when what was asked for has been done. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#queue.map(({ done }) => done.promise));
    await Promise.all([...this.#all].map((shell) => shell.end()));
  }
}

/** One shell that reads scripts from its stdin and says after each, behind a mark, with which code it ended. */
class Shell {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #job: Job | undefined;
  #said = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(mark: string, { free, gone }: { readonly free: () => void; readonly gone: () => void }) {
    const child = spawnChild('sh', [], { env: { PATH: process.env['PATH'] }, stdio: ['pipe', 'pipe', 'ignore'] });
    this.#child = child;
    const over = Promise.withResolvers<void>();
    this.#closed = over.promise;
    child.once('error', () => over.resolve());
    child.once('close', () => over.resolve());
    void this.#closed.then(() => {
      this.#settle()?.reject('the end of its shell');
      gone();
    });
    // Without a file descriptor to spare it has neither; its error tells.
    child.stdin?.on('error', () => {}); // told by its end
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-KEPT);
      const at = this.#job ? this.#said.lastIndexOf(mark) : -1;
      const code = at < 0 ? undefined : /^(\d+)\n$/.exec(this.#said.slice(at + mark.length))?.[1];
      if (code === undefined) return;
      this.#said = this.#said.slice(0, at);
      const job = this.#settle()!;
      if (code === '0') job.resolve();
      else job.reject(`exit code ${code}`);
      free();
    });
  }

  run(job: Job): void {
    this.#job = job;
    this.#timer = setTimeout(() => this.#giveUp(), job.longestMs);
    this.#child.stdin?.write(job.script);
  }

  /** The command that runs, to be ended: it is not this shell's any more. */
  #settle(): { resolve(): void; reject(outcome: string): void } | undefined {
    const [job, said] = [this.#job, this.#said];
    if (!job) return undefined;
    clearTimeout(this.#timer);
    [this.#said, this.#job] = ['', undefined];
    return { resolve: () => job.done.resolve(), reject: (outcome) => job.done.reject(failed(job, outcome, said)) };
  }

  /** Kills the shell and what it runs: it leads a process group. */
  #giveUp(): void {
    const { pid, stdout } = this.#child;
    const ms = this.#job?.longestMs;
    this.#settle()?.reject(`no end within ${ms} ms`);
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    } catch {
      // it has just ended
    }
    stdout?.destroy(); // which what it started may hold open
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await this.#closed;
  }
}

const failed = ({ command }: Job, outcome: string, said: string): ClrkError =>
  new ClrkError('ChildFailed', { command, outcome, stderr: said.trim().slice(-2000) });

const quote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

const scriptOf = (command: string, args: readonly string[], { input, netns, timeoutMs }: CommandOptions, mark: string): string => {
  const limit = timeoutMs === undefined ? [] : ['timeout', '-s', 'KILL', String(timeoutMs / 1000)];
  const inside = netns === undefined ? [] : ['nsenter', `--net=${netns}`, '--'];
  const words = [...limit, ...inside, command, ...args];
  if (words.some((word) => word.includes('\0')) || input?.includes('\0')) throw new RangeError('a command cannot hold NUL');
  if (input?.split('\n').includes(END)) throw new RangeError(`no line of the input of a command can be ${END}`);
  const stdin = input === undefined ? '</dev/null' : `<<'${END}'\n${input.endsWith('\n') ? input : `${input}\n`}${END}`;
  return `${words.map(quote).join(' ')} 2>&1 ${stdin}\nprintf '\\0%s %d\\n' ${mark} "$?"\n`;
};
