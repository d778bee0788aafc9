import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { apiVersionOf, agentSandboxRevisions, taskAgents, workerPools, type AgentSandboxRevision, type TaskAgent, type WorkerPool } from '#api';
import { AsyncQueue, silentLogger } from '#lib';
import type { Invocation, RunUpdate } from '#model';
import { Scheduler, workService, type SchedulerLimits } from '#scheduler';
import { Invoker, Journal, reviewer, startIngress, type AgentView } from '#trigger';
import { connect, createRpcServer, Work, type AssignmentMessage, type ToWorker } from '#wire';

/** A dispatcher in this process on real sockets, and workers that are real clients of its `Work`. */

export const scratch = (): string => mkdtempSync(join(tmpdir(), 'clrk-dispatcher-'));

type Spec = Partial<TaskAgent['spec']>;

/** A ready agent with its revision and pool, as the API server would have them. */
export const agentView = (name: string, spec: Spec = {}, pool: Partial<WorkerPool['spec']> = {}): Required<AgentView> => {
  const metadata = (of: string) => ({ name: of, namespace: 'default', uid: of, generation: 1 });
  const template = { spec: { image: 'hello:1', command: ['/agent'], env: [{ name: 'A', value: '1' }] } };
  const agent: TaskAgent = {
    apiVersion: apiVersionOf(taskAgents),
    kind: 'TaskAgent',
    metadata: metadata(name),
    spec: { template, workerPoolRef: 'default', timeout: '100s', ...spec },
    status: { latestReadyRevisionName: `${name}-00001` },
  };
  const revision: AgentSandboxRevision = {
    apiVersion: apiVersionOf(agentSandboxRevisions),
    kind: 'AgentSandboxRevision',
    metadata: metadata(`${name}-00001`),
    spec: template.spec,
  };
  const workerPool: WorkerPool = {
    apiVersion: apiVersionOf(workerPools),
    kind: 'WorkerPool',
    metadata: metadata('default'),
    spec: { replicas: 1, template: { image: 'worker', imagePullPolicy: 'IfNotPresent', serviceAccountName: 'clrk-worker' }, ...pool },
  };
  return { agent, revision, pool: workerPool };
};

export interface StackOptions {
  readonly dir?: string;
  readonly limits?: Partial<SchedulerLimits>;
  readonly maxInFlightBytes?: number;
  readonly ingress?: Parameters<typeof startIngress>[0]['limits'];
}

export class Stack implements AsyncDisposable {
  readonly dir: string;
  readonly agents = new Map<string, AgentView>();
  readonly journal: Journal;
  readonly scheduler: Scheduler;
  readonly invoker: Invoker;
  readonly workSocket: string;
  port = 0;
  readonly #resources = new AsyncDisposableStack();

  private constructor(dir: string, limits: Partial<SchedulerLimits>, maxInFlightBytes?: number) {
    this.dir = dir;
    this.workSocket = join(dir, 'work.sock');
    this.journal = this.#resources.use(new Journal(join(dir, 'dispatch.db'), { log: silentLogger }));
    const directory = { get: (namespace: string, name: string) => (namespace === 'default' ? this.agents.get(name) : undefined) };
    this.scheduler = this.#resources.use(new Scheduler({ log: silentLogger, limits, review: reviewer(directory) }));
    this.invoker = new Invoker({
      journal: this.journal,
      directory,
      scheduler: this.scheduler,
      log: silentLogger,
      ...(maxInFlightBytes && { maxInFlightBytes }),
    });
    this.invoker.recover();
  }

  static async start(options: StackOptions = {}): Promise<Stack> {
    const stack = new Stack(options.dir ?? scratch(), options.limits ?? {}, options.maxInFlightBytes);
    const server = stack.#resources.use(createRpcServer().add(Work, workService(stack.scheduler, silentLogger)));
    await server.listen(stack.workSocket);
    const ingress = stack.#resources.use(
      await startIngress({ invoker: stack.invoker, log: silentLogger, ...(options.ingress && { limits: options.ingress }) }),
    );
    stack.port = ingress.port;
    stack.#resources.use(stack.invoker);
    stack.agents.set('hello', agentView('hello'));
    return stack;
  }

  post(path: string, body: string | Uint8Array = '', headers: Record<string, string> = {}): Promise<HttpAnswer> {
    return send(this.port, { method: 'POST', path, body, headers });
  }

  /** The first state of an invocation that satisfies `done`. */
  async until(filter: { id?: string; agent?: string }, done: (invocation: Invocation) => boolean): Promise<Invocation> {
    const abort = new AbortController();
    for await (const invocation of this.invoker.watch(filter, abort.signal)) {
      if (!done(invocation)) continue;
      abort.abort();
      return invocation;
    }
    throw new Error('the watch ended');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

export const remove = (dir: string): void => rmSync(dir, { recursive: true, force: true });

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly json: any;
  /** The message ended as it should. */
  readonly complete: boolean;
  readonly bytes: number;
}

