import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, messageOf, poll, retry, sleep, type Exit, type Logger } from '#lib';
import { INITIAL_CREDIT, type Assignment, type ClaimsPort, type RunUpdate } from '#model';
import type { AddressPair, Addresses } from './addresses.ts';
import { caBundle, writeBundle } from './bundle.ts';
import type { GatewayNamespace } from './gateway-namespace.ts';
import { ImageError, type Images } from './images.ts';
import type { Runsc } from './runsc.ts';
import { createSandboxNetwork } from './sandbox-network.ts';
import { CreditWindow, pumpLines, pumpOutput } from './stdio.ts';

/** What a worker has for all its runs. */
export interface RunContext {
  /** Directory that sandboxes get theirs in. */
  readonly dir: string;
  readonly runsc: Runsc;
  readonly images: Images;
  readonly gateway: GatewayNamespace;
  readonly addresses: Addresses;
  readonly claims: ClaimsPort;
  /** PEM of the root of a gateway (`namespace/name`), or undefined while it is not known. */
  readonly rootOf: (gateway: string) => string | undefined;
  readonly log: Logger;
}

/** What the owner of a run hears, in order: `running`, stdout, then `done`. */
export interface RunListener {
  running(): void;
  /** At most as many bytes as there is credit. */
  output(data: Uint8Array): void;
}

/** Between SIGTERM and SIGKILL. */
const GRACE_MS = 5_000;
/** How long a run waits for an `egress` or a gateway that is not there yet. */
const EGRESS_WAIT_MS = 10_000;
/** How long the end of a run is told to an `egress` that does not answer. */
const RELEASE_WAIT_MS = 5_000;
/** runsc's own exit code when it could not start the process; a process can exit with it, too. */
const RUNSC_FAILED = 128;

/** Ends a run early, with the phase and reason it then has. */
class Ending extends Error {
  readonly phase: 'Failed' | 'Timeout';
  readonly reason: string;
  constructor(phase: 'Failed' | 'Timeout', reason: string, message: string) {
    super(message);
    this.phase = phase;
    this.reason = reason;
  }
}

/**
 * One cold run: network, claim, bundle, process, and everything gone afterwards. Nothing of a run is used again.
 * `done` has its end as soon as the process has ended and stdout is handed on; it never rejects.
 */
export class SandboxRun implements AsyncDisposable {
  readonly assignment: Assignment;
  readonly done: Promise<RunUpdate>;
  readonly #context: RunContext;
  readonly #listener: RunListener;
  readonly #log: Logger;
  readonly #window = new CreditWindow(INITIAL_CREDIT);
  readonly #stop = new AbortController();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #cleaned: Promise<void>;

