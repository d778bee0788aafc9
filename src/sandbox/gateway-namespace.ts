import { isIPv4 } from 'node:net';
import { run as runCommand, type RunCommand } from '#lib';
import { createNetns, ipBatch, removeNetns } from './netns.ts';
import { Nft } from './nft.ts';
import { RULESET, TABLE } from './ruleset.ts';

/** An element of one of the ruleset's maps: `route` (source . destination -> port), `first` or `parked` (source -> port). */
export interface RouteElement {
  readonly map: string;
  /** Sandbox block or address, CIDR or plain. */
  readonly source: string;
  /** Slice of a gateway; empty for `first` and `parked`. */
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
  /** What the maps hold, by map and key: nobody else writes them. */
  readonly #elements = new Map<string, RouteElement>();
  readonly #nft: Nft;

  /** How short commands are run. */
  readonly run: RunCommand;

  private constructor(path: string, run: RunCommand) {
    this.path = path;
    this.run = run;
    this.#nft = new Nft(path);
  }

  static async create(path: string, run: RunCommand = runCommand): Promise<GatewayNamespace> {
    await createNetns(run, path);
    const namespace = new GatewayNamespace(path, run);
    try {
      await run('nft', ['-f', '-'], { netns: path, input: RULESET });
      await ipBatch(run, path, ['link set lo up']);
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
    return namespace;
  }

  /** Adds or changes one element; an equal one changes nothing. Throws RangeError on anything that is no element. */
  async setRoute(element: RouteElement): Promise<void> {
    const { map, port } = element;
    const key = elementKey(element);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new RangeError(`${port} is not a port`);
    const old = this.#elements.get(`${map} ${key}`);
    if (old?.port === port) return this.#settled;
    this.#elements.set(`${map} ${key}`, element);
    const undo = (): void => void (old ? this.#elements.set(`${map} ${key}`, old) : this.#elements.delete(`${map} ${key}`));
    await this.#apply(undo, [...(old ? [`delete element ${TABLE} ${map} { ${key} }`] : []), `add element ${TABLE} ${map} { ${key} : ${port} }`]);
  }

  /** Removes one element, if it is there. */
  async deleteRoute(element: Omit<RouteElement, 'port'>): Promise<void> {
    const key = elementKey(element);
    const old = this.#elements.get(`${element.map} ${key}`);
    if (!old) return this.#settled;
    this.#elements.delete(`${element.map} ${key}`);
    await this.#apply(() => void this.#elements.set(`${element.map} ${key}`, old), [`delete element ${TABLE} ${element.map} { ${key} }`]);
  }

  /** Removes every element of a block, which then reaches no gateway. */
  async deleteRoutesOf(block: string): Promise<void> {
    const found = [...this.#elements].filter(([, { source }]) => source === block);
    for (const [key] of found) this.#elements.delete(key);
    if (found.length === 0) return this.#settled;
    const undo = (): void => found.forEach(([key, element]) => this.#elements.set(key, element));
    await this.#apply(
      undo,
      found.map(([, element]) => `delete element ${TABLE} ${element.map} { ${elementKey(element)} }`),
    );
  }

  /** Resets every connection of a sandbox address that ends in this namespace. */
  async closeConnections(address: string): Promise<void> {
    if (!isIPv4(address)) throw new RangeError(`${address} is not an IPv4 address`);
    await this.run('ss', ['--kill', '--no-header', '--numeric', 'dst', address], { netns: this.path });
  }

  /** The last change asked for: who finds nothing to change waits for those who did. */
  #settled: Promise<void> = Promise.resolve();

  async #apply(undo: () => void, commands: readonly string[]): Promise<void> {
    const change = this.#nft.apply(...commands);
    this.#settled = change.catch(undo);
    await change;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#settled;
    await this.#nft[Symbol.asyncDispose]();
    await removeNetns(this.run, this.path);
  }
}

const isBlock = (text: string): boolean => {
  const [address = '', bits] = text.split('/');
  return isIPv4(address) && (bits === undefined || (/^\d{1,2}$/.test(bits) && Number(bits) <= 32));
};

/** The key as nft reads it. Checked here because it becomes part of a script. */
const elementKey = ({ map, source, destination }: Omit<RouteElement, 'port'>): string => {
  if (map !== 'route' && map !== 'first' && map !== 'parked') throw new RangeError(`there is no map ${JSON.stringify(map)}`);
  const parts = map === 'route' ? [source, destination] : [source];
  for (const part of parts) if (!isBlock(part)) throw new RangeError(`${JSON.stringify(part)} is not an IPv4 block`);
  return parts.join(' . ');
};
