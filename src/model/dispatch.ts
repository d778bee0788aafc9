import type { Assignment, RunUpdate } from './run.ts';

/** Between trigger and scheduler: a slot on a worker, then the run that fills it. `cmd/dispatcher` joins the two. */

/** What an invocation needs of the scheduler. */
export interface SlotRequest {
  readonly invocation: string;
  /** The agent, `namespace/name`: what `maxConcurrent` is counted by. */
  readonly agent: string;
  /** Pool whose workers may run it, as workers name it in their hello. */
  readonly pool: string;
  /** Runs of this agent at the same time over all workers; 0 = no limit. */
  readonly maxConcurrent: number;
  readonly maxExecutionsPerWorker: number;
  /** How long it may wait for its slot, in milliseconds. */
  readonly maxWaitMs: number;
  /** `templateKey` of what will run: a worker that has a warm sandbox of it is chosen first. Unknown for a run of an earlier process. */
  readonly template?: string;
}

/** A taken slot. It is given back by `release`, or by the end of the run that `start` begins. */
export interface Slot {
  readonly worker: string;
  /** Lets the worker prepare the run that is going to `start`, while that becomes durable. Nothing of the run happens before. */
  announce(assignment: Assignment): void;
  start(assignment: Assignment, observer: RunObserver): RunControl;
  release(): void;
}

export interface SlotRefusal {
  /**
   * `AgentFull` (its limit) and `PoolFull` (no room on its workers): so many wait already that no more may. `QueueTimeout`: it
   * waited too long. These pass by themselves. `NoWorker` does not, nor does a reason why the agent cannot run any more.
   */
  readonly refused: string;
  readonly message: string;
  /** When a slot may be free by what is known of recent runs, in milliseconds from now; absent when waiting does not help. */
  readonly retryAfterMs?: number;
}

/** A place in the queue. Its waiter is told once what came of it, unless it leaves before. */
export interface SlotTicket {
  /** Why it waits. */
  readonly waiting: 'AgentFull' | 'PoolFull';
  readonly message: string;
  /** Gives the place up; nothing is told any more. */
  leave(): void;
}

/** Whoever waits for a slot. */
export interface SlotWaiter {
  granted(slot: Slot): void;
  refused(refusal: SlotRefusal): void;
}

/** What the owner of a run hears: stdout in order, then one update with a terminal phase and nothing after it. */
export interface RunObserver {
  output(data: Uint8Array): void;
  update(update: RunUpdate): void;
}

export interface RunControl {
  /** The worker ends the run with this reason; it ends Failed even when the worker stays silent. */
  cancel(reason: string): void;
  /** Lets the worker send this many more stdout bytes. */
  credit(bytes: number): void;
}

/** A run of the journal that an earlier dispatcher process gave to a worker. */
export interface OrphanRun {
  readonly slot: SlotRequest;
  readonly worker: string;
  /** All the time it has, in ms. How much of it is over is not known: the wall clock may have been set meanwhile, and the worker counts. */
  readonly timeoutMs: number;
}

export interface SchedulerPort {
  /** A slot when there is one now; else a place in the queue, or, for whom does not wait or where too many do, a refusal. */
  take(request: SlotRequest, waiter?: SlotWaiter): Slot | SlotTicket | SlotRefusal;
  /** Waits for a worker that still runs it; without one it ends Failed/`DispatcherLost`. */
  adopt(run: OrphanRun, observer: RunObserver): RunControl;
}

/** Stdout bytes a worker may send before the first credit. */
export const INITIAL_CREDIT = 1024 * 1024;