  constructor(context: RunContext, number: number, assignment: Assignment, listener: RunListener) {
    this.assignment = assignment;
    this.#context = context;
    this.#listener = listener;
    this.#log = context.log.with({ invocation: assignment.invocation });
    this.done = this.#run(number);
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

  async #run(number: number): Promise<RunUpdate> {
    const { invocation, timeoutMs } = this.assignment;
    const timeout = setTimeout(
      () => this.#end(new Ending('Timeout', 'Timeout', `It was still running after its timeout of ${timeoutMs} ms.`)),
      Math.min(timeoutMs, 2 ** 31 - 1),
    );
    let outputBytes = 0;
    try {
      const bundle = await this.#prepare(number);
      const child = this.#start(bundle);
      const output = pumpOutput(child.stdout!, this.#window, (data) => this.#listener.output(data));
      const ended = exited(child).finally(() => clearTimeout(timeout));
      const exit = await this.#ended(child, ended);
      outputBytes = await output;
      this.#stop.signal.throwIfAborted();
      return { invocation, outputBytes, ...(await this.#outcome(exit, bundle)) };
    } catch (error) {
      const { phase, reason, message } = this.#failure(error);
      return { invocation, phase, reason, message, outputBytes };
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Everything before the process; what is made here registers how it ends. Returns the bundle. */
  async #prepare(number: number): Promise<string> {
    const { dir: parent, images, addresses, gateway, claims, rootOf } = this.#context;
    const { namespace, agent, revision, image: reference, gateways, invocation } = this.assignment;
    const { signal } = this.#stop;
    const image = await images.get(revision.includes('/') ? revision : `${namespace}/${revision}`, reference);
    signal.throwIfAborted();

    const pair = addresses.take(`${namespace}/${agent}`, gateways);
    if (!pair) throw new Ending('Failed', 'NoAddress', 'The worker has no free address for this agent.');
    this.#cleanup.defer(() => addresses.release(pair));
    if (pair.inherited) await gateway.deleteRoutesOf(pair.block);
    const dir = join(parent, String(number));
    await mkdir(dir);
    this.#cleanup.defer(() => rm(dir, { recursive: true, force: true }));
    const { netns } = this.#cleanup.use(await createSandboxNetwork(gateway.path, dir, `sb${number}`, pair));
    signal.throwIfAborted();

    const roots = await poll(() => allOf(gateways.map(rootOf)), 50, AbortSignal.any([signal, AbortSignal.timeout(EGRESS_WAIT_MS)])).catch(() => {
      signal.throwIfAborted();
      throw new Ending('Failed', 'GatewayNotReady', `The worker does not know the certificate authority of every gateway of ${gateways.join(', ')}.`);
    });
    this.#cleanup.defer(() => this.#release(claims, pair));
    await this.#claim(claims, pair);
    return await writeBundle({ dir, assignment: this.assignment, image, ca: await caBundle(parent, roots), netns, address: pair.sandbox }).finally(() =>
      this.#log.debug('sandbox prepared', { invocation, address: pair.sandbox }),
    );
  }

  /** Binds the address to this run in `egress`; waits for one that is away, because it comes back by itself. */
  async #claim(claims: ClaimsPort, { block, sandbox }: AddressPair): Promise<void> {
    const { namespace, agent, invocation, traceId, spanId, gateways } = this.assignment;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(EGRESS_WAIT_MS)]);
    const bind = (): ReturnType<ClaimsPort['bind']> =>
      claims.bind({ address: sandbox, block, namespace, agent, invocation, traceId, spanId, gateways }, signal);
    let last: unknown;
    const answer = await retry(bind, { signal, onError: (error) => (last = error) }).catch((error: unknown) => {
      this.#stop.signal.throwIfAborted();
      throw new Ending(
        'Failed',
        'EgressUnavailable',
        `The worker's egress did not accept the sandbox within ${EGRESS_WAIT_MS / 1000} s: ${messageOf(last ?? error)}`,
      );
    });
    if (answer.refused) throw new Ending('Failed', answer.refused, answer.message);
  }

  async #release(claims: ClaimsPort, { sandbox }: AddressPair): Promise<void> {
    await this.#context.gateway.closeConnections(sandbox);
    const signal = AbortSignal.timeout(RELEASE_WAIT_MS);
    const release = (): Promise<void> => claims.release({ address: sandbox, invocation: this.assignment.invocation });
    await retry(release, { signal }).catch((error: unknown) => this.#log.warn('egress did not hear of the end of a run', { err: error }));
  }

  #start(bundle: string): ChildProcess {
    const { invocation, event } = this.assignment;
    const { runsc } = this.#context;
    this.#cleanup.defer(() => runsc.delete(invocation));
    const child = runsc.run(invocation, bundle);
    this.#listener.running();
    child.stdin!.on('error', () => {}); // a process need not read its event
    child.stdin!.end(event);
    const lines = pumpLines(child.stderr!, (line) => this.#log.info('stderr', { line }));
    this.#cleanup.defer(() => lines);
    return child;
  }

  /** Waits for the process, or ends it when the run is to end: SIGTERM to all of the sandbox, then SIGKILL. */
  async #ended(child: ChildProcess, ended: Promise<Exit>): Promise<Exit> {
    const { signal } = this.#stop;
    if (!signal.aborted) await Promise.race([ended, once(signal, 'abort', { signal: untilSettled(ended) }).catch(() => {})]);
    if (child.exitCode !== null || child.signalCode !== null) return ended;
    const { runsc } = this.#context;
    const id = this.assignment.invocation;
    try {
      await runsc.signalAll(id, 'TERM');
      await Promise.race([ended, sleep(GRACE_MS, untilSettled(ended)).catch(() => {})]);
      if (child.exitCode === null && child.signalCode === null) await runsc.signalAll(id, 'KILL');
    } catch {
      // not started yet, or just gone: runsc itself is next
    }
    child.kill('SIGKILL');
    return ended;
  }

  async #outcome(exit: Exit, bundle: string): Promise<Omit<RunUpdate, 'invocation' | 'outputBytes'>> {
    const exitCode = exit.code;
    if (exitCode === 0) return { phase: 'Succeeded', reason: '', message: '', exitCode };
    if (exitCode === RUNSC_FAILED) {
      const cause = await this.#context.runsc.startError(bundle);
      if (cause !== undefined) return { phase: 'Failed', reason: 'StartFailed', message: `The process did not start: ${cause}` };
    }
    if (exitCode === null || exitCode === 137) {
      return {
        phase: 'Failed',
        reason: 'Killed',
        message: 'The process was killed (SIGKILL), not by its timeout or a cancellation.',
        exitCode: exitCode ?? 137,
      };
    }
    return { phase: 'Failed', reason: 'ExitCode', message: `The process ended with exit code ${exitCode}.`, exitCode };
  }

  #failure(error: unknown): { phase: 'Failed' | 'Timeout'; reason: string; message: string } {
    if (error instanceof Ending) return error;
    if (error instanceof ImageError) return { phase: 'Failed', reason: error.reason, message: error.message };
    this.#log.error('a run could not be started', { err: error });
    return { phase: 'Failed', reason: 'SandboxFailed', message: `The sandbox could not be made: ${messageOf(error)}` };
  }
}

const allOf = <T>(values: readonly (T | undefined)[]): readonly T[] | undefined => (values.includes(undefined) ? undefined : (values as readonly T[]));

/** A signal that aborts when a promise settles, to end a wait that lost a race. */
const untilSettled = (promise: Promise<unknown>): AbortSignal => {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  promise.then(stop, stop);
  return abort.signal;
};
