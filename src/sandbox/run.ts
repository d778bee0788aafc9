import { once } from 'node:events';
import type { Logger } from '#lib';
import { INITIAL_CREDIT, type Assignment, type RunConditions, type RunUpdate } from '#model';
import { claim, release } from './claim.ts';
import type { RunContext } from './context.ts';
import { Ending, endingOf } from './ending.ts';
import type { Load } from './load.ts';
import type { ParkedSandbox } from './parked.ts';
import { PreparedSandbox, untilSettled } from './prepared.ts';
import type { RunLog } from './stdio-log.ts';
import { CreditWindow, pumpLines, pumpOutput } from './stdio.ts';

/** What the owner of a run hears, in order: `running`, stdout, then `done`. */
export interface RunListener {
  running(): void;
  /** At most as many bytes as there is credit. */
  output(data: Uint8Array): void;
}

/** How a run is to be started. */
export interface RunStart {
  /** Name of the sandbox if one has to be made. */
  readonly number: number;
  /** A sandbox that waits for just such a run; the run ends it. */
  readonly parked: ParkedSandbox | undefined;
  readonly load: Load;
  /** The run may begin: until then it is only prepared. */
  readonly begin: Promise<void>;
}

/**
 * One run in a sandbox of its own: claim, event, output, end, and everything gone afterwards. A sandbox that waits for it is
 * taken when it can be had; until the event is given to its process, the run can still start cold.
 * `done` has its end as soon as the process has ended and stdout is handed on; it never rejects.
 */
export class SandboxRun implements AsyncDisposable {
  readonly assignment: Assignment;
  readonly done: Promise<RunUpdate>;
  readonly #context: RunContext;
  readonly #listener: RunListener;
  readonly #log: Logger;
  readonly #stdio: RunLog;
  readonly #window = new CreditWindow(INITIAL_CREDIT);
  readonly #stop = new AbortController();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #cleaned: Promise<void>;

  constructor(context: RunContext, assignment: Assignment, listener: RunListener, start: RunStart) {
    this.assignment = assignment;
    this.#context = context;
    this.#listener = listener;
    this.#log = context.log.with({ invocation: assignment.invocation });
    this.#stdio = context.stdio.run(assignment);
    this.done = this.#run(start);
    void this.done.then((update) => this.#stdio.ended(update));
    this.#cleaned = this.done
      .then(() => this.#cleanup.disposeAsync())
      .catch((error: unknown) => this.#log.error('cannot clean up after a run', { err: error }));
  }

  /** Ends the run Failed with this reason, unless it has ended. */
  cancel(reason: string): void {
    this.#end(new Ending('Failed', reason, `The run was cancelled: ${reason}.`));
  }

  /** Lets this many more stdout bytes out. */
  credit(bytes: number): void {
    this.#window.add(bytes);
  }

  /** Resolves when nothing is left of the run. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleaned;
  }

  #end(ending: Ending): void {
    this.#stop.abort(ending);
    this.#window.close();
  }

  async #run(start: RunStart): Promise<RunUpdate> {
    using _ = start.load.run();
    const { invocation, timeoutMs } = this.assignment;
    const timeout = setTimeout(
      () => this.#end(new Ending('Timeout', 'Timeout', `It was still running after its timeout of ${timeoutMs} ms.`)),
      Math.min(timeoutMs, 2 ** 31 - 1),
    );
    let outputBytes = 0;
    let conditions: RunConditions = {};
    try {
      const sandbox = (await this.#warm(start)) ?? (await this.#cold(start));
      const output = this.#deliver(sandbox);
      void sandbox.ended.finally(() => clearTimeout(timeout));
      const { signal } = this.#stop;
      if (!signal.aborted) await Promise.race([sandbox.ended, once(signal, 'abort', { signal: untilSettled(sandbox.ended) }).catch(() => {})]);
      const exit = await sandbox.stop();
      outputBytes = await output;
      const limits = await sandbox.limits();
      conditions = limits.conditions;
      signal.throwIfAborted();
      return { invocation, outputBytes, conditions, ...(await sandbox.outcome(exit, limits)) };
    } catch (error) {
      const { phase, reason, message } = endingOf(error, this.#log);
      return { invocation, phase, reason, message, outputBytes, conditions };
    } finally {
      clearTimeout(timeout);
    }
  }

  /** The sandbox that waits for such a run, now claimed by it; undefined when it cannot be had. */
  async #warm({ parked, begin }: RunStart): Promise<PreparedSandbox | undefined> {
    if (!parked) return undefined;
    const { signal } = this.#stop;
    this.#cleanup.use(parked);
    const claimed = await parked.claim(this.assignment, this.#begun(begin), signal);
    if (!claimed) parked[Symbol.asyncDispose]().catch(() => {}); // now: the run may go on for long; its end tells what went wrong
    signal.throwIfAborted();
    return claimed ? parked.sandbox : undefined;
  }

  /** A sandbox made for this run alone, its process started. */
  async #cold({ number, load, begin }: RunStart): Promise<PreparedSandbox> {
    using _ = load.coldStart();
    const { assignment } = this;
    const { invocation } = assignment;
    const { signal } = this.#stop;
    const sandbox = this.#cleanup.use(new PreparedSandbox(this.#context, assignment, { number, id: invocation }));
    await sandbox.prepare(
      {
        hold: async (pair) => {
          // Left by a sandbox that was given up in the middle of being parked: the run would reach no gateway.
          await this.#context.gateway.deleteRoute({ map: 'parked', source: pair.sandbox, destination: '', ports: '' });
          await claim(this.#context, pair, assignment, signal);
        },
        letGo: (pair) => release(this.#context, pair, invocation),
      },
      signal,
    );
    await this.#begun(begin);
    sandbox.start();
    return sandbox;
  }

  /** Resolves when the run may begin; rejects when it ends before. */
  async #begun(begin: Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    if (!signal.aborted) await Promise.race([begin, once(signal, 'abort', { signal: untilSettled(begin) }).catch(() => {})]);
    signal.throwIfAborted();
  }

  /** Gives the process its event and follows its output; resolves with the bytes of stdout handed on. */
  #deliver(sandbox: PreparedSandbox): Promise<number> {
    const { stdin, stdout, stderr } = sandbox.child;
    this.#listener.running();
    this.#stdio.started();
    sandbox.watchLimits();
    stdin!.end(this.assignment.event);
    const lines = pumpLines(this.#stdio.tee(stderr!, 'stderr'), (line) => this.#log.info('stderr', { line }));
    sandbox.defer(() => lines);
    return pumpOutput(this.#stdio.tee(stdout!, 'stdout'), this.#window, (data) => this.#listener.output(data));
  }
}
