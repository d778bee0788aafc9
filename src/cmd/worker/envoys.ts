import { randomBytes } from 'node:crypto';
import { chown } from 'node:fs/promises';
import { AsyncQueue, describeExit, exited, KeptChild, spawnChild, writeFileAtomic, type Logger } from '#lib';
import type { WorkerIdentities, WorkerLayout } from '#model';
import { pumpLines } from '#sandbox';
import { makeEnvoyDirectories } from './directories.ts';
import { envoyOutput } from './envoy-output.ts';

export interface EnvoyEnd {
  readonly index: number;
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly outcome: string;
}

interface Envoy {
  readonly bootstrap: string;
  readonly child: KeptChild;
}

/** Every Envoy of a worker, one a gateway, each with a uid of its own: started on demand, restarted when it ends, all gone when disposed. */
export class Envoys implements AsyncDisposable {
  readonly #binary: string;
  readonly #at: WorkerLayout;
  readonly #ids: WorkerIdentities;
  readonly #log: Logger;
  readonly #envoys = new Map<number, Envoy>();
  readonly #readers = new Set<AsyncQueue<EnvoyEnd>>();
  /** Ends that nobody listened for: `egress` hears of them when it is back. */
  #unheard: EnvoyEnd[] = [];
  #last: Promise<unknown> = Promise.resolve();

  /** `earlier`: gateways whose Envoys died with an earlier life of this worker, which could not tell. */
  constructor(options: { binary: string; at: WorkerLayout; ids: WorkerIdentities; log: Logger; earlier?: readonly number[] }) {
    this.#unheard = (options.earlier ?? []).map((index) => ({ index, time: Date.now(), outcome: 'its worker ended' }));
    this.#binary = options.binary;
    this.#at = options.at;
    this.#ids = options.ids;
    this.#log = options.log;
  }

  /** Starts the Envoy of a gateway, or starts it anew when its bootstrap differs. */
  start(index: number, gateway: string, bootstrap: string): Promise<void> {
    return this.#inOrder(async () => {
      const running = this.#envoys.get(index);
      if (running?.bootstrap === bootstrap) return;
      await this.#stop(index);
      const file = this.#at.envoyBootstrap(index);
      await makeEnvoyDirectories(this.#at, index, this.#ids);
      await writeFileAtomic(file, bootstrap, 0o640);
      await chown(file, 0, this.#ids.envoy(index).gid);
      const log = this.#log.with({ gateway });
      const child = new KeptChild({ log, start: () => this.#spawn(index, file, log) });
      this.#envoys.set(index, { bootstrap, child });
      await child.start();
    });
  }

  stop(index: number): Promise<void> {
    return this.#inOrder(() => this.#stop(index));
  }

  /** Every end of an Envoy from now on, and those since the last reader went away. */
  async *ends(signal: AbortSignal): AsyncGenerator<EnvoyEnd, void> {
    const queue = new AsyncQueue<EnvoyEnd>();
    for (const end of this.#unheard) queue.push(end);
    this.#unheard = [];
    this.#readers.add(queue);
    signal.addEventListener('abort', () => queue.end(), { once: true });
    try {
      yield* queue;
    } finally {
      this.#readers.delete(queue);
    }
  }

  #spawn(index: number, file: string, log: Logger): ReturnType<typeof spawnChild> {
    const mark = randomBytes(12).toString('hex');
    // `misc` says at every update that matchers we depend on are work in progress: known, and tested by the bypass cases.
    const args = [
      '-c',
      file,
      '--concurrency',
      '1',
      '--disable-hot-restart',
      '--drain-time-s',
      '600',
      '--file-flush-interval-msec',
      '100',
      '-l',
      'warn',
      '--component-log-level',
      'misc:error',
      '--log-format',
      // The message in one line.
      `${mark} %l %n %_`,
    ];
    const child = spawnChild(this.#binary, args, {
      as: this.#ids.envoy(index),
      // It holds CAP_SYS_ADMIN and reads what agents send: it must not be able to mount over what others run.
      ownMounts: true,
      env: { PATH: process.env['PATH'] },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const output = envoyOutput(mark, log);
    void pumpLines(child.stderr!, (line) => output.take(line))
      .catch(() => {}) // its pipe breaks when it is killed
      .then(() => output.end());
    void exited(child).then((exit) => this.#ended({ index, time: Date.now(), outcome: describeExit(exit) }));
    return child;
  }

  #ended(end: EnvoyEnd): void {
    if (this.#readers.size === 0) this.#unheard = [...this.#unheard, end].slice(-1000);
    for (const reader of this.#readers) reader.push(end);
  }

  async #stop(index: number): Promise<void> {
    const envoy = this.#envoys.get(index);
    this.#envoys.delete(index);
    await envoy?.child[Symbol.asyncDispose]();
  }

  async #inOrder(change: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(change);
    this.#last = turn.catch(() => {});
    await turn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await Promise.all([...this.#envoys.keys()].map((index) => this.#stop(index)));
    for (const reader of this.#readers) reader.end();
  }
}
