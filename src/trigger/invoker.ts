import { messageOf, newSpanId, sha256Hex, sleep, systemClock, type Clock, type Logger } from '#lib';
import {
  isTerminal,
  QUEUED,
  type Assignment,
  type Invocation,
  type InvocationFilter,
  type InvokeAnswer,
  type InvokeRequest,
  type Runs,
  type SchedulerPort,
  type Slot,
  type SlotRefusal,
} from '#model';
import { admit, readmit, type AgentDirectory, type AgentView } from './admission.ts';
import { answerOf, errorAnswer, overloaded, streamedAnswer } from './answer.ts';
import { encodeEvent, EventError } from './cloud-event.ts';
import { invocationIdOf, traceIdOf } from './ids.ts';
import { InFlight } from './in-flight.ts';
import { MAX_BODY_BYTES, MAX_IN_FLIGHT_BYTES } from './limits.ts';
import { LiveRun } from './live-run.ts';
import type { Journal } from './journal.ts';

/** How long running runs may take to end when the dispatcher stops. */
const SHUTDOWN_MS = 2_000;

/**
 * The way of an invocation: identified, judged, journalled, given to a worker, answered. A request whose id is known is not run
 * again: it gets the same run's answer when agent and body are the same, else a conflict. An answer given later than the run
 * itself says how the run ended, but not its output, which is kept nowhere.
 */
export class Invoker implements Runs, AsyncDisposable {
  readonly #journal: Journal;
  readonly #directory: AgentDirectory;
  readonly #scheduler: SchedulerPort;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #runs = new Map<string, LiveRun>();
  /** What is held for callers, here and in the ingress. */
  readonly inFlight: InFlight;
  #closing = false;

  constructor(options: { journal: Journal; directory: AgentDirectory; scheduler: SchedulerPort; log: Logger; clock?: Clock; maxInFlightBytes?: number }) {
    this.inFlight = new InFlight(options.maxInFlightBytes ?? MAX_IN_FLIGHT_BYTES);
    this.#journal = options.journal;
    this.#directory = options.directory;
    this.#scheduler = options.scheduler;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
  }

