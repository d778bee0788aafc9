import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiServer, type ApiServerOptions } from '#apiserver';
import { startControllers, type Controllers } from '#controllers';
import { createClient, type Client } from '#kube';
import { AsyncQueue, silentLogger, systemClock, type Clock } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type { DesiredPort, EgressDesired, EgressReport, Invocation, Runs, WorkerDesired, WorkerReport, WorkersWanted } from '#model';

const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 3_600_000) };

/** A port that keeps what controllers publish, and lets a test speak as workers and egresses do. */
export class Recorder implements DesiredPort {
  wanted: WorkersWanted | undefined;
  readonly workers = new Map<string, WorkerDesired>();
  readonly egresses = new Map<string, EgressDesired>();
  /** Every publication to an egress, in order. */
  readonly history: EgressDesired[] = [];
  /** The same to workers. */
  readonly workerHistory: WorkerDesired[] = [];
  readonly #onWorker: ((worker: string, report: WorkerReport | undefined) => void)[] = [];
  readonly #onEgress: ((worker: string, report: EgressReport | undefined) => void)[] = [];
  readonly #waiting = new Set<() => void>();

  setWorkers(wanted: WorkersWanted): void {
    this.wanted = wanted;
    this.#wake();
  }
  setWorkerDesired(pool: string, desired: WorkerDesired): void {
    this.workers.set(pool, desired);
    this.workerHistory.push(desired);
    this.#wake();
  }
  setEgressDesired(worker: string, desired: EgressDesired): void {
    this.egresses.set(worker, desired);
    this.history.push(desired);
    this.#wake();
  }
  onWorker(listener: (worker: string, report: WorkerReport | undefined) => void): void {
    this.#onWorker.push(listener);
  }
  onEgress(listener: (worker: string, report: EgressReport | undefined) => void): void {
    this.#onEgress.push(listener);
  }

  worker(worker: string, report: Partial<WorkerReport> | undefined): void {
    const whole = report && {
      worker,
      pool: 'default/default',
      maxExecutions: 4,
      activeExecutions: 0,
      images: [],
      draining: false,
      warm: [],
      trust: [],
      ...report,
    };
    for (const listener of this.#onWorker) listener(worker, whole);
  }
  egress(worker: string, gateways: EgressReport['gateways'] | undefined): void {
    for (const listener of this.#onEgress) listener(worker, gateways && { worker, gateways });
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves when a publication makes `probe` answer. */
  async until<T>(probe: () => T | undefined): Promise<T> {
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      try {
        const value = probe();
        if (value !== undefined) return value;
        await promise;
      } finally {
        this.#waiting.delete(resolve);
      }
    }
  }
}

/** The journal as a queue a test fills. */
export class FakeRuns implements Runs {
  readonly #queues = new Set<AsyncQueue<Invocation>>();
  /** By id, the newest state. */
  readonly #invocations = new Map<string, Invocation>();
  /** Set while the dispatcher does not answer. */
  away = false;
  push(invocation: Invocation): void {
    this.#invocations.set(invocation.id, invocation);
    for (const queue of this.#queues) queue.push(invocation);
  }
  invoke(): Promise<never> {
    return Promise.reject(new Error('not in this test'));
  }
  get = async () => undefined;
  list = async ({ agent }: { agent?: string }) => {
    if (this.away) throw new Error('the dispatcher is away');
    return [...this.#invocations.values()].filter((invocation) => invocation.agent === agent);
  };
  watch(_: object, signal: AbortSignal): AsyncIterable<Invocation> {
    const queue = new AsyncQueue<Invocation>();
    this.#queues.add(queue);
    signal.addEventListener('abort', () => queue.end(), { once: true });
    return queue;
  }
}

export interface Cluster extends AsyncDisposable {
  readonly client: Client;
  readonly desired: Recorder;
  readonly runs: FakeRuns;
  /** Those that run now. */
  readonly controllers: Controllers;
  /** A client with the certificate of this user. */
  as(user: string): Promise<Client>;
  /** What a user has asked of the API so far: `list secrets`, `patch taskagents/status.clrk.apoxy.dev`; `REFUSED list pods` when it may not. */
  requests(user: string): ReadonlySet<string>;
  /** Resolves when the user has asked for this. */
  asked(user: string, request: string): Promise<void>;
  /** Starts the controllers anew, as after a restart of the process, with a new recorder. */
  restart(): Promise<Recorder>;
}

/** A real API server in this process with the real controllers against it. */
export const startCluster = async ({ controllers = true, clock = systemClock }: { controllers?: boolean; clock?: Clock } = {}): Promise<Cluster> => {
  await using started = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  started.defer(() => rm(dir, { recursive: true, force: true }));
  const authority = await createAuthority({ subject: 'CN=test', ca: { pathLength: 0 }, ...valid });
  const signer = await loadSigner(authority);
  const server = await signer.issue({ subject: 'CN=server', usage: 'server', ips: ['127.0.0.1'], ...valid });
  const requests = new Map<string, Set<string>>();
  const waiting = new Set<() => void>();
  const audit: NonNullable<ApiServerOptions['audit']> = ({ name }, { verb, group, resource, subresource }, allowed) => {
    const seen = requests.get(name) ?? new Set();
    requests.set(name, seen.add(`${allowed ? '' : 'REFUSED '}${verb} ${resource}${subresource && `/${subresource}`}${group && `.${group}`}`));
    for (const wake of waiting) wake();
  };
  const tls = { ca: authority.certPem, cert: server.certPem, key: server.keyPem };
  const api = started.use(createApiServer({ database: join(dir, 'api.db'), tls, log: silentLogger, audit }));
  const port = await api.listen(0);
  const as = async (user: string, group = 'clrk:components'): Promise<Client> => {
    const { certPem, keyPem } = await signer.issue({ subject: `CN=${user}, O=${group}`, usage: 'client', ...valid });
    return createClient({ server: `https://127.0.0.1:${port}`, ca: authority.certPem, cert: certPem, key: keyPem });
  };
  const client = started.use(await as('admin', 'system:masters'));
  // As in a stack: a controller that does what its role does not allow fails here.
  const manager = started.use(await as('system:clrk:controller-manager'));
  const runs = new FakeRuns();
  let running: Controllers | undefined;
  started.defer(() => running?.[Symbol.asyncDispose]());
  const start = (): Recorder => {
    const desired = new Recorder();
    running = startControllers({ client: manager, desired, runs, log: silentLogger, signal: new AbortController().signal, clock });
    return desired;
  };
  const desired = controllers ? start() : new Recorder();
  const asked = async (user: string, request: string): Promise<void> => {
    while (!requests.get(user)?.has(request)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add(resolve);
      await promise;
      waiting.delete(resolve);
    }
  };
  const all = started.move();
  return {
    client,
    desired,
    runs,
    get controllers() {
      return running!;
    },
    as: async (user) => all.use(await as(user)),
    requests: (user) => requests.get(user) ?? new Set(),
    asked,
    async restart() {
      await running?.[Symbol.asyncDispose]();
      return start();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};
