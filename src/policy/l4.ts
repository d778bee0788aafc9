import type { ConnectionFacts, L4Match, L4Ports, L4Route, L4Rule, PolicySet } from '#model';
import { isForbiddenAlias, isPrivate } from './address.ts';
import { cidrContains, networkAt, parseAddress, parseCidr, type Address, type Cidr } from './cidr.ts';

/** Matches of L4 routes: whether one holds, and finding those that can hold without asking all of them. */

/** A match with its rule and route. */
export interface Entry {
  readonly route: L4Route;
  readonly rule: L4Rule;
  readonly match: L4Match;
}

/** A number of criteria a destination is less special by: an exact name, a pattern, a range, anything. */
export const breadthOf = ({ match }: Entry, host: string | undefined): number => {
  if (match.hosts) return host !== undefined && match.hosts.includes(host) ? 0 : 1;
  return match.cidrs ? 2 : 3;
};

/** `*.x` for a name with exactly one label before x; empty for a name of one label. */
export const patternOf = (host: string): string => (host.includes('.') ? `*${host.slice(host.indexOf('.'))}` : '');

/** Patterns of which the `*`, taken for any number of labels, could stand for what is before it in this name or pattern. */
export const patternsAbove = (host: string): readonly string[] => {
  const labels = host.split('.');
  return labels
    .slice(1)
    .map((_, index) => `*.${labels.slice(index + 1).join('.')}`)
    .filter((pattern) => pattern !== host);
};

/** Whether one of the names or patterns stands for this canonical host. */
export const coversHost = (hosts: readonly string[], host: string): boolean => hosts.includes(host) || hosts.includes(patternOf(host));

export const coversPort = (ports: readonly L4Ports[] | undefined, port: number): boolean => !ports || ports.some(({ from, to }) => from <= port && port <= to);

const ranges = new WeakMap<L4Match, readonly Cidr[]>();
/** The ranges of a match as numbers. */
export const rangesOf = (match: L4Match): readonly Cidr[] => {
  let known = ranges.get(match);
  if (!known) ranges.set(match, (known = (match.cidrs ?? []).flatMap((text) => parseCidr(text) ?? [])));
  return known;
};

/** UDP is relayed by one listener for each (address, port), so there must be few of both. */
export const MAX_UDP_PORTS = 64;
const MIN_UDP_PREFIX = { 4: 26, 6: 122 } as const;

export const countPorts = (ports: readonly L4Ports[]): number => ports.reduce((sum, { from, to }) => sum + to - from + 1, 0);

/** What of a match is too much for UDP, as the end of a sentence about it; undefined when nothing is. */
export const tooWideForUdp = (match: L4Match): { readonly field: string; readonly why: string } | undefined => {
  if (!match.ports) return { field: 'ports', why: `must name the ports (at most ${MAX_UDP_PORTS}) for UDP` };
  if (countPorts(match.ports) > MAX_UDP_PORTS)
    return { field: 'ports', why: `names ${countPorts(match.ports)} ports; for UDP at most ${MAX_UDP_PORTS} are possible` };
  if (match.hosts) return undefined;
  if (!match.cidrs) return { field: 'destinationHostnames', why: 'and destinationCIDRs are both absent; for UDP one of them must say where' };
  const wide = rangesOf(match).findIndex(({ family, prefix }) => prefix < MIN_UDP_PREFIX[family]);
  return wide < 0
    ? undefined
    : { field: `destinationCIDRs[${wide}]`, why: `is wider than /${MIN_UDP_PREFIX[4]} (IPv6: /${MIN_UDP_PREFIX[6]}), the most for UDP` };
};

/** Why a match does not hold. */
export type Miss = 'Listener' | 'Protocol' | 'UdpTooWide' | 'Agent' | 'Ports' | 'NamesOnly' | 'Hosts' | 'AddressesOnly' | 'Ranges' | 'Private' | 'Forbidden';

