import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { RecordFile, systemCode, type Clock } from '#lib';
import type { Binding, BindingLine, Parking } from '#model';

/** How long a run that is over is remembered: a packet the kernel refused is told of about a second later, and no address is given out again before. */
const KEEP_RELEASED_MS = 60_000;

const NO_RUN = { invocation: '', traceId: '', spanId: '' };

const lineOf = (
  event: BindingLine['event'],
  { address, block, namespace, agent, invocation, traceId, spanId, gateways }: Binding,
  time: number,
): BindingLine => ({
  event,
  time,
  address,
  namespace,
  agent,
  invocation,
  traceId,
  spanId,
  ...(event === 'release' ? {} : { block, gateways }),
});

const parse = (text: string): BindingLine | undefined => {
  try {
    return JSON.parse(text) as BindingLine;
  } catch {
    return undefined; // empty, or the torn last line of a crash
  }
};

/** A sandbox without a run, and what it tried before it had one. */
export interface Parked extends Parking {
  /** When it was parked, ms since the epoch. */
  readonly since: number;
  readonly tried: string | undefined;
}

/**
 * Which run has which address now, and which addresses are parked: their sandboxes wait for a run. Every change is on disk
 * before it counts, for the recorder and for a restart.
 */
export class Bindings implements AsyncDisposable {
  readonly #byAddress = new Map<string, Binding>();
  /** Runs that are over, by the address they had, the oldest first. */
  readonly #released = new Map<string, { readonly binding: Binding; readonly at: number }>();
  readonly #parked = new Map<string, Parked & { readonly notify: (what: string) => void }>();
  /** Agent that had each block last, `namespace/name`. */
  readonly #agents = new Map<string, string>();
  readonly #file: RecordFile<BindingLine>;
  readonly #clock: Clock;

  private constructor(path: string, clock: Clock) {
    this.#clock = clock;
    this.#file = new RecordFile(path, {
      now: () => clock.now(),
      carry: () => [
        ...[...this.#byAddress.values()].map((binding) => lineOf('bind', binding, clock.now())),
        ...[...this.#parked.values()].map((parking) => lineOf('park', { ...parking, ...NO_RUN }, clock.now())),
      ],
    });
  }

  /**
   * `inherit`: the sandboxes of the lines still run, because only `egress` was restarted; else they are released. Parked
   * ones are released in any case: who parked them hears of the end of `egress` and gives them up.
   */
  static async open(path: string, clock: Clock, inherit: boolean): Promise<Bindings> {
    const bindings = new Bindings(path, clock);
    const parked = new Map<string, BindingLine>();
    try {
      for await (const text of createInterface({ input: createReadStream(path) })) {
        const line = parse(text);
        if (line) parked.delete(line.address);
        if (line?.event === 'park') parked.set(line.address, line);
        else if (line?.event === 'release') bindings.#byAddress.delete(line.address);
        else if (line?.event === 'bind' && line.block !== undefined) {
          bindings.#byAddress.set(line.address, { ...line, block: line.block, gateways: line.gateways ?? [] });
          bindings.give({ ...line, block: line.block });
        }
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    await Promise.all([...parked.values()].map((line) => bindings.#file.append({ ...line, event: 'release', time: clock.now() })));
    if (!inherit) await Promise.all([...bindings.#byAddress.values()].map(({ address, invocation }) => bindings.release(address, invocation)));
    return bindings;
  }

  get(address: string): Binding | undefined {
    return this.#byAddress.get(address);
  }

  /** The run that had an address at a time, ms since the epoch; it may be over by now. */
  at(address: string, time: number): Binding | undefined {
    const released = this.#released.get(address);
    return released && time <= released.at ? released.binding : this.#byAddress.get(address);
  }

  get all(): readonly Binding[] {
    return [...this.#byAddress.values()];
  }

  /** Agent that has a block, or had it last; a block is one agent's at a time. */
  agentOf(block: string): string | undefined {
    return this.#agents.get(block);
  }

  /** Says whose a block is; returns whether it was not known to be so before. Nobody's is also another's: verdicts may say that it has no agent. */
  give({ block, namespace, agent }: Pick<Parking, 'block' | 'namespace' | 'agent'>): boolean {
    const before = this.#agents.get(block);
    const now = `${namespace}/${agent}`;
    this.#agents.set(block, now);
    return before !== now;
  }

  parked(address: string): Parked | undefined {
    return this.#parked.get(address);
  }

  /** From now on the address is a sandbox's that waits for its run. `tried` is called once when it does not wait. */
  async park(parking: Parking, tried: (what: string) => void): Promise<void> {
    const held = this.#byAddress.get(parking.address);
    if (held) await this.release(held.address, held.invocation);
    const since = this.#clock.now();
    await this.#file.append(lineOf('park', { ...parking, ...NO_RUN }, since));
    this.#parked.set(parking.address, { ...parking, since, tried: undefined, notify: tried });
  }

  /** The sandbox at a parked address tried to reach something at `time`. Of an address that is not parked nothing is kept. */
  tried(address: string, what: string, time: number): void {
    const parked = this.#parked.get(address);
    if (!parked || parked.tried !== undefined || time < parked.since) return;
    this.#parked.set(address, { ...parked, tried: what });
    parked.notify(what);
  }

  /** The sandbox at a parked address is given up; does nothing when the address has a run by now. */
  async unpark(address: string): Promise<void> {
    const parked = this.#parked.get(address);
    if (parked && this.#parked.delete(address)) await this.#file.append(lineOf('release', { ...parked, ...NO_RUN }, this.#clock.now()));
  }

  /** Repeating it changes nothing; an address another run still has is taken from it. */
  async bind(binding: Binding): Promise<void> {
    const held = this.#byAddress.get(binding.address);
    if (held?.invocation === binding.invocation) return;
    if (held) await this.release(held.address, held.invocation);
    await this.#file.append(lineOf('bind', binding, this.#clock.now()));
    this.#parked.delete(binding.address);
    this.#byAddress.set(binding.address, binding);
  }

  /** Does nothing when the address belongs to another run, or to none. */
  async release(address: string, invocation: string): Promise<void> {
    const held = this.#byAddress.get(address);
    if (held?.invocation !== invocation) return;
    this.#byAddress.delete(address);
    const at = this.#clock.now();
    this.#keep(held, at);
    try {
      await this.#file.append(lineOf('release', held, at));
    } catch (error) {
      // Not on disk, so it did not happen: whoever asked asks again.
      if (!this.#byAddress.has(address)) this.#byAddress.set(address, held);
      throw error;
    }
  }

  #keep(binding: Binding, at: number): void {
    for (const [address, released] of this.#released) {
      if (Math.abs(at - released.at) < KEEP_RELEASED_MS) break;
      this.#released.delete(address);
    }
    this.#released.delete(binding.address);
    this.#released.set(binding.address, { binding, at });
  }

  /**
   * Lines are joined to runs by time of day. After the clock was set back, what is bound is bound again at the time it is now:
   * else later lines would belong to whoever had the address at that time before.
   */
  async bindAgain(): Promise<void> {
    await Promise.all(this.all.map((binding) => this.#file.append(lineOf('bind', binding, this.#clock.now()))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }
}
