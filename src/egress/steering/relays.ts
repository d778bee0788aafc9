import { readIfExists, writeFileAtomic } from '#lib';
import { UDP_PORTS } from '../slices.ts';
import { destinationKey, type UdpDestination } from './wants.ts';

/** A destination over UDP with the port of the gateway namespace that relays it. */
export interface UdpRelay extends UdpDestination {
  readonly privatePort: number;
}

const COUNT = UDP_PORTS.to - UDP_PORTS.from + 1;

/**
 * The private port of every destination that is relayed. It is kept on disk, and reused as late as it can be: the
 * kernel remembers for minutes which port a flow was sent to, and must not find another destination there.
 */
export class UdpRelays {
  readonly #file: string;
  /** Index of the gateway and destination -> private port, least recently wanted first. */
  #ports: Map<string, number>;
  /** What each gateway wants now. */
  readonly #wanted = new Map<number, ReadonlySet<string>>();
  #changes: Promise<unknown> = Promise.resolve();

  private constructor(file: string, ports: Map<string, number>) {
    this.#file = file;
    this.#ports = ports;
  }

  static async open(file: string): Promise<UdpRelays> {
    const text = await readIfExists(file);
    try {
      return new UdpRelays(file, new Map(Object.entries(JSON.parse(text ?? '{}') as Record<string, number>)));
    } catch {
      return new UdpRelays(file, new Map()); // written atomically, so somebody else broke it
    }
  }

  /** What a gateway relays from now on; new ports are on disk when this resolves. Destinations beyond the range have none. */
  async assign(index: number, destinations: readonly UdpDestination[]): Promise<readonly UdpRelay[]> {
    const change = this.#changes.then(() => this.#assign(index, destinations));
    this.#changes = change.catch(() => {});
    return change;
  }

  async #assign(index: number, destinations: readonly UdpDestination[]): Promise<readonly UdpRelay[]> {
    const keys = destinations.map((destination) => `${index} ${destinationKey(destination)}`);
    this.#wanted.set(index, new Set(keys));
    const ports = new Map(this.#ports);
    const added = keys.filter((key) => !ports.has(key));
    if (added.length > 0) {
      const taken = new Set(ports.values());
      const wanted = new Set([...this.#wanted.values()].flatMap((set) => [...set]));
      const unwanted = [...ports.keys()].filter((key) => !wanted.has(key));
      // Round and round, so that a port is not used again soon after its destination is gone.
      let next = (([...ports.values()].at(-1) ?? UDP_PORTS.from - 1) + 1 - UDP_PORTS.from) % COUNT;
      for (const key of added) {
        let port: number | undefined;
        if (taken.size < COUNT) {
          while (taken.has(UDP_PORTS.from + next)) next = (next + 1) % COUNT;
          port = UDP_PORTS.from + next;
        } else {
          const oldest = unwanted.shift();
          if (oldest === undefined) break;
          port = ports.get(oldest)!;
          ports.delete(oldest);
        }
        taken.add(port);
        ports.set(key, port);
      }
      await writeFileAtomic(this.#file, JSON.stringify(Object.fromEntries(ports)));
      this.#ports = ports;
    }
    return destinations.flatMap((destination) => {
      const privatePort = this.of(index, destination);
      return privatePort === undefined ? [] : [{ ...destination, privatePort }];
    });
  }

  /** The private port of a destination that is relayed now. */
  of(index: number, destination: UdpDestination): number | undefined {
    const key = `${index} ${destinationKey(destination)}`;
    return this.#wanted.get(index)?.has(key) ? this.#ports.get(key) : undefined;
  }
}