/** Undefined when the match holds for a connection that one of these listeners takes. */
export const missOf = ({ route, match }: Entry, facts: Omit<ConnectionFacts, 'speaks'>, listeners: readonly string[]): Miss | undefined => {
  if (!route.listeners.some((name) => listeners.includes(name))) return 'Listener';
  if (match.protocol && match.protocol !== facts.transport) return 'Protocol';
  const where = facts.host !== undefined ? missOfHost(match, facts.host) : missOfAddress(match, facts.address!);
  if (where) return where;
  if (!coversPort(match.ports, facts.port)) return 'Ports';
  if (match.agents && !match.agents.includes(facts.agent)) return 'Agent';
  return facts.transport === 'UDP' && tooWideForUdp(match) ? 'UdpTooWide' : undefined;
};

const missOfHost = ({ hosts, cidrs }: L4Match, host: string): Miss | undefined => {
  if (hosts) return coversHost(hosts, host) ? undefined : 'Hosts';
  return cidrs ? 'AddressesOnly' : undefined;
};

const missOfAddress = (match: L4Match, text: string): Miss | undefined => {
  if (match.hosts) return 'NamesOnly';
  const address = parseAddress(text)!;
  if (match.cidrs && !rangesOf(match).some((range) => cidrContains(range, address))) return 'Ranges';
  if (isForbiddenAlias(text)) return 'Forbidden';
  return !match.cidrs && isPrivate(text) ? 'Private' : undefined;
};

interface Index {
  /** By exact name and by pattern. */
  readonly byHost: ReadonlyMap<string, readonly Entry[]>;
  /** By family, prefix length and network. */
  readonly byRange: ReadonlyMap<4 | 6, ReadonlyMap<number, ReadonlyMap<bigint, readonly Entry[]>>>;
  /** Neither names nor ranges. */
  readonly anywhere: readonly Entry[];
}

const push = <K, V>(map: Map<K, V[]>, key: K, value: V): void => void (map.get(key)?.push(value) ?? map.set(key, [value]));
const sub = <K, L, V>(map: Map<K, Map<L, V>>, key: K): Map<L, V> => {
  let below = map.get(key);
  if (!below) map.set(key, (below = new Map()));
  return below;
};

/** Every match of every L4 route of a gateway. */
export const entriesOf = ({ l4Routes }: PolicySet): readonly Entry[] =>
  l4Routes.flatMap((route) => route.rules.flatMap((rule) => rule.matches.map((match) => ({ route, rule, match }))));

const build = (set: PolicySet): Index => {
  const byHost = new Map<string, Entry[]>();
  const byRange = new Map<4 | 6, Map<number, Map<bigint, Entry[]>>>();
  const anywhere: Entry[] = [];
  for (const entry of entriesOf(set)) {
    if (entry.match.hosts) for (const host of new Set(entry.match.hosts)) push(byHost, host, entry);
    else if (entry.match.cidrs) for (const { family, prefix, network } of rangesOf(entry.match)) push(sub(sub(byRange, family), prefix), network, entry);
    else anywhere.push(entry);
  }
  return { byHost, byRange, anywhere };
};

const indexes = new WeakMap<PolicySet, Index>();
const indexOf = (set: PolicySet): Index => {
  let known = indexes.get(set);
  if (!known) indexes.set(set, (known = build(set)));
  return known;
};

/** Matches that can hold for a name, by its name alone. */
export const entriesForHost = (set: PolicySet, host: string): readonly Entry[] => {
  const { byHost, anywhere } = indexOf(set);
  return [...(byHost.get(host) ?? []), ...(byHost.get(patternOf(host)) ?? []), ...anywhere];
};

/**
 * Matches that make a listener the one for a name, if they are for its port: those that can hold, and patterns further up. Looser than
 * `missOf`, whoever the agent is, so that what stands in Envoy's configuration comes to the same choice.
 */
export const entriesAround = (set: PolicySet, host: string): readonly Entry[] => {
  const { byHost, anywhere } = indexOf(set);
  return [...(byHost.get(host) ?? []), ...patternsAbove(host).flatMap((pattern) => byHost.get(pattern) ?? []), ...anywhere];
};

/** Matches that can hold for an address, by the address alone. */
export const entriesForAddress = (set: PolicySet, address: Address): readonly Entry[] => {
  const { byRange, anywhere } = indexOf(set);
  const lengths = [...(byRange.get(address.family) ?? [])];
  return [...lengths.flatMap(([prefix, networks]) => networks.get(networkAt(address, prefix)) ?? []), ...anywhere];
};
