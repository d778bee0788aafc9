import { isIPv4 } from 'node:net';
import { run } from '#lib';
import { createNetns, ipBatch, removeNetns } from './netns.ts';
import { RULESET, TABLE } from './ruleset.ts';

/** An element of one of the ruleset's maps: `route` (source . destination -> port) or `first` (source -> port). */
export interface RouteElement {
  readonly map: string;
  /** Sandbox block or address, CIDR or plain. */
  readonly source: string;
  /** Slice of a gateway; empty for `first`. */
  readonly destination: string;
  /** Port of the gateway namespace. */
  readonly port: number;
}

/**
 * The one network namespace of a worker that sandboxes touch: no uplink, no forwarding. It holds the host ends of their
 * veth pairs, all nftables rules, and the listening sockets of Envoy and the front. It ends when disposed.
 */
export class GatewayNamespace implements AsyncDisposable {
  /** File of the namespace. */
  readonly path: string;
  /** What the maps hold: nobody else writes them. */
  readonly #elements = new Map<string, number>();
  #last: Promise<unknown> = Promise.resolve();

  private constructor(path: string) {
    this.path = path;
  }

  static async create(path: string): Promise<GatewayNamespace> {
    await createNetns(path);
    const namespace = new GatewayNamespace(path);
    try {
      await run('nft', ['-f', '-'], { netns: path, input: RULESET });
      await ipBatch(path, ['link set lo up']);
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
    return namespace;
  }

  /** Adds or changes one element; an equal one changes nothing. Throws RangeError on anything that is no element. */
  async setRoute({ map, source, destination, port }: RouteElement): Promise<void> {
    const key = elementKey(map, source, destination);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new RangeError(`${port} is not a port`);
    await this.#inOrder(async () => {
      const old = this.#elements.get(key);
      if (old === port) return;
      const change = [...(old === undefined ? [] : [`delete element ${TABLE} ${map} { ${key} }`]), `add element ${TABLE} ${map} { ${key} : ${port} }`];
      await this.#nft(change.join('\n'));
      this.#elements.set(key, port);
    });
  }

  /** Removes one element, if it is there. */
  async deleteRoute({ map, source, destination }: Omit<RouteElement, 'port'>): Promise<void> {
    const key = elementKey(map, source, destination);
    await this.#inOrder(async () => {
      if (!this.#elements.has(key)) return;
      await this.#nft(`delete element ${TABLE} ${map} { ${key} }`);
      this.#elements.delete(key);
    });
  }

  /** Removes every element of a block, which then reaches no gateway. */
  async deleteRoutesOf(block: string): Promise<void> {
    await this.#inOrder(async () => {
      const keys = [...this.#elements.keys()].filter((key) => key === block || key.startsWith(`${block} . `));
      if (keys.length === 0) return;
      await this.#nft(keys.map((key) => `delete element ${TABLE} ${key === block ? 'first' : 'route'} { ${key} }`).join('\n'));
      for (const key of keys) this.#elements.delete(key);
    });
  }

  /** Resets every connection of a sandbox address that ends in this namespace. */
  async closeConnections(address: string): Promise<void> {
    if (!isIPv4(address)) throw new RangeError(`${address} is not an IPv4 address`);
    await run('ss', ['--kill', '--no-header', '--numeric', 'dst', address], { netns: this.path });
  }

  /** One change at a time: the order of calls is the order in the kernel. */
  async #inOrder(change: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(change);
    this.#last = turn.catch(() => {});
    await turn;
  }

  #nft(script: string): Promise<unknown> {
    return run('nft', ['-f', '-'], { netns: this.path, input: `${script}\n` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await removeNetns(this.path);
  }
}

const isBlock = (text: string): boolean => {
  const [address = '', bits] = text.split('/');
  return isIPv4(address) && (bits === undefined || (/^\d{1,2}$/.test(bits) && Number(bits) <= 32));
};

/** The key as nft reads it. Checked here because it becomes part of a script. */
const elementKey = (map: string, source: string, destination: string): string => {
  if (map !== 'route' && map !== 'first') throw new RangeError(`there is no map ${JSON.stringify(map)}`);
  const parts = map === 'route' ? [source, destination] : [source];
  for (const part of parts) if (!isBlock(part)) throw new RangeError(`${JSON.stringify(part)} is not an IPv4 block`);
  return parts.join(' . ');
};
