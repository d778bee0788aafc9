import type { L4Ports, PolicySet } from '#model';
import { Blockers } from './blockers.ts';
import { parseCidr } from './cidr.ts';
import { entriesOf, rangesOf } from './l4.ts';
import { groupsAt } from './listeners.ts';
import { once } from './memo.ts';
import { ALL_PORTS, intersectPorts, portsOf, subtractPorts, unitePorts } from './ports.ts';
import { ANY_HOST, ANYWHERE, portsOfEntry, type Target } from './targets.ts';

/** One target for all names with the same ports. */
const byPorts = (hosts: readonly { readonly host: string; readonly ports: readonly L4Ports[] }[]): readonly Target[] =>
  [...Map.groupBy(hosts, ({ ports }) => JSON.stringify(ports)).values()].map((group) => ({
    hosts: group.map(({ host }) => host),
    cidrs: [],
    ports: group[0]!.ports,
  }));

const without = (ports: readonly L4Ports[], blockers: readonly (readonly L4Ports[])[]): readonly L4Ports[] =>
  blockers.reduce((rest, blocker) => (rest.length === 0 ? rest : subtractPorts(rest, blocker)), ports);

/** Ports on which tcp listeners are the only ones. */
const tcpOnlyPorts = (set: PolicySet): readonly L4Ports[] => {
  const named = [...new Set(set.listeners.flatMap(({ shape, port }) => (shape === 'udp' ? [] : (port ?? []))))];
  const isTcpOnly = (port: number): boolean => {
    const [first] = groupsAt(set, 'TCP', port);
    return first?.shape === 'tcp';
  };
  const rest = set.listeners.some(({ shape, port }) => shape !== 'udp' && port === undefined) && isTcpOnly(0);
  const taken = named.map((port) => ({ from: port, to: port }));
  return unitePorts([...(rest ? subtractPorts(ALL_PORTS, taken) : []), ...taken.filter(({ from }) => isTcpOnly(from))]);
};

/** A name, or the narrowest `*.x` that has all names of a pattern below it. */
const patternAround = (host: string): string => {
  const star = host.lastIndexOf('*');
  return star < 0 ? host : `*${host.slice(host.indexOf('.', star))}`;
};

/** What routes at listeners that read the first bytes are about, and claims. */
const blockersOf = (set: PolicySet, reading: readonly string[], lengths: ReadonlySet<number>): Blockers => {
  const blockers = new Blockers(lengths);
  for (const entry of entriesOf(set)) {
    const { match, route } = entry;
    const ports = intersectPorts(
      match.protocol === 'UDP' ? [] : (match.ports ?? ALL_PORTS),
      portsOf(
        set,
        'TCP',
        route.listeners.filter((name) => reading.includes(name)),
      ),
    );
    if (ports.length === 0) continue;
    if (match.hosts) for (const host of match.hosts) blockers.addHost(host, ports);
    else if (match.cidrs) for (const range of rangesOf(match)) blockers.addRange(range, ports);
    else blockers.addAnywhere(ports);
  }
  const claimed = [...set.aiRoutes, ...set.mcpRoutes].flatMap(({ hosts }) => hosts.map(patternAround));
  for (const host of new Set(claimed)) blockers.addHost(host, ALL_PORTS);
  return blockers;
};

/**
 * Destinations that a tcp listener takes whatever the client speaks, so that nobody needs to wait for its first bytes: every port on
 * which there is no other listener, and what only routes at tcp listeners are about, whoever the agent is. Destinations that overlap with what routes at
 * other listeners are about (`*.x` here, `a.x` there) are left out, on these ports: to look first is always right.
 */
export const rawTargets = once((set: PolicySet): readonly Target[] => {
  const tcp = set.listeners.filter(({ shape }) => shape === 'tcp').map(({ name }) => name);
  if (tcp.length === 0) return [];
  const reading = set.listeners.filter(({ shape }) => shape !== 'tcp' && shape !== 'udp').map(({ name }) => name);
  const only = tcpOnlyPorts(set);
  const whole = only.length > 0 ? [{ hosts: [ANY_HOST], cidrs: ANYWHERE, ports: only }] : [];
  const entries = entriesOf(set).filter(({ route }) => route.listeners.some((name) => tcp.includes(name)));
  const blockers = blockersOf(set, reading, new Set(entries.flatMap(({ match }) => rangesOf(match).map(({ prefix }) => prefix))));
  const routed = entries.flatMap((entry): readonly Target[] => {
    const { match, route } = entry;
    const own = { ...entry, route: { ...route, listeners: route.listeners.filter((name) => tcp.includes(name)) } };
    const ports = subtractPorts(portsOfEntry(set, own, 'TCP'), only);
    const targets = match.hosts
      ? byPorts(match.hosts.map((host) => ({ host, ports: without(ports, blockers.ofHost(host)) })))
      : match.cidrs
        ? match.cidrs.map((cidr) => ({ hosts: [], cidrs: [cidr], ports: without(ports, blockers.ofRange(parseCidr(cidr)!)) }))
        : [{ hosts: [ANY_HOST], cidrs: ANYWHERE, ports: without(ports, blockers.all) }];
    return targets.filter((target) => target.ports.length > 0);
  });
  return [...whole, ...routed];
});