export const send = (
  port: number,
  options: { method?: string; path: string; body?: string | Uint8Array; headers?: Record<string, string>; signal?: AbortSignal },
): Promise<HttpAnswer> =>
  new Promise((resolve, reject) => {
    const { method = 'GET', path, headers = {}, body = '', signal } = options;
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false, ...(signal && { signal }) });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => {});
      response.on('close', () => {
        const all = Buffer.concat(chunks);
        const text = all.toString();
        const isJson = response.headers['content-type'] === 'application/json';
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          text,
          json: isJson ? JSON.parse(text) : undefined,
          complete: response.complete,
          bytes: all.length,
        });
      });
    });
    request.end(body);
  });

type Up = Parameters<ReturnType<typeof connect<typeof Work>>['attach']>[0] extends AsyncIterable<infer M> ? M : never;

/** A worker: says hello and does what the test tells it. `next` gives the messages of the dispatcher one by one. */
export class Worker {
  readonly #up = new AsyncQueue<Up>();
  readonly #abort = new AbortController();
  readonly #client;
  readonly #messages: AsyncIterator<ToWorker>;
  readonly ended: Promise<void>;
  readonly name: string;
  readonly #inbox = new AsyncQueue<ToWorker['message']>();
  readonly #reader: AsyncIterator<ToWorker['message']>;
  /** What may not begin yet; when it may, `next` gives it as an assignment. */
  readonly announced = new Map<string, AssignmentMessage>();

  constructor(socket: string, options: { name?: string; pool?: string; maxExecutions?: number; running?: string[] } = {}) {
    const { name = 'w', pool = 'default/default', maxExecutions = 0, running = [] } = options;
    this.name = name;
    this.#client = connect(Work, socket);
    this.#up.push({ message: { case: 'hello', value: { worker: name, pool, maxExecutions, running } } });
    this.#messages = this.#client.attach(this.#up, { signal: this.#abort.signal })[Symbol.asyncIterator]();
    this.#reader = this.#inbox[Symbol.asyncIterator]();
    this.ended = this.#read();
  }

  async #read(): Promise<void> {
    for (;;) {
      const next = await this.#messages.next();
      if (next.done) return this.#inbox.end();
      const { message } = next.value;
      if (message.case === 'announcement') this.announced.set(message.value.invocation, message.value);
      else if (message.case === 'begin') this.#inbox.push({ case: 'assignment', value: this.#take(message.value.invocation)! });
      else if (message.case !== 'cancel' || !this.#take(message.value.invocation)) this.#inbox.push(message);
    }
  }

  #take(invocation: string): AssignmentMessage | undefined {
    const assignment = this.announced.get(invocation);
    this.announced.delete(invocation);
    return assignment;
  }

  async next<C extends 'assignment' | 'cancel' | 'credit'>(expected: C): Promise<Extract<ToWorker['message'], { case: C }>['value']> {
    const { value, done } = await this.#reader.next();
    if (done) throw new Error(`the stream ended, expected ${expected}`);
    if (value.case !== expected) throw new Error(`expected ${expected}, got ${value.case}`);
    return value.value as never;
  }

  async any(): Promise<ToWorker['message']> {
    const { value, done } = await this.#reader.next();
    if (done) throw new Error('the stream ended');
    return value;
  }

  update(invocation: string, phase: RunUpdate['phase'], rest: Partial<RunUpdate> = {}): void {
    this.#up.push({ message: { case: 'update', value: { invocation, phase, reason: '', message: '', ...rest } } });
  }

  output(invocation: string, data: string | Uint8Array): void {
    this.#up.push({ message: { case: 'stdout', value: { invocation, data: typeof data === 'string' ? Buffer.from(data) : data } } });
  }

  /** Runs assignments one after the other with `run`, for tests in which the worker is not the point. */
  async serve(run: (assignment: AssignmentMessage) => void): Promise<void> {
    for (;;) {
      const { value, done } = await this.#reader.next();
      if (done) return;
      if (value.case === 'assignment') run(value.value);
    }
  }

  /** Goes away as a killed process does. */
  kill(): void {
    this.#abort.abort();
    this.#client.close();
  }
}

let workers = 0;

/** A worker that the dispatcher knows of, and the only one of its pool that is free. */
export const attachedWorker = async (stack: Stack, options: ConstructorParameters<typeof Worker>[1] = {}): Promise<Worker> => {
  const { pool = 'default/default', name = `w${++workers}` } = options;
  const worker = new Worker(stack.workSocket, { ...options, name });
  // A hello is not answered, so ask the scheduler for a slot until this worker has it.
  for (;;) {
    const slot = stack.scheduler.take({ invocation: `probe-${name}`, agent: 'probe', pool, maxConcurrent: 0, maxExecutionsPerWorker: 1e9, maxWaitMs: 0 });
    if ('release' in slot) slot.release();
    if ('worker' in slot && slot.worker === name) return worker;
    await new Promise((resolve) => setImmediate(resolve));
  }
};
