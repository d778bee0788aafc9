import { systemClock, type Clock, type Logger } from '#lib';
import {
  INITIAL_CREDIT,
  type Assignment,
  type OrphanRun,
  type RunControl,
  type RunObserver,
  type RunUpdate,
  type SchedulerPort,
  type Slot,
  type SlotRefusal,
  type SlotRequest,
  type SlotTicket,
  type SlotWaiter,
} from '#model';
import { alarm, type Alarm } from './alarm.ts';
import { agentKey, poolKey, WaitingRoom, workerKey, type Review, type WaitingLimits } from './waiting-room.ts';

export interface WorkerHello {
  readonly worker: string;
  readonly pool: string;
  /** The worker's own limit; 0 = none. */
  readonly maxExecutions: number;
  /** Invocations it runs right now, or whose end was not heard yet: what it does not name, it does not have. */
  readonly running: readonly string[];
  /** It takes no new runs and waits to be told that it has none left. */
  readonly draining: boolean;
}

export type WorkerMessage =
  | { readonly case: 'assignment'; readonly value: Assignment }
  | { readonly case: 'announcement'; readonly value: Assignment }
  | { readonly case: 'begin'; readonly value: { readonly invocation: string } }
  | { readonly case: 'cancel'; readonly value: { readonly invocation: string; readonly reason: string } }
  | { readonly case: 'credit'; readonly value: { readonly invocation: string; readonly bytes: number } }
  | { readonly case: 'drained'; readonly value: Record<never, never> };

/** How many may wait for a slot, and how long the scheduler waits for a silent worker, in milliseconds. */
export interface SchedulerLimits extends WaitingLimits {
  /** A lost worker may come back with its runs within this time before they count as lost. */
  readonly reattachMs: number;
  /** The same after the dispatcher itself started. */
  readonly recoverMs: number;
  /** A run ends Timeout this long after its time is up, whatever its worker says. */
  readonly timeoutSlackMs: number;
  /** A cancelled run ends this long after the cancel, whatever its worker says. */
  readonly cancelMs: number;
}

const DEFAULT_LIMITS: SchedulerLimits = {
  queuedPerAgent: 256,
  queuedPerPool: 1_024,
  reattachMs: 3_000,
  recoverMs: 10_000,
  timeoutSlackMs: 15_000,
  cancelMs: 10_000,
};

interface Worker {
  readonly name: string;
  readonly pool: string;
  readonly maxExecutions: number;
  draining: boolean;
  /** Sandboxes that wait for a run, by what runs in them; less what was assigned since the worker said so. */
  warm: Map<string, number>;
  readonly send: (message: WorkerMessage) => void;
  readonly close: () => void;
}

/** One taken slot; `observer` is there from the start of its run. */
interface Run {
  readonly request: SlotRequest;
  readonly worker: string;
  readonly orphan: boolean;
  /** When its slot was taken; monotonic. */
  readonly since: number;
  observer?: RunObserver;
  /** The worker that prepares it, before its start: one that has come back since has given it up. */
  announced?: Worker;
  /** How that worker's preparations ended, before its start. */
  early?: RunUpdate;
  /** Stdout bytes its worker may still send, and has sent. */
  credit: number;
  received: number;
  /** Its worker's stream broke in the middle: what it sends afterwards may have a hole. */
  reattached: boolean;
  cancelled?: string;
  /** Ends the run when its worker does not come back. */
  lost?: Alarm;
  /** Ends the run when its worker says nothing about a timeout or a cancel. */
  overdue?: Alarm;
}

/**
 * Chooses a worker for each run and follows the run to its end. Every started run gets exactly one terminal update: from its
 * worker, or from here when the worker is lost, silent past the deadline, or breaks the protocol.
 */
export class Scheduler implements SchedulerPort, Disposable {
  readonly #workers = new Map<string, Worker>();
  readonly #runs = new Map<string, Run>();
  /** Runs by worker and by agent. */
  readonly #load = new Map<string, number>();
  readonly #waiting: WaitingRoom;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #limits: SchedulerLimits;

