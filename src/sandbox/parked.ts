import { messageOf, sleep, type Exit } from '#lib';
import type { Assignment, Binding, ClaimAnswer, RunTemplate } from '#model';
import { bindingOf, release } from './claim.ts';
import type { RunContext } from './context.ts';
import { Ending, endingOf } from './ending.ts';
import type { AddressPair } from './addresses.ts';
import { PreparedSandbox, type SandboxIdentity } from './prepared.ts';
import { childrenOf, isAlive, quiet } from './quiet.ts';
import { pumpLines } from './stdio.ts';

/** A claim that takes longer than this is given up; the run then starts cold, and waits longer. */
const CLAIM_MS = 2_000;

/** Why a sandbox cannot wait for its run. */
export interface ParkFailure {
  readonly reason: string;
  readonly message: string;
}

const startsBeforeEvent = (what: string): ParkFailure => ({ reason: 'StartsBeforeEvent', message: `The agent ${what} before it had an event.` });

/**
 * A sandbox whose process was started ahead of its run and waits for the event. Until it is claimed it reaches nothing, and
 * whatever it writes stays in its pipes. It is of use only while it waits: one that ends, writes to stdout or tries to reach
 * something is `failed`, and the run that would have had it starts cold.
 */
export class ParkedSandbox implements AsyncDisposable {
  readonly sandbox: PreparedSandbox;
  /** `performance.now()` since when its process is at rest: it waits. Undefined before, and when it failed. */
  readySince: number | undefined;
  readonly #context: RunContext;
  readonly #template: RunTemplate;
  readonly #parking = new AbortController();
  readonly #failed = Promise.withResolvers<ParkFailure>();
  /** The run it is given to, and what `egress` says to that. */
  readonly #binding = Promise.withResolvers<Binding>();
  readonly #answer = Promise.withResolvers<ClaimAnswer>();
  #failure: ParkFailure | undefined;
  #claimed: Assignment | undefined;
  /** gVisor's own processes: runsc notices only some milliseconds later that one is gone. */
  #processes: readonly number[] = [];
  #given = false;
  #starting: Promise<void> = Promise.resolve();
  #output: Promise<unknown> = Promise.resolve();
  #gone: Promise<void> | undefined;

  constructor(context: RunContext, template: RunTemplate, identity: SandboxIdentity) {
    this.#context = context;
    this.#template = template;
    this.sandbox = new PreparedSandbox(context, template, identity);
    this.#answer.promise.catch(() => {}); // nobody asks unless a run takes it
  }

  /** Resolves when it cannot wait any more; never once it is claimed. */
  get failed(): Promise<ParkFailure> {
    return this.#failed.promise;
  }

  /** Whether a run can have it now: its process was started and waits, or will soon. */
  get usable(): boolean {
    return this.#failure === undefined && this.#claimed === undefined && this.sandbox.started && !this.sandbox.over;
  }

