import { isIPv4 } from 'node:net';
import { run as runCommand, type RunCommand } from '#lib';
import { createNetns, ipBatch, removeNetns } from './netns.ts';
import { Nft } from './nft.ts';
import { refusals, type RefusedPacket } from './refusals.ts';
import { RULESET, TABLE } from './ruleset.ts';

/** An element of one of the ruleset's maps. */
export interface RouteElement {
  /** `route`, `first`, `parked`, `wide`, `datagrams`. */
  readonly map: string;
  /** Sandbox block or address, CIDR or plain. */
  readonly source: string;
  /** Slice of a gateway (`route`), addresses (`wide`, `datagrams`: one or `from-to`); else empty. */
  readonly destination: string;
  /** Of `wide` and `datagrams`: one or `from-to`; else empty. */
  readonly ports: string;
  /** Port of the gateway namespace. */
  readonly port: number;
}

type ElementKey = Omit<RouteElement, 'port'>;

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
      // Else the kernel answers a sandbox's refused datagrams no faster than one a second.
      await run('tee', ['/proc/sys/net/ipv4/icmp_ratelimit'], { netns: path, input: '0' }).catch(() => {}); // read-only in some containers
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
    return namespace;
  }

  /** Adds or changes one element; an equal one changes nothing. Throws RangeError on anything that is no element. */
  async setRoute(element: RouteElement): Promise<void> {
    checkElement(element);
    await this.#change([], [element]);
  }

  /** Removes one element, if it is there. */
  async deleteRoute(key: ElementKey): Promise<void> {
    const found = this.#elements.get(nameOf(key));
    await this.#change(found ? [found] : [], []);
  }

  /**
   * Makes these the elements of a block, instead of those it has: all at once, so that no packet finds a part of them. They must
   * be disjoint. Throws RangeError on anything that is no element of that block.
   */
  async setBlock(block: string, elements: readonly RouteElement[]): Promise<void> {
    const wanted = new Set<string>();
    for (const element of elements) {
      checkElement(element);
      if (element.source !== block) throw new RangeError(`${element.source} is not the block ${block}`);
      wanted.add(nameOf(element));
    }
    await this.#change(
      this.#of(block).filter((element) => !wanted.has(nameOf(element))),
      elements,
    );
  }

  /** Removes every element of a block, which then reaches no gateway. */
  async deleteRoutesOf(block: string): Promise<void> {
    await this.#change(this.#of(block), []);
  }

  #of(source: string): readonly RouteElement[] {
    return [...this.#elements.values()].filter((element) => element.source === source);
  }

  /** One transaction: what is to go, and what is to be there. Nothing happens where that is so already. */
  async #change(gone: readonly RouteElement[], there: readonly RouteElement[]): Promise<void> {
    const added = there.filter((element) => this.#elements.get(nameOf(element))?.port !== element.port);
    const replaced = added.flatMap((element) => this.#elements.get(nameOf(element)) ?? []);
    const removed = [...gone, ...replaced];
    if (removed.length + added.length === 0) return this.#settled;
    for (const element of removed) this.#elements.delete(nameOf(element));
    for (const element of added) this.#elements.set(nameOf(element), element);
    const undo = (): void => {
      for (const element of added) this.#elements.delete(nameOf(element));
      for (const element of removed) this.#elements.set(nameOf(element), element);
    };
    const change = this.#nft.apply(
      ...byMap(removed).map(([map, elements]) => `delete element ${TABLE} ${map} { ${elements.map(keyText).join(', ')} }`),
      ...byMap(added).map(
        ([map, elements]) => `add element ${TABLE} ${map} { ${elements.map((element) => `${keyText(element)} : ${element.port}`).join(', ')} }`,
      ),
    );
    this.#settled = change.catch(undo);
    await change;
  }

  /** Packets that were refused, each (source, protocol, destination, port) once a minute. */
  refusals(signal: AbortSignal): AsyncGenerator<RefusedPacket, void> {
    return refusals(this.#nft, signal);
  }

  /**
   * Resets the TCP connections of a sandbox address that end in this namespace: those to the destinations (`ip:port` as they were
   * dialled), or all of them when there are none, or when this kernel does not show what was dialled.
   */
  async closeConnections(address: string, destinations: readonly string[] = []): Promise<void> {
    if (!isIPv4(address)) throw new RangeError(`${address} is not an IPv4 address`);
    const ports = destinations.length > 0 ? await this.#portsTo(address, new Set(destinations)) : undefined;
    const filters = ports === undefined ? [address] : ports.map((port) => `${address}:${port}`);
    // One command for up to 64 of them keeps its line short.
    for (let at = 0; at < filters.length; at += 64) {
      const some = filters.slice(at, at + 64).flatMap((filter, index) => [...(index > 0 ? ['or'] : []), 'dst', filter]);
      await this.run('ss', ['--kill', '--no-header', '--numeric', '--tcp', ...some], { netns: this.path });
    }
  }

  /** Source ports of a sandbox's TCP connections to these destinations; undefined when that cannot be seen. */
  async #portsTo(address: string, destinations: ReadonlySet<string>): Promise<readonly string[] | undefined> {
    const table = await runCommand('cat', ['/proc/net/nf_conntrack'], { netns: this.path }).catch(() => undefined);
    return table?.stdout.split('\n').flatMap((line) => {
      // The first four are as the sandbox sent them; those after them as they are answered.
      const [, source, destination, port, to] = /\btcp\b.*?\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/.exec(line) ?? [];
      return source === address && destinations.has(`${destination}:${to}`) ? port! : [];
    });
  }

  /** The last change asked for: who finds nothing to change waits for those who did. */
  #settled: Promise<void> = Promise.resolve();

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#settled;
    await this.#nft[Symbol.asyncDispose]();
    await removeNetns(this.run, this.path);
  }
}

