import { retry } from '#lib';
import { connect, Desired } from '#wire';
import { startProgram, type RunningProgram, type StackContext } from './children.ts';

/**
 * Runs as many worker processes as the WorkerPools want (service `Desired.Workers`) and keeps following that. Names are
 * the lowest free numbers, so that a pool scaled up again finds its unpacked images and addresses of before.
 */
export class Workers implements AsyncDisposable {
  readonly #context: StackContext;
  readonly #running = new Map<string, { pool: string; program: Promise<RunningProgram> }>();
  readonly #abort = new AbortController();
  readonly #loop: Promise<void>;

  constructor(context: StackContext, desiredSocket: string) {
    this.#context = context;
    this.#loop = this.#follow(desiredSocket);
  }

  async #follow(socket: string): Promise<void> {
    const client = connect(Desired, socket);
    const signal = this.#abort.signal;
    await retry(
      async () => {
        for await (const { pools } of client.workers({}, { signal })) await this.#reconcile(pools);
        throw new Error('the stream of wanted workers ended');
      },
      { signal },
    ).catch(() => {});
    client.close();
  }

  async #reconcile(pools: readonly { readonly pool: string; readonly replicas: number }[]): Promise<void> {
    const wanted = new Map(pools.map(({ pool, replicas }) => [pool, replicas]));
    for (const [name, worker] of [...this.#running].reverse()) {
      const of = [...this.#running.values()].filter(({ pool }) => pool === worker.pool).length;
      if (of > (wanted.get(worker.pool) ?? 0)) {
        this.#running.delete(name);
        await this.#stop(worker.program);
      }
    }
    for (const { pool, replicas } of pools) {
      for (let n = [...this.#running.values()].filter((w) => w.pool === pool).length; n < replicas; n++) this.#start(pool);
    }
  }

  #start(pool: string): void {
    let number = 0;
    while (this.#running.has(String(number))) number++;
    const name = String(number);
    const program = startProgram(this.#context, 'worker', ['--name', name, '--pool', pool], `worker-${name}`);
    this.#running.set(name, { pool, program });
    program.catch((error: unknown) => {
      this.#running.delete(name);
      if (!this.#abort.signal.aborted) this.#context.log.error('a worker cannot start', { worker: name, pool, err: error });
    });
  }

  async #stop(program: Promise<RunningProgram>): Promise<void> {
    const running = await program.catch(() => undefined);
    await running?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop;
    await Promise.all([...this.#running.values()].map(({ program }) => this.#stop(program)));
  }
}