  /** Starts it; resolves when its process has come to rest, or has failed. */
  start(): Promise<void> {
    return (this.#starting = this.#start());
  }

  async #start(): Promise<void> {
    const { signal } = this.#parking;
    try {
      await this.sandbox.prepare({ hold: (pair) => this.#park(pair), letGo: (pair) => this.#letGo(pair) }, signal);
      signal.throwIfAborted();
    } catch (error) {
      if (!signal.aborted) this.#fail(endingOf(error, this.#context.log));
      return;
    }
    const child = this.sandbox.start();
    const { stdout, pid } = child;
    stdout!.once('readable', this.#onOutput);
    child.once('exit', () => void (this.#given || this.#keepOutput())); // now: Node throws away what nobody reads then
    const explain = async (exit: Exit): Promise<void> => {
      const { reason, message } = await this.sandbox.outcome(exit, await this.sandbox.limits());
      this.#fail(reason === '' || reason === 'ExitCode' ? startsBeforeEvent('ended') : { reason, message });
    };
    // What it had of its limits may be gone already, when it is being cleaned up.
    this.sandbox.ended.then(explain).catch((error: unknown) => this.#fail(endingOf(error, this.#context.log)));
    await quiet(pid, signal);
    this.#processes = pid === undefined ? [] : await childrenOf(pid);
    if (this.usable) this.readySince = performance.now();
  }

  /**
   * Gives it to a run: its address is the run's from here on, and the way out is open. Resolves when the run has `begun`;
   * with false when it could not be had, and nothing of the run has reached it.
   */
  async claim(assignment: Assignment, begun: Promise<void>, signal: AbortSignal): Promise<boolean> {
    begun.catch(() => {}); // it is awaited later than it may reject
    if (!this.usable) return false;
    this.#claimed = assignment;
    const { gateway, log } = this.#context;
    const { pair, child } = this.sandbox;
    try {
      this.#binding.resolve(bindingOf(pair, assignment));
      const answer = await this.#answered(signal);
      if (answer.refused) this.#fail({ reason: answer.refused, message: answer.message }, true);
      // Only now: until it is claimed it reaches nothing.
      else await gateway.deleteRoute({ map: 'parked', source: pair.sandbox, destination: '', ports: '' });
    } catch (error) {
      log.info('a warm sandbox could not be claimed', { invocation: assignment.invocation, cause: messageOf(error) });
      return false;
    }
    await begun;
    child.stdout!.off('readable', this.#onOutput);
    this.#onOutput(); // what came just now is only announced later
    return (this.#given = this.#failure === undefined && !this.sandbox.over && this.#processes.every(isAlive));
  }

  /** What `egress` says to the binding; rejects when it says nothing in time. */
  async #answered(signal: AbortSignal): Promise<ClaimAnswer> {
    const answered = new AbortController();
    const late = sleep(CLAIM_MS, AbortSignal.any([signal, answered.signal])).then(() => {
      throw new Error(`egress did not answer within ${CLAIM_MS} ms`);
    });
    late.catch(() => {});
    try {
      return await Promise.race([this.#answer.promise, late]);
    } finally {
      answered.abort();
    }
  }

  readonly #onOutput = (): void => {
    const wrote = this.sandbox.child.stdout!.readableLength > 0;
    if (wrote) this.#fail(startsBeforeEvent('wrote to its standard output'), true);
  };

  #fail(failure: ParkFailure, evenClaimed = false): void {
    if (this.#gone || (this.#claimed && !evenClaimed)) return;
    this.#failure ??= failure;
    this.readySince = undefined;
    this.#failed.resolve(this.#failure);
  }

  /** Makes the address known as parked; resolves with the answer, and goes on listening. */
  async #park({ block, sandbox: address }: AddressPair): Promise<void> {
    const { namespace, agent, gateways } = this.#template;
    const answers = this.#context.claims
      .park({ address, block, namespace, agent, gateways }, this.#binding.promise, this.#parking.signal)
      [Symbol.asyncIterator]();
    const first = await answers.next();
    if (first.done) throw new Ending('Failed', 'EgressUnavailable', "The worker's egress did not accept the sandbox.");
    if (first.value.refused) throw new Ending('Failed', first.value.refused, first.value.message);
    void this.#listen(answers);
  }

  /** What `egress` says after that: to the binding, or before there is one, that it did not wait. */
  async #listen(answers: AsyncIterator<ClaimAnswer>): Promise<void> {
    const lost = { reason: 'EgressUnavailable', message: "The worker's egress was restarted." };
    const next = await answers.next().catch(() => undefined);
    const answer = next?.value;
    if (answer) this.#answer.resolve(answer);
    else this.#answer.reject(new Error(lost.message));
    if (this.#parking.signal.aborted || (answer && !answer.refused)) return;
    this.#fail(answer ? { reason: answer.refused, message: answer.message } : lost);
  }

  async #letGo(pair: AddressPair): Promise<void> {
    await this.#context.gateway.deleteRoute({ map: 'parked', source: pair.sandbox, destination: '', ports: '' });
    this.#parking.abort(); // before the release, so that a claim without an answer comes to nothing
    if (this.#claimed) await release(this.#context, pair, this.#claimed.invocation);
  }

  /** Ends it, whatever it does, and leaves nothing of it. */
  [Symbol.asyncDispose](): Promise<void> {
    return (this.#gone ??= this.#end());
  }

  async #end(): Promise<void> {
    const { sandbox } = this;
    if (sandbox.started && !sandbox.over) sandbox.child.kill('SIGKILL');
    if (!this.#claimed) this.#parking.abort();
    await this.#starting;
    if (sandbox.started) await sandbox.ended;
    await this.#output;
    await sandbox[Symbol.asyncDispose]();
  }

  /** What it wrote without a run goes to the log. */
  #keepOutput(): void {
    const { namespace, agent } = this.#template;
    const log = this.#context.log.with({ agent: `${namespace}/${agent}` });
    const { stdout, stderr } = this.sandbox.child;
    stdout!.off('readable', this.#onOutput);
    this.#output = Promise.allSettled([
      pumpLines(stdout!, (line) => log.info('stdout without a run', { line })),
      pumpLines(stderr!, (line) => log.info('stderr without a run', { line })),
    ]);
  }
}
