// egress/steering: consumes policies, names and the blocks of sandboxes; produces the elements of the gateway namespace's maps.
// Owns: which socket of which gateway a packet of a sandbox reaches. Verdicts are taken there, not here, but for datagrams.
import type { Parking } from '#model';
import { addressesText, disjoint, portsText, type Want } from './elements.ts';
import { tcpWants, udpWants, type SteeredGateway } from './wants.ts';

export { UdpRelays, type UdpRelay } from './relays.ts';
export { isSteeredByName, udpDestinations, type SteeredGateway, type UdpDestination } from './wants.ts';

/** One element of the maps of the gateway namespace. */
export interface MapElement {
  readonly map: 'route' | 'first' | 'parked' | 'wide' | 'datagrams';
  readonly source: string;
  /** Empty for `first` and `parked`; of `wide` and `datagrams` an address or `from-to`. */
  readonly destination: string;
  /** Of `wide` and `datagrams`: a port or `from-to`. */
  readonly ports: string;
  readonly port: number;
}

/** Whose packets come from a block, and which gateways it goes through, in order. */
export type Way = Pick<Parking, 'block' | 'namespace' | 'agent' | 'gateways'>;

export interface SteeringOptions {
  /** Makes these the elements of a block, instead of those it has, all at once. */
  readonly setBlock: (block: string, elements: readonly MapElement[]) => Promise<void>;
  /** Undefined while a gateway has no policy. */
  readonly gateway: (name: string) => SteeredGateway | undefined;
  /** Ways that were open before a restart of ours. */
  readonly ways?: Iterable<Way>;
}

/** The elements of one block. */
export const elementsOf = ({ block, namespace, agent, gateways }: Way, gatewayOf: SteeringOptions['gateway']): readonly MapElement[] => {
  const who = `${namespace}/${agent}`;
  const found = gateways.map((name) => gatewayOf(name));
  const [first] = found;
  const element = (map: MapElement['map'], rest: Pick<MapElement, 'port'> & Partial<MapElement>): MapElement => ({
    map,
    source: block,
    destination: '',
    ports: '',
    ...rest,
  });
  const of = (map: MapElement['map'], wants: readonly Want[]): readonly MapElement[] =>
    disjoint(wants).map((want) => element(map, { destination: addressesText(want), ports: portsText(want), port: want.target }));
  return [
    ...found.flatMap((gateway) => (gateway ? [element('route', { destination: gateway.slice.all, port: gateway.slice.port })] : [])),
    ...(first ? [element('first', { port: first.slice.port })] : []),
    // What leads to the first gateway anyway needs no element.
    ...of('wide', tcpWants(found, who)).filter(({ port }) => port !== first?.slice.port),
    ...of('datagrams', udpWants(found, who)),
  ];
};

/** Keeps the elements of every block of this worker in step with policies and names. */
export class Steering {
  readonly #options: SteeringOptions;
  /** Whose each block is, or was last. */
  readonly #ways = new Map<string, Way>();
  /** The change of each block that was asked for last. */
  readonly #changes = new Map<string, Promise<void>>();
  /** What each block was given last. */
  readonly #given = new Map<string, string>();

  constructor(options: SteeringOptions) {
    this.#options = options;
    for (const way of options.ways ?? []) this.#ways.set(way.block, way);
  }

  /** Opens the ways of a block; they are in force when this resolves. Always sent: the worker empties blocks that change hands. */
  open(way: Way): Promise<void> {
    this.#ways.set(way.block, way);
    return this.#bring(way.block, true);
  }

  /**
   * After a change of policies or names: resolves when it is in force for every sandbox. Of a block that fails, the others are
   * still brought up to date.
   */
  async refresh(gateway?: string): Promise<void> {
    const concerned = [...this.#ways.values()].filter(({ gateways }) => gateway === undefined || gateways.includes(gateway));
    const results = await Promise.allSettled(concerned.map(({ block }) => this.#bring(block, false)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason as Error;
  }

  /** One change of a block at a time; each sees what is wanted when its turn comes. */
  #bring(block: string, always: boolean): Promise<void> {
    const before = this.#changes.get(block) ?? Promise.resolve();
    const change = before.catch(() => {}).then(() => this.#change(this.#ways.get(block)!, always));
    this.#changes.set(block, change);
    const done = (): void => void (this.#changes.get(block) === change && this.#changes.delete(block));
    change.then(done, done);
    return change;
  }

  async #change(way: Way, always: boolean): Promise<void> {
    const elements = elementsOf(way, this.#options.gateway);
    const given = JSON.stringify(elements);
    if (!always && this.#given.get(way.block) === given) return;
    this.#given.delete(way.block); // unknown, should it fail
    await this.#options.setBlock(way.block, elements);
    this.#given.set(way.block, given);
  }
}
