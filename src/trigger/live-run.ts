import { messageOf, type Clock, type Logger } from '#lib';
import type { Invocation, RunControl, RunObserver, RunUpdate } from '#model';
import { Stdout } from './stdout.ts';
import type { Change, Journal } from './journal.ts';

/**
 * An invocation that has not ended: what its worker says goes into the journal, its stdout to whoever waits. When the last
 * caller goes away the run is cancelled; a run without callers of its own (`detached`: after a restart) is not.
 */
export class LiveRun implements RunObserver {
  readonly stdout = new Stdout();
  readonly #id: string;
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #acceptedAt: number;
  readonly #detached: boolean;
  readonly #end = Promise.withResolvers<Invocation>();
  #control: RunControl | undefined;
  /** Its place in the queue, and since when it has it (monotonic). */
  #place: { readonly leave: () => void; readonly since: number } | undefined;
  #release: (() => void) | undefined;
  /** When a rejected one may be tried again, in milliseconds. */
  retryAfterMs: number | undefined;
  #cancelled: string | undefined;
  #firstByteMs: number | undefined;
  #callers = 0;
  #over = false;

  constructor(id: string, options: { journal: Journal; clock: Clock; log: Logger; detached?: boolean }) {
    this.#id = id;
    this.#journal = options.journal;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#acceptedAt = options.clock.monotonic();
    this.#detached = options.detached ?? false;
  }

  /** Resolves with the finished invocation once its end is durable. */
  get ended(): Promise<Invocation> {
    return this.#end.promise;
  }

  /** Nobody has cancelled it. */
  get wanted(): boolean {
    return !this.#over && this.#cancelled === undefined;
  }

  /** Its whole stdout, unless that was too much or began before this process. */
  held(): Uint8Array | undefined {
    return this.#detached ? undefined : this.stdout.held();
  }

  /** The event of the run is held until its worker has it; `release` is called then. */
  holds(release: () => void): void {
    this.#release = release;
  }

  #letGo(): void {
    this.#release?.();
    this.#release = undefined;
  }

  /** The run waits for a slot from here on. */
  waits(leave: () => void): void {
    this.#place = { leave, since: this.#clock.monotonic() };
  }

  /** It has a slot, or none will come; returns what that says about its wait. */
  #leaveQueue(): Pick<Change, 'queuedMs'> {
    const place = this.#place;
    this.#place = undefined;
    return place ? { queuedMs: Math.round((this.#clock.monotonic() - place.since) * 100) / 100 } : {};
  }

  /** The run has a slot; its worker gets it once that is durable. */
  dispatched(change: Pick<Change, 'worker' | 'revision'>, timeoutMs: number): void {
    const now = this.#clock.now();
    this.#journal.move(this.#id, 'Dispatched', { ...change, ...this.#leaveQueue(), reason: '', message: '', dispatchedAt: now }, now + timeoutMs);
  }

  /** The run is at its worker from here on; a cancel that came earlier is passed on now. */
  started(control: RunControl): void {
    this.#control = control;
    this.#letGo();
    if (this.#cancelled !== undefined) control.cancel(this.#cancelled);
  }

  cancel(reason: string): void {
    if (this.#over || this.#cancelled !== undefined) return;
    this.#cancelled = reason;
    this.#control?.cancel(reason);
    if (!this.#place) return;
    this.#place.leave();
    const message = reason === 'CallerGone' ? 'The caller went away while the run waited for a slot.' : 'The run was cancelled while it waited for a slot.';
    this.finish('Rejected', { reason, message });
  }

  /** Lets the worker send more, as a reader has taken `bytes`. */
  consumed(bytes: number): void {
    this.#control?.credit(bytes);
  }

  /** Somebody waits for this run until `signal` aborts or the returned function is called. */
  attend(signal: AbortSignal): () => void {
    this.#callers++;
    const leave = (): void => {
      signal.removeEventListener('abort', leave);
      if (--this.#callers === 0 && !this.#detached) this.cancel('CallerGone');
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return () => signal.removeEventListener('abort', leave);
  }

  output(data: Uint8Array): void {
    if (this.#over) return;
    this.#firstByteMs ??= Math.round((this.#clock.monotonic() - this.#acceptedAt) * 100) / 100;
    if (this.#detached) this.consumed(data.byteLength);
    else this.stdout.push(data);
  }

  update(update: RunUpdate): void {
    if (this.#over) return;
    const now = this.#clock.now();
    const { phase } = this.#journal.get(this.#id)!;
    const run = update.phase === 'Running' || update.phase === 'Succeeded';
    if (run && phase === 'Dispatched') this.#journal.move(this.#id, 'Running', { startedAt: now });
    if (update.phase !== 'Running') this.finish(update.phase, update);
  }

  /** Ends the run. The first end counts. */
  finish(
    phase: 'Succeeded' | 'Failed' | 'Timeout' | 'Rejected',
    update: Pick<RunUpdate, 'reason' | 'message' | 'exitCode' | 'outputBytes' | 'conditions'>,
  ): void {
    if (this.#over) return;
    this.#over = true;
    this.#letGo();
    const change: Change = {
      reason: update.reason,
      message: update.message,
      finishedAt: this.#clock.now(),
      ...this.#leaveQueue(),
      ...(update.exitCode !== undefined && { exitCode: update.exitCode }),
      ...(update.conditions && { conditions: update.conditions }),
      ...(phase !== 'Rejected' && { outputBytes: update.outputBytes ?? this.stdout.total }),
      ...(this.#firstByteMs !== undefined && !this.#detached && { firstByteMs: this.#firstByteMs }),
    };
    const invocation = this.#journal.move(this.#id, phase, change);
    const settle = (): void => {
      this.#end.resolve(invocation);
      this.stdout.end();
    };
    this.#journal.committed().then(settle, (error: unknown) => {
      // The caller learns the truth all the same; the journal goes on trying to write it.
      this.#log.error('the end of an invocation is not durable yet', { invocation: this.#id, cause: messageOf(error) });
      settle();
    });
  }

  /** The invocation was never accepted: nobody hears of it again. */
  abandon(invocation: Invocation): void {
    this.#over = true;
    this.#letGo();
    this.#end.resolve(invocation);
    this.stdout.end();
  }
}