const byMap = (elements: readonly RouteElement[]): readonly (readonly [map: string, RouteElement[]])[] => [...Map.groupBy(elements, ({ map }) => map)];

const isBlock = (text: string): boolean => {
  const [address = '', bits] = text.split('/');
  return isIPv4(address) && (bits === undefined || (/^\d{1,2}$/.test(bits) && Number(bits) <= 32));
};
const isAddresses = (text: string): boolean => text.split('-').length <= 2 && text.split('-').every((address) => isIPv4(address));
const isPort = (text: string): boolean => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535;
const isPorts = (text: string): boolean => text.split('-').length <= 2 && text.split('-').every(isPort);
const isEmpty = (text: string): boolean => text === '';

/** What the fields of each map's elements look like. */
const MAPS: Readonly<Record<string, Readonly<Record<'destination' | 'ports', (text: string) => boolean>>>> = {
  route: { destination: isBlock, ports: isEmpty },
  first: { destination: isEmpty, ports: isEmpty },
  parked: { destination: isEmpty, ports: isEmpty },
  wide: { destination: isAddresses, ports: isPorts },
  datagrams: { destination: isAddresses, ports: isPorts },
};

/** Checked here because it becomes part of a script. */
const checkElement = ({ map, source, destination, ports, port }: RouteElement): void => {
  const shape = Object.hasOwn(MAPS, map) ? MAPS[map] : undefined;
  if (!shape) throw new RangeError(`there is no map ${JSON.stringify(map)}`);
  if (!isBlock(source)) throw new RangeError(`${JSON.stringify(source)} is not an IPv4 block`);
  if (!shape.destination(destination)) throw new RangeError(`${JSON.stringify(destination)} is not a destination of map ${map}`);
  if (!shape.ports(ports)) throw new RangeError(`${JSON.stringify(ports)} are not ports of map ${map}`);
  if (!isPort(`${port}`)) throw new RangeError(`${port} is not a port`);
};

/** The key of an element as nft reads it. */
const keyText = ({ source, destination, ports }: ElementKey): string => [source, destination, ports].filter((part) => part !== '').join(' . ');
const nameOf = (key: ElementKey): string => `${key.map} ${keyText(key)}`;