  /** Takes up what an earlier process left in the journal. Call it before workers can attach. */
  recover(): void {
    for (const { invocation, deadline } of this.#journal.unfinished()) {
      const run = this.#track(invocation.id, true);
      if (invocation.phase === 'Pending') {
        run.finish('Rejected', { reason: 'DispatcherLost', message: 'The dispatcher was restarted before the run was given to a worker.' });
        continue;
      }
      const slot = { invocation: invocation.id, agent: agentOf(invocation), pool: '', maxConcurrent: 0, maxExecutionsPerWorker: 0, maxWaitMs: 0 };
      const timeoutMs = deadline - (invocation.dispatchedAt ?? deadline);
      run.started(this.#scheduler.adopt({ slot, worker: invocation.worker, timeoutMs }, run));
    }
  }

  /** Rejects with the signal's reason when the caller goes away before there is an answer. */
  async invoke(request: InvokeRequest, signal: AbortSignal): Promise<InvokeAnswer> {
    if (request.body.byteLength > MAX_BODY_BYTES) return this.refuseBody(request);
    const found = this.#identify(request, sha256Hex(request.body));
    if ('status' in found) return found;
    if (found.known) return this.#repeat(found.invocation, signal);
    if (!this.inFlight.take(request.body.byteLength)) return overloaded();
    const run = this.#dispatch(found.invocation, found.view, request);
    return this.#answer(found.invocation.id, run, signal);
  }

  /** Answers a request whose body is too large to be read. */
  async refuseBody(request: Omit<InvokeRequest, 'body'>): Promise<InvokeAnswer> {
    const found = this.#identify(request, '');
    if ('status' in found) return found;
    const { invocation } = found;
    if (found.known) return errorAnswer('BodyTooLarge', {}, { reason: 'BodyTooLarge', invocation: invocation.id });
    this.#journal.insert(invocation);
    const run = this.#track(invocation.id);
    run.finish('Rejected', { reason: 'BodyTooLarge', message: `The request body is larger than ${MAX_BODY_BYTES} bytes.` });
    return answerOf(await run.ended, undefined);
  }

  async get(namespace: string, id: string): Promise<Invocation | undefined> {
    const invocation = this.#journal.get(id);
    return invocation?.namespace === namespace ? invocation : undefined;
  }

  async list(filter: InvocationFilter): Promise<readonly Invocation[]> {
    return this.#journal.list(filter);
  }

  watch(filter: InvocationFilter, signal: AbortSignal): AsyncIterable<Invocation> {
    return this.#journal.watch(filter, signal);
  }

  /** Who asks for what: a known invocation, or a new one that is not journalled yet, or the answer to a request that is neither. */
  #identify(
    request: Omit<InvokeRequest, 'body'>,
    bodyHash: string,
  ): InvokeAnswer | { known: true; invocation: Invocation } | { known: false; invocation: Invocation; view: AgentView } {
    const { namespace, agent, trigger, source, headers } = request;
    const id = invocationIdOf(headers);
    if (id === undefined) {
      const message = 'X-Clrk-Invocation-ID must be a UUID in canonical form: lower-case hex digits in groups of 8-4-4-4-12.';
      return errorAnswer('BadTrigger', { message }, { reason: 'InvocationIdInvalid' });
    }
    const known = this.#journal.get(id);
    if (known) {
      const same = known.namespace === namespace && known.agent === agent && (known.bodyHash === bodyHash || bodyHash === '');
      if (same) return { known: true, invocation: known };
      const message = `The invocation id ${id} was used for another agent or another body.`;
      return errorAnswer('InvocationConflict', { message }, { reason: 'InvocationIdInUse', invocation: id });
    }
    const name = `${namespace}/${agent}`;
    const view = this.#directory.get(namespace, agent);
    if (!view) return errorAnswer('AgentNotFound', { agent: name }, { reason: 'AgentNotFound', invocation: id });
    if (this.#closing) {
      return errorAnswer('AgentNotReady', { agent: name, message: 'The dispatcher is shutting down.' }, { reason: 'Shutdown', invocation: id });
    }
    const created = { id, namespace, agent, trigger, source, bodyHash, traceId: traceIdOf(headers), createdAt: this.#clock.now() };
    return { known: false, view, invocation: { ...created, phase: 'Pending', reason: '', message: '', revision: '', worker: '' } };
  }

  /** Journals a new invocation and, when it can run, gives it to a worker as soon as that is durable. */
  #dispatch(invocation: Invocation, view: AgentView, request: InvokeRequest): LiveRun {
    const { id } = invocation;
    const { byteLength } = request.body;
    try {
      this.#journal.insert(invocation);
    } catch (error) {
      this.inFlight.release(byteLength);
      throw error;
    }
    const run = this.#track(id);
    run.holds(() => this.inFlight.release(byteLength));
    const reject = (reason: string, message: string): LiveRun => {
      run.finish('Rejected', { reason, message });
      return run;
    };
    const admission = admit(view);
    if ('refused' in admission) return reject(admission.refused, admission.message);
    let event: Uint8Array;
    try {
      event = encodeEvent(request, id, invocation.createdAt);
    } catch (error) {
      if (error instanceof EventError) return reject('EventInvalid', error.message);
      throw error;
    }
    const taken = this.#scheduler.take(
      { ...admission.slot, invocation: id },
      {
        granted: (slot) => this.#granted(invocation, run, slot, event),
        refused: (refusal) => refuse(run, refusal),
      },
    );
    if ('refused' in taken) refuse(run, taken);
    else if ('waiting' in taken) {
      this.#journal.note(id, { reason: QUEUED, message: taken.message });
      run.waits(() => taken.leave());
    } else this.#start(invocation, run, taken, { ...admission.run, event });
    return run;
  }

  /** A run that waited has a slot: it runs as its agent is now. */
  #granted(invocation: Invocation, run: LiveRun, slot: Slot, event: Uint8Array): void {
    const admission = readmit(this.#directory, agentOf(invocation));
    if ('refused' in admission) {
      slot.release();
      return refuse(run, admission);
    }
    this.#start(invocation, run, slot, { ...admission.run, event });
  }

  #start(invocation: Invocation, run: LiveRun, slot: Slot, given: Omit<Assignment, 'invocation' | 'traceId' | 'spanId'>): void {
    const { id, traceId } = invocation;
    run.dispatched({ worker: slot.worker, revision: given.revision }, given.timeoutMs);
    const assignment = { ...given, invocation: id, traceId, spanId: newSpanId() };
    slot.announce(assignment);
    this.#journal.committed().then(
      () => {
        if (run.wanted) return run.started(slot.start(assignment, run));
        slot.release();
        run.finish('Failed', { reason: 'CallerGone', message: 'The caller went away before the run was given to its worker.' });
      },
      (error: unknown) => {
        slot.release();
        const end = { reason: 'JournalUnavailable', message: `The journal cannot be written: ${messageOf(error)}` };
        if (this.#journal.discard(id)) run.abandon({ ...invocation, phase: 'Rejected', ...end });
        else run.finish('Failed', end);
      },
    );
  }

  #track(id: string, detached = false): LiveRun {
    const run = new LiveRun(id, { journal: this.#journal, clock: this.#clock, log: this.#log, detached });
    this.#runs.set(id, run);
    void run.ended.then(({ phase, reason }) => {
      this.#runs.delete(id);
      this.#log.info('invocation ended', { invocation: id, phase, reason });
    });
    return run;
  }

  async #repeat(invocation: Invocation, signal: AbortSignal): Promise<InvokeAnswer> {
    const run = this.#runs.get(invocation.id);
    if (run) return this.#answer(invocation.id, run, signal);
    if (!isTerminal(invocation.phase)) throw new Error(`invocation ${invocation.id} is ${invocation.phase}, but nothing runs it`);
    return answerOf(invocation, undefined);
  }

  /** Waits for a run and answers with its result, or with its output as it comes once there is too much to hold back. */
  async #answer(id: string, run: LiveRun, signal: AbortSignal): Promise<InvokeAnswer> {
    const leave = run.attend(signal);
    const gone = Promise.withResolvers<never>();
    const onAbort = (): void => gone.reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const ended = run.ended.then(() => 'ended' as const);
      const first = await Promise.race([ended, run.stdout.overflowed, gone.promise]);
      const start = first === 'ended' ? undefined : run.stdout.peek();
      const stream = start && run.stdout.take();
      if (start && stream) return streamedAnswer(id, start, this.#stream(run, stream, leave));
      const invocation = await Promise.race([run.ended, gone.promise]);
      leave();
      return answerOf(invocation, run.held(), run.retryAfterMs);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async *#stream(run: LiveRun, stream: AsyncIterable<Uint8Array>, leave: () => void): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of stream) {
      yield chunk;
      run.consumed(chunk.byteLength);
    }
    const { id, phase, message } = await run.ended;
    leave();
    if (phase !== 'Succeeded') throw new Error(`Invocation ${id} ended ${phase}: ${message}`);
  }

  /** Takes no more triggers, cancels what runs, and leaves every invocation with an end in the journal. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    const runs = [...this.#runs.values()];
    for (const run of runs) run.cancel('Shutdown');
    await Promise.race([Promise.all(runs.map((run) => run.ended)), sleep(SHUTDOWN_MS)]);
    for (const run of this.#runs.values()) run.finish('Failed', { reason: 'Shutdown', message: 'The dispatcher was stopped in the middle of the run.' });
    await Promise.all([...this.#runs.values()].map((run) => run.ended));
  }
}

const refuse = (run: LiveRun, { refused, message, retryAfterMs }: SlotRefusal): void => {
  run.retryAfterMs = retryAfterMs;
  run.finish('Rejected', { reason: refused, message });
};

const agentOf = ({ namespace, agent }: Invocation): string => `${namespace}/${agent}`;
