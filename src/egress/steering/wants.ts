import { cidrTargets, decideConnection, isForbiddenAlias, rawTargets, udpTargets } from '#policy';
import type { L4Ports, PolicySet } from '#model';
import { formatIp, ipNumber, SLICES, type Slice } from '../slices.ts';
import { ownAddresses } from '../upstream/index.ts';
import { rangeOf, type Want } from './elements.ts';

/** What steering needs of one gateway. */
export interface SteeredGateway {
  readonly slice: Slice;
  readonly policy: PolicySet;
  /** Every name with a synthetic address, and that address. */
  readonly names: () => Iterable<readonly [name: string, address: string]>;
  /** Private port that relays datagrams for a destination, once it is there. */
  readonly relayOf: (destination: UdpDestination) => number | undefined;
}

/** A destination over UDP that some rule of a gateway lets through. */
export interface UdpDestination {
  /** What a sandbox dials. */
  readonly address: string;
  readonly port: number;
  /** The name a synthetic address stands for. */
  readonly host?: string;
  /** CIDRs that what the name resolves to must be in. Agents with different ones are relayed apart. */
  readonly ranges?: readonly string[];
  /** What lets it through, for the record: `EgressL4Route/ns/name`. */
  readonly route: string;
}

/** What tells destinations of one gateway apart. */
export const destinationKey = ({ address, port, ranges }: UdpDestination): string => [address, port, ...(ranges ? [ranges.join()] : [])].join(' ');

/** Each is a listener of Envoy; more are refused. */
export const MAX_UDP_DESTINATIONS = 1024;

/** Whether a name is one a target lists: exact, `*.x` with one label for the `*`, or `*` for all. */
const isListed = (host: string, patterns: ReadonlySet<string>): boolean =>
  patterns.has('*') || patterns.has(host) || patterns.has(`*${host.slice(host.indexOf('.'))}`);

/** Whether a name that has an address now changes what `tcpWants` or `udpDestinations` say: before, it is not to be given out. */
export const isSteeredByName = (policy: PolicySet, host: string): boolean =>
  rawTargets(policy).some(({ hosts }) => !hosts.includes('*') && isListed(host, new Set(hosts))) ||
  udpTargets(policy).some(({ hosts }) => isListed(host, new Set(hosts)));

const isFor = (agent: string, agents: readonly string[] | undefined): boolean => agents === undefined || agents.includes(agent);

/** IPv4 ranges of CIDRs, without our own slices: addresses there stand for names. */
const rangesOf = (cidrs: readonly string[]): readonly Pick<Want, 'from' | 'to'>[] =>
  cidrs.flatMap((cidr) => {
    const range = rangeOf(cidr);
    if (!range) return [];
    const { from, to } = range;
    if (to < SLICES.from || from > SLICES.to) return [range];
    return [
      { from, to: SLICES.from - 1 },
      { from: SLICES.to + 1, to },
    ].filter((part) => part.from <= part.to);
  });

const withPorts = (ranges: readonly Pick<Want, 'from' | 'to'>[], ports: readonly L4Ports[], target: number): readonly Want[] =>
  ranges.flatMap(({ from, to }) => ports.map((range) => ({ from, to, fromPort: range.from, toPort: range.to, target })));

/** Synthetic addresses whose names a target lists; all of them as one range when it lists every name. */
const namedRanges = ({ slice, names }: SteeredGateway, hosts: readonly string[]): readonly Pick<Want, 'from' | 'to'>[] => {
  if (hosts.length === 0) return [];
  const patterns = new Set(hosts);
  if (patterns.has('*')) return [rangeOf(slice.admitted)!];
  return [...names()].filter(([name]) => isListed(name, patterns)).map(([, address]) => ({ from: ipNumber(address), to: ipNumber(address) }));
};

/**
 * Where connections of an agent go that do not go where their slice, or else the first gateway, takes them. An address dialled
 * without our DNS belongs to the first gateway with a range for it; behind a gateway that is not there yet nothing is known to be.
 */
