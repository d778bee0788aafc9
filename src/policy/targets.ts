import type { L4Ports, PolicySet } from '#model';
import { claimantsOf } from './claimed.ts';
import { entriesOf, tooWideForUdp, type Entry } from './l4.ts';
import { once } from './memo.ts';
import { ALL_PORTS, intersectPorts, portsOf, unitePorts } from './ports.ts';

/** Destinations by kind of treatment, for what steers packets before anything is known of a connection but where it goes. */

export const ANYWHERE: readonly string[] = ['0.0.0.0/0', '::/0'];
/** In `hosts`: every name. */
export const ANY_HOST = '*';

export interface Target {
  /** Exact names, `*.x`, or `*` for every name. */
  readonly hosts: readonly string[];
  readonly cidrs: readonly string[];
  readonly ports: readonly L4Ports[];
  /** Absent = every agent. */
  readonly agents?: readonly string[];
}

export interface CidrTarget {
  readonly cidr: string;
  readonly ports: readonly L4Ports[];
  readonly agents?: readonly string[];
  readonly transport: 'TCP' | 'UDP';
}

/** Ports on which a match can take connections of a transport. */
export const portsOfEntry = (set: PolicySet, { route, match }: Entry, transport: 'TCP' | 'UDP'): readonly L4Ports[] =>
  match.protocol && match.protocol !== transport ? [] : unitePorts(intersectPorts(match.ports ?? ALL_PORTS, portsOf(set, transport, route.listeners)));

/**
 * Addresses that this gateway has something to say about when they are dialled without DNS: several gateways of one agent are asked in
 * order, and the first with such a range gets the connection.
 */
export const cidrTargets = once((set: PolicySet): readonly CidrTarget[] => {
  const open =
    set.defaultPolicy === 'allow-all'
      ? ANYWHERE.map((cidr) => ({
          cidr,
          transport: 'TCP' as const,
          ports: portsOf(
            set,
            'TCP',
            set.listeners.map(({ name }) => name),
          ),
        }))
      : [];
  const routed = entriesOf(set)
    .filter(({ match }) => !match.hosts)
    .flatMap((entry) =>
      (['TCP', 'UDP'] as const).flatMap((transport) => {
        if (transport === 'UDP' && tooWideForUdp(entry.match)) return [];
        const ports = portsOfEntry(set, entry, transport);
        const { cidrs = ANYWHERE, agents } = entry.match;
        return ports.length === 0 ? [] : cidrs.map((cidr) => ({ cidr, ports, transport, ...(agents && { agents }) }));
      }),
    );
  return [...routed, ...open.filter(({ ports }) => ports.length > 0)];
});

/** Destinations over UDP that some rule lets through: each (address, port) is relayed by a listener of its own. */
export const udpTargets = once((set: PolicySet): readonly Target[] => {
  const named = set.listeners.flatMap(({ shape, port }) => (shape === 'udp' && port !== undefined ? [{ from: port, to: port }] : []));
  const open = set.defaultPolicy === 'allow-all' && named.length > 0 ? [{ hosts: [ANY_HOST], cidrs: [], ports: unitePorts(named) }] : [];
  const routed = entriesOf(set)
    .filter(({ route, rule, match }) => !route.denied && !rule.refused && !tooWideForUdp(match))
    .flatMap((entry): readonly Target[] => {
      const ports = portsOfEntry(set, entry, 'UDP');
      const { hosts, cidrs = [], agents } = entry.match;
      if (ports.length === 0) return [];
      if (!hosts) return [{ hosts: [], cidrs, ports, ...(agents && { agents }) }];
      const unclaimed = hosts.filter((host) => host.startsWith('*') || !claimantsOf(set, host));
      return unclaimed.length === 0 ? [] : [{ hosts: unclaimed, cidrs: [], ports, ...(agents && { agents }) }];
    });
  return [...routed, ...open];
});