  constructor(options: { log: Logger; clock?: Clock; limits?: Partial<SchedulerLimits>; review?: Review }) {
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    const slots = {
      workersOf: (pool: string) => [...this.#workers.values()].filter((worker) => worker.pool === pool && !worker.draining),
      loadOf: (key: string) => this.#loadOf(key),
      warmOn: (worker: string, { template = '' }: SlotRequest) => this.#workers.get(worker)?.warm.get(template) ?? 0,
      slotOn: (worker: string, request: SlotRequest) => this.#slotOn(worker, request),
    };
    this.#waiting = new WaitingRoom({ slots, limits: this.#limits, log: this.#log, ...(options.review && { review: options.review }) });
  }

  take(request: SlotRequest, waiter?: SlotWaiter): Slot | SlotTicket | SlotRefusal {
    return this.#waiting.take(request, waiter);
  }

  /** Agents or pools have changed: whoever cannot be served any more need not wait, and others may go. */
  review(): void {
    this.#waiting.review();
  }

  #slotOn(worker: string, request: SlotRequest): Slot {
    const run: Run = { request, worker, orphan: false, since: this.#clock.monotonic(), credit: INITIAL_CREDIT, received: 0, reattached: false };
    this.#add(run);
    const { warm } = this.#workers.get(worker)!;
    const left = (warm.get(request.template ?? '') ?? 0) - 1;
    if (left >= 0) warm.set(request.template!, left);
    return {
      worker,
      announce: (assignment) => this.#announce(run, assignment),
      start: (assignment, observer) => this.#start(run, assignment, observer),
      release: () => this.#release(run),
    };
  }

  adopt({ slot, worker, timeoutMs }: OrphanRun, observer: RunObserver): RunControl {
    const run: Run = { request: slot, worker, orphan: true, since: this.#clock.monotonic(), observer, credit: Infinity, received: 0, reattached: false };
    this.#add(run);
    run.lost = alarm(this.#limits.recoverMs, () => this.#lose(run));
    this.#expectEnd(run, timeoutMs);
    return this.#controlOf(run);
  }

  #announce(run: Run, assignment: Assignment): void {
    const worker = this.#workers.get(run.worker);
    if (!worker) return;
    run.announced = worker;
    worker.send({ case: 'announcement', value: assignment });
  }

  #release(run: Run): void {
    const { announced } = run;
    if (announced && announced === this.#workers.get(run.worker)) {
      announced.send({ case: 'cancel', value: { invocation: run.request.invocation, reason: 'NotStarted' } });
    }
    this.#forget(run);
  }

  #start(run: Run, assignment: Assignment, observer: RunObserver): RunControl {
    run.observer = observer;
    const worker = this.#workers.get(run.worker);
    const { announced = worker, early } = run;
    if (early) queueMicrotask(() => this.#runs.get(assignment.invocation) === run && this.#update(run, early));
    else if (worker && worker === announced) {
      if (run.announced) worker.send({ case: 'begin', value: { invocation: assignment.invocation } });
      else worker.send({ case: 'assignment', value: assignment });
    } else queueMicrotask(() => this.#end(run, 'Failed', 'WorkerLost', `Worker ${run.worker} was lost before it got the run.`));
    this.#expectEnd(run, assignment.timeoutMs);
    return this.#controlOf(run);
  }

  /** The safety net behind the worker's own timeout. */
  #expectEnd(run: Run, timeoutMs: number): void {
    run.overdue = alarm(timeoutMs + this.#limits.timeoutSlackMs, () => {
      this.#workers.get(run.worker)?.send({ case: 'cancel', value: { invocation: run.request.invocation, reason: 'Timeout' } });
      this.#end(run, 'Timeout', 'Timeout', `Worker ${run.worker} did not report the end of the run in time.`);
    });
  }

  #controlOf(run: Run): RunControl {
    return {
      cancel: (reason) => this.#cancel(run, reason),
      credit: (bytes) => {
        if (this.#runs.get(run.request.invocation) !== run) return;
        run.credit += bytes;
        this.#workers.get(run.worker)?.send({ case: 'credit', value: { invocation: run.request.invocation, bytes } });
      },
    };
  }

  #cancel(run: Run, reason: string): void {
    if (this.#runs.get(run.request.invocation) !== run || run.cancelled !== undefined) return;
    run.cancelled = reason;
    const worker = this.#workers.get(run.worker);
    // A worker that comes back with a run unknown here is told to cancel it.
    if (!worker) return this.#end(run, 'Failed', reason, `The run was cancelled while worker ${run.worker} was away.`);
    worker.send({ case: 'cancel', value: { invocation: run.request.invocation, reason } });
    run.overdue?.stop();
    run.overdue = alarm(this.#limits.cancelMs, () =>
      this.#end(run, 'Failed', reason, `The run was cancelled; worker ${run.worker} did not confirm that it ended.`),
    );
  }