export const tcpWants = (gateways: readonly (SteeredGateway | undefined)[], agent: string): readonly Want[] => {
  const wants: Want[] = [];
  let known = true;
  for (const gateway of gateways) {
    known &&= gateway !== undefined;
    if (!gateway) continue;
    const { slice, policy } = gateway;
    const raw = rawTargets(policy).filter(({ agents }) => isFor(agent, agents));
    for (const { hosts, ports } of raw) wants.push(...withPorts(namedRanges(gateway, hosts), ports, slice.rawPort));
    if (!known) continue;
    for (const { cidrs, ports } of raw) wants.push(...withPorts(rangesOf(cidrs), ports, slice.rawPort));
    for (const { cidr, ports, agents, transport } of cidrTargets(policy))
      if (transport === 'TCP' && isFor(agent, agents)) wants.push(...withPorts(rangesOf([cidr]), ports, slice.port));
  }
  return wants;
};

const eachPort = (ports: readonly L4Ports[]): readonly number[] => ports.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));

/** Somebody no rule names. */
const ANYBODY = '';

/** The destination as an agent may send to it; undefined when it may not. */
const admitted = (policy: PolicySet, agent: string, { address, port, host }: Point): UdpDestination | undefined => {
  const decision = decideConnection(policy, { agent, transport: 'UDP', port, speaks: 'plain', ...(host === undefined ? { address } : { host }) });
  if (decision.verdict !== 'Allowed' || decision.engine) return undefined;
  const { ranges, route } = decision;
  return { address, port, route, ...(host !== undefined && { host }), ...(host !== undefined && ranges && { ranges }) };
};

type Point = Pick<UdpDestination, 'address' | 'port' | 'host'>;

/** Addresses and ports that rules for UDP are about. Policy has refused rules that are too wide to list. */
const points = ({ policy, names }: Pick<SteeredGateway, 'policy' | 'names'>): readonly Point[] => {
  const found = new Map<string, Point>();
  const own = new Set(ownAddresses());
  const add = (point: Point): void => void (found.has(`${point.address} ${point.port}`) || found.set(`${point.address} ${point.port}`, point));
  for (const { hosts, cidrs, ports } of udpTargets(policy)) {
    const patterns = new Set(hosts);
    if (hosts.length > 0) for (const [host, address] of names()) if (isListed(host, patterns)) for (const port of eachPort(ports)) add({ address, port, host });
    for (const { from, to } of rangesOf(cidrs)) {
      for (let value = from; value <= to; value++) {
        const address = formatIp(value);
        if (!isForbiddenAlias(address) && !own.has(address)) for (const port of eachPort(ports)) add({ address, port });
      }
    }
  }
  return [...found.values()];
};

/** All destinations over UDP of a gateway, at most MAX_UDP_DESTINATIONS; `dropped` says how many there were beyond. */
export const udpDestinations = (gateway: Pick<SteeredGateway, 'policy' | 'names'>): { readonly list: readonly UdpDestination[]; readonly dropped: number } => {
  const found = new Map<string, UdpDestination>();
  let dropped = 0;
  const { policy } = gateway;
  const agents = new Set([ANYBODY, ...udpTargets(policy).flatMap((target) => target.agents ?? [])]);
  for (const point of points(gateway)) {
    for (const agent of agents) {
      const destination = admitted(policy, agent, point);
      if (!destination || found.has(destinationKey(destination))) continue;
      if (found.size < MAX_UDP_DESTINATIONS) found.set(destinationKey(destination), destination);
      else dropped++;
    }
  }
  return { list: [...found.values()], dropped };
};

/** Where datagrams of an agent go: nowhere but to what its first gateway with a rule for them lets through. */
export const udpWants = (gateways: readonly (SteeredGateway | undefined)[], agent: string): readonly Want[] => {
  const wants: Want[] = [];
  let known = true;
  for (const gateway of gateways) {
    known &&= gateway !== undefined;
    if (!gateway) continue;
    for (const point of points(gateway)) {
      if (point.host === undefined && !known) continue;
      const destination = admitted(gateway.policy, agent, point);
      const target = destination && gateway.relayOf(destination);
      if (target === undefined) continue;
      const value = ipNumber(point.address);
      wants.push({ from: value, to: value, fromPort: point.port, toPort: point.port, target });
    }
  }
  return wants;
};
