import { randomUUID } from 'node:crypto';
import type { Assignment, RunTemplate, RunUpdate } from '#model';
import type { RunContext } from './context.ts';
import { Load } from './load.ts';
import { SandboxRun, type RunListener } from './run.ts';
import { tryStart, type TrialFailure } from './trial.ts';
import { WarmPool } from './warm-pool.ts';

/** How long a trial stands back for runs. */
const STAND_BACK_MS = 2_000;

/**
 * All sandboxes of a worker: runs, and those that wait for one. Disposing it cancels the runs (`WorkerStopping`) and waits
 * until nothing is left of any.
 */
export class Sandboxes implements AsyncDisposable {
  readonly #context: RunContext;
  readonly #changed: () => void;
  readonly #load = new Load();
  /** Sandboxes started ahead of their runs. */
  readonly warm: WarmPool;
  /** By invocation, until nothing is left of them. */
  readonly #runs = new Map<string, SandboxRun>();
  #number = 0;
  #stopping = false;

  /** `changed` is called when `running` or what is warm has changed. */
  constructor({ changed = () => {}, ...context }: RunContext & { readonly changed?: () => void }) {
    this.#context = context;
    this.#changed = changed;
    this.warm = new WarmPool({ context, load: this.#load, nextNumber: () => ++this.#number, changed });
  }

  /** Invocations that run or are being cleaned up. */
  get running(): readonly string[] {
    return [...this.#runs.keys()];
  }

  /**
   * Starts a run. The end comes to `ended` once; at once and `AlreadyRunning` for an invocation of which something is still
   * here. With `begin`, the run is prepared, and its process does nothing of it before that resolves.
   */
  start(assignment: Assignment, listener: RunListener & { ended(update: RunUpdate): void }, begin?: Promise<void>): void {
    const { invocation } = assignment;
    if (this.#runs.has(invocation)) {
      const message = 'An earlier run of the same invocation id has not been cleaned up yet.';
      return listener.ended({ invocation, phase: 'Failed', reason: 'AlreadyRunning', message, outputBytes: 0 });
    }
    const parked = this.#stopping ? undefined : this.warm.take(assignment);
    const run = new SandboxRun(this.#context, assignment, listener, { number: ++this.#number, parked, load: this.#load, begin: begin ?? Promise.resolve() });
    this.#runs.set(invocation, run);
    this.#changed();
    if (this.#stopping) run.cancel('WorkerStopping');
    void run.done.then((update) => listener.ended(update));
    void run[Symbol.asyncDispose]().then(() => {
      this.#runs.delete(invocation);
      this.#changed();
    });
  }

  /** Whether sandboxes of a template start, by starting one; see `tryStart`. */
  async tryStart(template: RunTemplate, signal: AbortSignal): Promise<TrialFailure | undefined> {
    await this.#load.low(STAND_BACK_MS, signal);
    return tryStart(this.#context, template, { number: ++this.#number, id: randomUUID() }, signal);
  }

  /** Ends a run early; nothing happens when it is not here. */
  cancel(invocation: string, reason: string): void {
    this.#runs.get(invocation)?.cancel(reason);
  }

  credit(invocation: string, bytes: number): void {
    this.#runs.get(invocation)?.credit(bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    for (const run of this.#runs.values()) run.cancel('WorkerStopping');
    await Promise.all([...this.#runs.values(), this.warm].map((part) => part[Symbol.asyncDispose]()));
  }
}
