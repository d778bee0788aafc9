import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { RecordFile, systemCode, type Clock } from '#lib';
import type { Binding, BindingLine } from '#model';

const lineOf = (
  event: 'bind' | 'release',
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
  ...(event === 'bind' ? { block, gateways } : {}),
});

const parse = (text: string): BindingLine | undefined => {
  try {
    return JSON.parse(text) as BindingLine;
  } catch {
    return undefined; // empty, or the torn last line of a crash
  }
};

/** Which run has which address now. Every change is on disk before it counts, for the recorder and for a restart. */
export class Bindings implements AsyncDisposable {
  readonly #byAddress = new Map<string, Binding>();
  readonly #file: RecordFile<BindingLine>;
  readonly #clock: Clock;

  private constructor(path: string, clock: Clock) {
    this.#clock = clock;
    this.#file = new RecordFile(path, {
      now: () => clock.now(),
      carry: () => [...this.#byAddress.values()].map((binding) => lineOf('bind', binding, clock.now())),
    });
  }

  /** `inherit`: the sandboxes of the lines still run, because only `egress` was restarted; else they are released. */
  static async open(path: string, clock: Clock, inherit: boolean): Promise<Bindings> {
    const bindings = new Bindings(path, clock);
    try {
      for await (const text of createInterface({ input: createReadStream(path) })) {
        const line = parse(text);
        if (line?.event === 'release') bindings.#byAddress.delete(line.address);
        else if (line?.event === 'bind' && line.block !== undefined) {
          bindings.#byAddress.set(line.address, { ...line, block: line.block, gateways: line.gateways ?? [] });
        }
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    if (!inherit) await Promise.all([...bindings.#byAddress.values()].map(({ address, invocation }) => bindings.release(address, invocation)));
    return bindings;
  }

  get(address: string): Binding | undefined {
    return this.#byAddress.get(address);
  }

  get all(): readonly Binding[] {
    return [...this.#byAddress.values()];
  }

  /** Repeating it changes nothing; an address another run still has is taken from it. */
  async bind(binding: Binding): Promise<void> {
    const held = this.#byAddress.get(binding.address);
    if (held?.invocation === binding.invocation) return;
    if (held) await this.release(held.address, held.invocation);
    await this.#file.append(lineOf('bind', binding, this.#clock.now()));
    this.#byAddress.set(binding.address, binding);
  }

  /** Does nothing when the address belongs to another run, or to none. */
  async release(address: string, invocation: string): Promise<void> {
    const held = this.#byAddress.get(address);
    if (held?.invocation !== invocation) return;
    this.#byAddress.delete(address);
    try {
      await this.#file.append(lineOf('release', held, this.#clock.now()));
    } catch (error) {
      // Not on disk, so it did not happen: whoever asked asks again.
      if (!this.#byAddress.has(address)) this.#byAddress.set(address, held);
      throw error;
    }
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
