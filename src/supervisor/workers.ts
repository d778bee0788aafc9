import { retry, sleep } from '#lib';
import { identities } from '#model';
import { connect, Desired } from '#wire';
import { startProgram, type RunningProgram, type StackContext } from './children.ts';

interface PoolWanted {
  readonly pool: string;
  readonly replicas: number;
}

/** How long a worker that could not start waits for its next try. */
const START_AGAIN_MS = 5_000;

interface Worker {
  readonly pool: string;
  readonly program: Promise<RunningProgram>;
  /** It takes no new runs and ends when it has none; its number is taken until then. */
  leaving: boolean;
}

/**
 * Runs as many worker processes as the WorkerPools want (service `Desired.Workers`) and keeps following that. Names are
 * the lowest free numbers, so that a pool scaled up again finds its unpacked images and addresses of before. A worker that is
 * too many finishes its runs first, each of which has a timeout.
 */
export class Workers implements AsyncDisposable {
  readonly #context: StackContext;
  readonly #uids: number;
  readonly #args: readonly string[];
  readonly #running = new Map<string, Worker>();
  readonly #abort = new AbortController();
  #wanted: readonly PoolWanted[] = [];
  readonly #loop: Promise<void>;

  /** `uids`: the first of the stack's uids. `args`: more arguments for every worker. */
  constructor(options: { context: StackContext; uids: number; desiredSocket: string; args?: readonly string[] }) {
    this.#context = options.context;
    this.#uids = options.uids;
    this.#args = options.args ?? [];
    this.#loop = this.#follow(options.desiredSocket);
  }

  async #follow(socket: string): Promise<void> {
    const client = connect(Desired, socket);
    const signal = this.#abort.signal;
    await retry(
      async () => {
        for await (const { pools } of client.workers({}, { signal })) this.#reconcile(pools);
        throw new Error('the stream of wanted workers ended');
      },
      { signal },
    ).catch(() => {});
    client.close();
  }

  #reconcile(pools: readonly PoolWanted[]): void {
    this.#wanted = pools;
    const wanted = new Map(pools.map(({ pool, replicas }) => [pool, replicas]));
    for (const pool of new Set([...wanted.keys(), ...[...this.#running.values()].map((worker) => worker.pool)])) {
      const staying = [...this.#running].filter(([, worker]) => worker.pool === pool && !worker.leaving);
      const replicas = wanted.get(pool) ?? 0;
      for (const [name, worker] of staying.slice(replicas)) void this.#retire(name, worker);
      for (let n = staying.length; n < replicas; n++) this.#start(pool);
    }
  }

  #start(pool: string): void {
    let number = 0;
    while (this.#running.has(String(number))) number++;
    const name = String(number);
    const program = (async () => {
      const { worker } = identities(this.#uids).worker(name);
      const args = ['--name', name, '--pool', pool, '--uids', String(this.#uids), ...this.#args];
      return startProgram(this.#context, 'worker', worker, args, `worker-${name}`);
    })();
    this.#running.set(name, { pool, program, leaving: false });
    program.catch((error: unknown) => {
      this.#running.delete(name);
      if (this.#abort.signal.aborted) return;
      this.#context.log.error('a worker cannot start; it is tried again', { worker: name, pool, err: error });
      sleep(START_AGAIN_MS, this.#abort.signal).then(
        () => this.#reconcile(this.#wanted),
        () => {},
      );
    });
  }

  async #retire(name: string, worker: Worker): Promise<void> {
    worker.leaving = true;
    this.#context.log.info('worker drains', { worker: name, pool: worker.pool });
    const program = await worker.program.catch(() => undefined);
    await program?.retire();
    if (this.#running.get(name) === worker) this.#running.delete(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop;
    await Promise.all(
      [...this.#running.values()].map(async ({ program }) => {
        const running = await program.catch(() => undefined);
        await running?.[Symbol.asyncDispose]();
      }),
    );
  }
}
