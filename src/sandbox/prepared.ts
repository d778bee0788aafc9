import type { ChildProcess } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, poll, sleep, type Exit } from '#lib';
import type { RunTemplate, RunUpdate } from '#model';
import type { AddressPair } from './addresses.ts';
import { caBundle, writeBundle } from './bundle.ts';
import { EGRESS_WAIT_MS } from './claim.ts';
import type { RunContext } from './context.ts';
import type { Group } from './cgroup/index.ts';
import { Ending } from './ending.ts';
import { LimitWatch } from './limit-watch.ts';
import { groupLimits, limitVerdict, observedLimits, type ObservedLimits } from './limits.ts';
import { createSandboxNetwork } from './sandbox-network.ts';

/** Between SIGTERM and SIGKILL. */
const GRACE_MS = 5_000;
/** runsc's own exit code when it could not start the process; a process can exit with it, too. */
const RUNSC_FAILED = 128;

export interface SandboxIdentity {
  /** Name of its directory and its interface; no other sandbox of this worker ever has it. */
  readonly number: number;
  /** runsc's name for it, a UUID. */
  readonly id: string;
}

/** How an address is made known to `egress` before its sandbox can send anything; undone by `letGo`. */
export interface AddressHold {
  hold(pair: AddressPair): Promise<void>;
  letGo(pair: AddressPair): Promise<void>;
}

/**
 * One sandbox: network, bundle, then its process, which waits for its event on stdin. It does not know which run it is for,
 * serves one, and is not used again. Disposing it leaves nothing, however far it came.
 */
export class PreparedSandbox implements AsyncDisposable {
  readonly id: string;
  readonly #number: number;
  readonly #context: RunContext;
  readonly #template: RunTemplate;
  readonly #cleanup = new AsyncDisposableStack();
  #bundle = '';
  #pair: AddressPair | undefined;
  #group: Group | undefined;
  #watch: LimitWatch | undefined;
  #child: ChildProcess | undefined;
  #ended: Promise<Exit> | undefined;

  constructor(context: RunContext, template: RunTemplate, { number, id }: SandboxIdentity) {
    this.#context = context;
    this.#template = template;
    this.#number = number;
    this.id = id;
  }

  /** Its address, from `prepare` on. */
  get pair(): AddressPair {
    return this.#pair!;
  }

  get started(): boolean {
    return this.#child !== undefined;
  }

  /** Its process, from `start` on. */
  get child(): ChildProcess {
    return this.#child!;
  }

  /** The end of its process, from `start` on. */
  get ended(): Promise<Exit> {
    return this.#ended!;
  }

  /** Whether its process has ended. */
  get over(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Everything before the process; what is made here registers how it ends. Throws Ending, ImageError, or what the signal aborted with. */
  async prepare(address: AddressHold, signal: AbortSignal): Promise<void> {
    const { dir: parent, images, addresses, cgroups, gateway, trust } = this.#context;
    const { namespace, agent, image: reference, gateways } = this.#template;
    const image = await images.get(reference);
    signal.throwIfAborted();

    const pair = addresses.take(`${namespace}/${agent}`, gateways);
    if (!pair) throw new Ending('Failed', 'NoAddress', 'The worker has no free address for this agent.');
    this.#pair = pair;
    this.#cleanup.defer(() => addresses.release(pair));
    if (pair.inherited) await gateway.deleteRoutesOf(pair.block);
    const dir = join(parent, String(this.#number));
    await mkdir(dir);
    this.#cleanup.defer(() => rm(dir, { recursive: true, force: true }));
    this.#group = this.#cleanup.use(await cgroups.create(String(this.#number), groupLimits(this.#template)));
    const { netns } = this.#cleanup.use(await createSandboxNetwork(gateway.path, dir, `sb${this.#number}`, pair, gateway.run));
    signal.throwIfAborted();

    const trusted = await poll(() => trust.take(gateways), 50, AbortSignal.any([signal, AbortSignal.timeout(EGRESS_WAIT_MS)])).catch(() => {
      signal.throwIfAborted();
      throw new Ending('Failed', 'GatewayNotReady', `The worker does not know the certificate authority of every gateway of ${gateways.join(', ')}.`);
    });
    this.#cleanup.defer(() => trusted.release());
    this.#cleanup.defer(() => address.letGo(pair));
    await address.hold(pair);
    const hostname = `${agent.slice(0, 50)}-${this.id.slice(0, 8)}`;
    this.#bundle = await writeBundle({
      dir,
      template: this.#template,
      hostname,
      image,
      ca: await caBundle(parent, trusted.roots),
      netns,
      address: pair.sandbox,
    });
  }

  /** Starts the process, its stdio open and untouched. */
  start(): ChildProcess {
    const { runsc } = this.#context;
    this.#cleanup.defer(() => runsc.delete(this.id));
    const child = runsc.run(this.id, this.#bundle, { joinFiles: this.#group!.joinFiles, storageBytes: this.#template.storageBytes });
    child.stdin!.on('error', () => {}); // a process need not read its event
    this.#child = child;
    this.#ended = exited(child);
    return child;
  }

  /** Has its limits watched; from when it works on its run, as it costs a call a second. */
  watchLimits(): void {
    this.#watch = this.#cleanup.use(new LimitWatch(this.#context.runsc.control(this.id)));
  }

  /** Ends the process: SIGTERM to all of the sandbox, then SIGKILL. */
  async stop(): Promise<Exit> {
    const { runsc } = this.#context;
    const { child, ended } = this;
    if (this.over) return ended;
    await this.#watch?.look();
    try {
      await runsc.signalAll(this.id, 'TERM');
      await Promise.race([ended, sleep(GRACE_MS, untilSettled(ended)).catch(() => {})]);
      if (!this.over) await runsc.signalAll(this.id, 'KILL');
    } catch {
      // not started yet, or just gone: runsc itself is next
    }
    child.kill('SIGKILL');
    return ended;
  }

  /** What it met of its limits so far; for what has ended, in all. */
  async limits(): Promise<ObservedLimits> {
    return observedLimits(await this.#group?.usage(), this.#template, this.#watch?.tasksFull);
  }

  /** What an exit that nobody asked for means. */
  async outcome(exit: Exit, limits: ObservedLimits): Promise<Omit<RunUpdate, 'invocation' | 'outputBytes'>> {
    const limited = limitVerdict(limits, exit, this.#template);
    if (limited) return limited;
    const { code: exitCode } = exit;
    if (exitCode === 0) return { phase: 'Succeeded', reason: '', message: '', exitCode };
    if (exitCode === RUNSC_FAILED) {
      const cause = await this.#context.runsc.startError(this.#bundle);
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

  /** Something that must be over before the sandbox counts as gone. */
  defer(last: () => Promise<unknown>): void {
    this.#cleanup.defer(async () => void (await last()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** A signal that aborts when a promise settles, to end a wait that lost a race. */
export const untilSettled = (promise: Promise<unknown>): AbortSignal => {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  promise.then(stop, stop);
  return abort.signal;
};
