import type { ChildProcess } from 'node:child_process';
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
  readonly done: PromiseWithResolvers<void>;
}

/** More at a time than there are CPUs, as most wait for the kernel; few, as they compete with what they are run for. */
const SHELLS = Math.max(2, cpus().length);
/** Ends the input of a command; no line of one is that. */
const END = 'end-of-clrk-input';

/**
 * Short commands, run by a few small shells that stay: a process forks its whole page table, which holds up a Node.js process
 * of 150 MiB for 5 ms each time, and a shell for 0.2 [measured]. Commands run with no environment but PATH; those that wait
 * are run in the order of calls.
 */
export class Commands implements AsyncDisposable {
  readonly #idle: Shell[] = [];
  readonly #all = new Set<Shell>();
  readonly #queue: Job[] = [];

  readonly run: RunCommand = (command, args, options = {}) => {
    const job: Job = { script: scriptOf(command, args, options), command: [command, ...args].join(' '), done: Promise.withResolvers() };
    this.#queue.push(job);
    this.#next();
    return job.done.promise;
  };

  #next(): void {
    while (this.#queue.length > 0) {
      const shell = this.#idle.pop() ?? (this.#all.size < SHELLS ? this.#open() : undefined);
      if (!shell) return;
      shell.run(this.#queue.shift()!);
    }
  }

  #open(): Shell {
    const shell = new Shell({
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

/** One shell that reads scripts from its stdin and says after each, behind a NUL, with which code it ended. */
class Shell {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #job: Job | undefined;
  #said = '';

  constructor({ free, gone }: { readonly free: () => void; readonly gone: () => void }) {
    const child = spawnChild('sh', [], { env: { PATH: process.env['PATH'] }, stdio: ['pipe', 'pipe', 'ignore'] });
    this.#child = child;
    child.stdin!.on('error', () => {}); // told by its end
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
      const end = /\0(\d+)\n$/.exec(this.#said);
      const job = this.#job;
      if (!end || !job) return;
      const said = this.#said.slice(0, end.index);
      [this.#said, this.#job] = ['', undefined];
      if (end[1] === '0') job.done.resolve();
      else job.done.reject(failed(job, `exit code ${end[1]}`, said));
      free();
    });
    this.#closed = new Promise((resolve) => {
      const over = (): void => {
        if (this.#job) this.#job.done.reject(failed(this.#job, 'the end of its shell', this.#said));
        this.#job = undefined;
        gone();
        resolve();
      };
      child.once('error', over);
      child.once('close', over);
    });
  }

  run(job: Job): void {
    this.#job = job;
    this.#child.stdin!.write(job.script);
  }

  async end(): Promise<void> {
    this.#child.stdin!.end();
    await this.#closed;
  }
}

const failed = ({ command }: Job, outcome: string, said: string): ClrkError =>
  new ClrkError('ChildFailed', { command, outcome, stderr: said.trim().slice(-2000) });

const quote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

const scriptOf = (command: string, args: readonly string[], { input, netns, timeoutMs }: CommandOptions): string => {
  const limit = timeoutMs === undefined ? [] : ['timeout', '-s', 'KILL', String(timeoutMs / 1000)];
  const inside = netns === undefined ? [] : ['nsenter', `--net=${netns}`, '--'];
  const words = [...limit, ...inside, command, ...args];
  if (words.some((word) => word.includes('\0')) || input?.includes('\0')) throw new RangeError('a command cannot hold NUL');
  const stdin = input === undefined ? '</dev/null' : `<<'${END}'\n${input.endsWith('\n') ? input : `${input}\n`}${END}`;
  return `${words.map(quote).join(' ')} 2>&1 ${stdin}\nprintf '\\0%d\\n' "$?"\n`;
};