  /** A worker's stream has begun. A second one of the same name takes the place of the first. */
  attach(hello: WorkerHello, send: (message: WorkerMessage) => void, close: () => void): Attachment {
    const worker: Worker = { name: hello.worker, pool: hello.pool, maxExecutions: hello.maxExecutions, draining: hello.draining, warm: new Map(), send, close };
    this.#workers.get(worker.name)?.close();
    this.#workers.set(worker.name, worker);
    const running = new Set(hello.running);
    for (const run of this.#started(worker.name)) {
      if (running.delete(run.request.invocation)) this.#rejoin(run, worker);
      else this.#lose(run);
    }
    for (const invocation of running) send({ case: 'cancel', value: { invocation, reason: 'NotExpected' } });
    this.#log.info('worker attached', { worker: worker.name, pool: worker.pool, running: hello.running.length });
    this.#tellDrained(worker.name);
    this.#waiting.serve();
    const current = (invocation: string): Run | undefined => {
      const run = this.#workers.get(worker.name) === worker ? this.#runs.get(invocation) : undefined;
      return run && run.worker === worker.name && (run.observer ?? run.announced === worker) ? run : undefined;
    };
    return {
      update: (update) => this.#update(current(update.invocation), update),
      output: (invocation, data) => this.#output(current(invocation), data),
      drain: () => {
        worker.draining = true;
        this.#log.info('worker drains', { worker: worker.name, running: this.#loadOf(workerKey(worker.name)) });
        this.#tellDrained(worker.name);
      },
      warm: (counts) => void (worker.warm = new Map(counts.map(({ template, count }) => [template, count]))),
      lost: () => {
        if (this.#workers.get(worker.name) !== worker) return;
        this.#workers.delete(worker.name);
        this.#log.warn('worker lost', { worker: worker.name });
        for (const run of this.#started(worker.name)) this.#expectReturn(run);
      },
    };
  }

  #started = (worker: string): Run[] => [...this.#runs.values()].filter((run) => run.observer && run.worker === worker);

  #rejoin(run: Run, worker: Worker): void {
    run.lost?.stop();
    delete run.lost;
    run.reattached = true;
    const { invocation } = run.request;
    // What credit an orphan has left is not known; its output is dropped, so more does no harm.
    if (run.orphan) worker.send({ case: 'credit', value: { invocation, bytes: INITIAL_CREDIT } });
    if (run.cancelled !== undefined) worker.send({ case: 'cancel', value: { invocation, reason: run.cancelled } });
  }

  #expectReturn(run: Run): void {
    run.reattached = true;
    run.lost ??= alarm(this.#limits.reattachMs, () => this.#lose(run));
  }

  /** Its worker is away for too long, or came back without it. */
  #lose(run: Run): void {
    if (!run.orphan || run.reattached) return this.#end(run, 'Failed', 'WorkerLost', `Worker ${run.worker} was lost in the middle of the run.`);
    this.#end(run, 'Failed', 'DispatcherLost', 'The dispatcher was restarted, and no worker has this run any more; how it ended is not known.');
  }

  #update(run: Run | undefined, update: RunUpdate): void {
    if (!run) return;
    if (!run.observer) {
      // Only a preparation can fail before the start.
      if (update.phase === 'Failed' || update.phase === 'Timeout') run.early ??= update;
      return;
    }
    if (update.phase === 'Running') {
      run.observer.update(update);
      return;
    }
    const complete = run.orphan || update.phase !== 'Succeeded' || (update.outputBytes === undefined ? !run.reattached : update.outputBytes === run.received);
    this.#forget(run);
    run.observer.update(
      complete
        ? update
        : { ...update, phase: 'Failed', reason: 'OutputLost', message: `Part of the output was lost between worker ${run.worker} and dispatcher.` },
    );
  }

  #output(run: Run | undefined, data: Uint8Array): void {
    if (!run?.observer) return;
    run.credit -= data.byteLength;
    run.received += data.byteLength;
    if (run.credit >= 0) return run.observer.output(data);
    this.#workers.get(run.worker)?.send({ case: 'cancel', value: { invocation: run.request.invocation, reason: 'CreditExceeded' } });
    this.#end(run, 'Failed', 'CreditExceeded', `Worker ${run.worker} sent more output than it was allowed to.`);
  }

  #end(run: Run, phase: 'Failed' | 'Timeout', reason: string, message: string): void {
    if (this.#runs.get(run.request.invocation) !== run) return;
    this.#forget(run);
    run.observer?.update({ invocation: run.request.invocation, phase, reason, message });
  }

  #add(run: Run): void {
    this.#runs.set(run.request.invocation, run);
    for (const key of keysOf(run)) this.#load.set(key, this.#loadOf(key) + 1);
  }

  /** A worker that drains may go when it has no run, and none that is on its way to it. */
  #tellDrained(name: string): void {
    const worker = this.#workers.get(name);
    if (worker?.draining && this.#loadOf(workerKey(name)) === 0) worker.send({ case: 'drained', value: {} });
  }

  #loadOf = (key: string): number => this.#load.get(key) ?? 0;

  #forget(run: Run): void {
    run.lost?.stop();
    run.overdue?.stop();
    if (this.#runs.get(run.request.invocation) !== run) return;
    this.#runs.delete(run.request.invocation);
    for (const key of keysOf(run)) {
      if (this.#loadOf(key) > 1) this.#load.set(key, this.#loadOf(key) - 1);
      else this.#load.delete(key);
    }
    if (run.observer && !run.orphan) {
      const ms = this.#clock.monotonic() - run.since;
      this.#waiting.lasted(run.request, ms);
    }
    this.#tellDrained(run.worker);
    this.#waiting.serve();
  }

  [Symbol.dispose](): void {
    this.#waiting[Symbol.dispose]();
    for (const run of this.#runs.values()) this.#forget(run);
    for (const worker of this.#workers.values()) worker.close();
    this.#workers.clear();
  }
}

const keysOf = ({ request, worker }: Run): string[] => [agentKey(request.agent), poolKey(request.pool), workerKey(worker)];

/** The receiving end of one worker's stream. */
export interface Attachment {
  update(update: RunUpdate): void;
  output(invocation: string, data: Uint8Array): void;
  /** The worker takes no new runs from here on. */
  drain(): void;
  /** All sandboxes that wait for a run there now. */
  warm(counts: readonly { readonly template: string; readonly count: number }[]): void;
  lost(): void;
}
