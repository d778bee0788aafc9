import type { AiRoute, ConnectionFacts, L4Ports, McpMatch, McpRoute, NamePatterns, PolicySet, RequestFacts } from '#model';
import { AI_PORT, claimantsOf, inOrder, isMcpRoute, nameOfRoute, type JudgingRoute } from './claimed.ts';
import { l4Name } from './connection.ts';
import { requestMiss } from './decide.ts';
import { entriesOf, missOf, patternOf, patternsAbove, tooWideForUdp, type Entry, type Miss } from './l4.ts';
import { mcpFactsOf, mcpMiss } from './mcp-match.ts';
import { ALL_PORTS, portsOf } from './ports.ts';

/** What did not match, and what would have to be different for it to match. */
export interface Missed {
  /** `namespace/name` */
  readonly gateway: string;
  /** `Kind/namespace/name` */
  readonly route: string;
  /** Index in `spec.rules`; -1 = the whole route. */
  readonly rule: number;
  /** Index in `matches`; -1 = the whole rule. */
  readonly match: number;
  readonly why: string;
  /** How far it is from a match, for an order: another place is farther away than another port of the same. */
  readonly distance: number;
}

const NEAR = { request: 0, field: 1, listener: 2, deep: 3, place: 4, kind: 5, gateway: 10 } as const;

export const gatewayName = ({ gateway }: PolicySet): string => `${gateway.namespace}/${gateway.name}`;

/** The first few of a list, and how many more there are. */
const some = (items: readonly string[], most = 5): string =>
  items.length <= most ? items.join(', ') : `${items.slice(0, most).join(', ')} and ${items.length - most} more`;

const printPorts = (ports: readonly L4Ports[]): string => some(ports.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)));

const targetOf = ({ host, address, port }: Pick<ConnectionFacts, 'host' | 'address' | 'port'>): string =>
  `${host ?? (address?.includes(':') ? `[${address}]` : address)}:${port}`;

const whyHost = (path: string, hosts: readonly string[], host: string): string => {
  const deep = patternsAbove(host).find((pattern) => pattern !== patternOf(host) && hosts.includes(pattern));
  if (deep) return `${path} has ${deep}, and * stands for exactly one label; add ${host} or ${patternOf(host)}.`;
  const below = hosts.includes(`*.${host}`) ? ` (*.${host} does not stand for ${host} itself)` : '';
  return `${path} is ${some(hosts)}; add ${host}${below}.`;
};

const whyAgent = (path: string, agents: readonly string[], agent: string): string =>
  `${path} selects ${agents.length === 0 ? 'no agent' : some(agents)}, not ${agent}; give the agent the labels (metadata.labels of the agent), or change the selector.`;

const whyListener = ({ route, match }: Entry, facts: ConnectionFacts, listeners: readonly string[], set: PolicySet): string => {
  const at = `The route is attached to listener ${some(route.listeners)}`;
  const takes = portsOf(set, facts.transport, route.listeners);
  const fix = 'see parentRefs[].sectionName of the route, and port and protocol of the listeners';
  if (listeners.length === 0) return `${at}, and no listener of the gateway takes ${facts.transport} like this to port ${facts.port}; ${fix}.`;
  if (!takes.some(({ from, to }) => from <= facts.port && facts.port <= to))
    return `${at}, which does not take ${facts.transport} port ${facts.port}: listener ${some(listeners)} does; ${fix}.`;
  const what = match.protocol ?? facts.transport;
  return `${at}, and ${what} to ${targetOf(facts)} is taken by listener ${some(listeners)}, which goes first; ${fix}.`;
};

type Explain = (entry: Entry, path: string, facts: ConnectionFacts, listeners: readonly string[], set: PolicySet) => string;

const WHY: Readonly<Record<Miss, Explain>> = {
  Listener: (entry, _path, facts, listeners, set) => whyListener(entry, facts, listeners, set),
  Protocol: ({ match }, path, { transport }) => `${path}.protocol is ${match.protocol}, and the connection is ${transport}.`,
  UdpTooWide: ({ match }, path) => {
    const wide = tooWideForUdp(match);
    return `${path}.${wide?.field ?? 'ports'} ${wide?.why ?? 'is too wide'}.`;
  },
  Agent: ({ match }, path, { agent }) => whyAgent(`${path}.sourceAgents`, match.agents ?? [], agent),
  Ports: ({ match }, path, { port }) => `${path}.ports is ${printPorts(match.ports ?? ALL_PORTS)}; add port ${port}.`,
  NamesOnly: (_entry, path, { address }) =>
    `${path} has destinationHostnames, so it is for names only; to dial ${address} without a name, make a match with destinationCIDRs alone.`,
  Hosts: ({ match }, path, { host }) => whyHost(`${path}.destinationHostnames`, match.hosts ?? [], host!),
  AddressesOnly: (_entry, path, { host }) =>
    `${path} has destinationCIDRs and no destinationHostnames, so it is for addresses that are dialled without a name; add ${host} to destinationHostnames.`,
  Ranges: ({ match }, path, { address }) => `${path}.destinationCIDRs is ${some(match.cidrs ?? [])}; none covers ${address}.`,
  Private: (_entry, path, { address }) => `${path} names no range, which means public addresses, and ${address} is private; name it in destinationCIDRs.`,
  Forbidden: (_entry, path, { address }) => `${path} covers ${address}, but no gateway ever dials this address.`,
};

const OTHER_PLACE: readonly (Miss | undefined)[] = ['Hosts', 'NamesOnly', 'AddressesOnly', 'Ranges'];

const distanceOf = (entry: Entry, miss: Miss, facts: ConnectionFacts): number => {
  const { route, match } = entry;
  if (miss === 'Hosts' && patternsAbove(facts.host!).some((pattern) => match.hosts?.includes(pattern))) return NEAR.deep;
  if (OTHER_PLACE.includes(miss)) return NEAR.place;
  if (miss !== 'Listener' && miss !== 'Protocol') return NEAR.field;
  const place = missOf({ ...entry, match: { ...match, protocol: facts.transport } }, facts, route.listeners);
  return OTHER_PLACE.includes(place) ? NEAR.place : NEAR.listener;
};

/** The nearest first; gateways that are not asked come after the one that is. */
export const byDistance = (misses: readonly Missed[], asked: string): readonly Missed[] => {
  const far = ({ gateway, distance }: Missed): number => distance + (gateway === asked ? 0 : NEAR.gateway);
  return misses.toSorted((a, b) => far(a) - far(b));
};

/** Matches of L4 routes that do not hold, in the order of routes; `listeners` take the connection. */
export const missedL4 = (set: PolicySet, facts: ConnectionFacts, listeners: readonly string[]): readonly Missed[] => {
  const gateway = gatewayName(set);
  const empty = set.l4Routes.flatMap((route) =>
    route.rules
      .filter(({ matches }) => matches.length === 0)
      .map(({ index }) => ({
        gateway,
        route: l4Name(route),
        rule: index,
        match: -1,
        why: `spec.rules[${index}] has no matches, so it matches nothing.`,
        distance: NEAR.place,
      })),
  );
  const missed = entriesOf(set).flatMap((entry): readonly Missed[] => {
    const miss = missOf(entry, facts, listeners);
    if (!miss) return [];
    const match = entry.rule.matches.indexOf(entry.match);
    const path = `spec.rules[${entry.rule.index}].matches[${match}]`;
    return [
      {
        gateway,
        route: l4Name(entry.route),
        rule: entry.rule.index,
        match,
        why: WHY[miss](entry, path, facts, listeners, set),
        distance: distanceOf(entry, miss, facts),
      },
    ];
  });
  return [...missed, ...empty];
};

/** Routes of other kinds that do not claim the host of a connection. */
export const missedClaims = (set: PolicySet, { host }: Pick<ConnectionFacts, 'host'>): readonly Missed[] => {
  const gateway = gatewayName(set);
  const claimants = host === undefined ? undefined : claimantsOf(set, host);
  const to = host ?? 'an address';
  const about = (route: JudgingRoute): string => {
    if (route.hosts.length === 0) return 'It claims no host';
    return isMcpRoute(route) ? `It is for ${some(route.hosts)}` : `It is for ${some(route.hosts)} (TLS, port ${AI_PORT})`;
  };
  const claiming = new Set<JudgingRoute>(claimants ? inOrder(claimants) : []);
  return inOrder(set)
    .filter((route) => !claiming.has(route))
    .map((route) => ({
      gateway,
      route: nameOfRoute(route),
      rule: -1,
      match: -1,
      why: `${about(route)}, not ${to}${isMcpRoute(route) ? '' : ': no provider of its rules is there'}.`,
      distance: NEAR.kind,
    }));
};

const whyRequest = (match: AiRoute['rules'][number]['matches'][number], path: string, facts: RequestFacts): string | undefined => {
  switch (requestMiss(match, facts)) {
    case undefined:
      return undefined;
    case 'Refused':
      return `${path} matches nothing: ${match.refused}`;
    case 'Provider':
      return `${path}.provider is ${match.provider}, and the request is ${facts.provider === undefined ? 'none of a known provider' : `for ${facts.provider}`}.`;
    case 'Endpoint':
      return `${path}.endpoints is ${some(match.endpoints ?? [])}; add ${match.provider === 'custom' ? facts.host : ''}${facts.path}.`;
    case 'Model':
      return `${path}.models is ${some(match.models ?? [])}; ${facts.model === undefined ? 'the request names no model' : `add ${facts.model}`}.`;
  }
};

/** Rules of routes that claim the host and do not match a request; `why` tells it of a match at a path. */
const missedBy = <Match>(
  set: PolicySet,
  routes: readonly (JudgingRoute & { readonly rules: readonly { readonly index: number; readonly matches: readonly Match[] }[] })[],
  facts: RequestFacts,
  why: (match: Match, path: string, facts: RequestFacts) => string | undefined,
): readonly Missed[] =>
  routes.flatMap((route) =>
    route.rules.flatMap(({ index, matches }): readonly Missed[] => {
      const at = { gateway: gatewayName(set), route: nameOfRoute(route), rule: index, distance: NEAR.request };
      if (matches.length === 0) return [{ ...at, match: -1, why: `spec.rules[${index}] has no matches, so it matches nothing.` }];
      return matches.flatMap((match, m): readonly Missed[] => {
        const reason = why(match, `spec.rules[${index}].matches[${m}]`, facts);
        return reason === undefined ? [] : [{ ...at, match: m, why: reason }];
      });
    }),
  );

/** Rules of AI routes that claim the host and do not match the request. */
export const missedRequests = (set: PolicySet, routes: readonly AiRoute[], facts: RequestFacts): readonly Missed[] => missedBy(set, routes, facts, whyRequest);

const named = ({ globs = [], regexes = [] }: NamePatterns): string => some([...globs, ...regexes.map((pattern) => `/${pattern}/`)]);

const whyMessage = (match: McpMatch, path: string, facts: RequestFacts): string | undefined => {
  const { method = '', tool = '', resource = '' } = mcpFactsOf(facts);
  switch (mcpMiss(match, facts)) {
    case undefined:
      return undefined;
    case 'Refused':
      return `${path} matches nothing: ${match.refused}`;
    case 'Server':
      return match.servers
        ? `${path}.servers is ${some(match.servers)}; add https://${facts.host}${facts.port === AI_PORT ? '' : `:${facts.port}`}${facts.path}.`
        : `${path} names no servers, which means port ${AI_PORT}; add https://${facts.host}:${facts.port}${facts.path} to ${path}.servers.`;
    case 'Method':
      return match.methods
        ? `${path}.methods is ${some(match.methods)}; add ${method}.`
        : `${path} is about ${[match.tools ? 'tools' : '', match.resources ? 'resources' : ''].filter(Boolean).join(' and ')}; name ${method} in the methods of a match.`;
    case 'Tool':
      return `${path}.tools is ${named(match.tools ?? {})}; add ${tool}.`;
    case 'Resource':
      return `${path}.resources is ${some(match.resources ?? [])}; add ${resource}.`;
  }
};

/** Rules of MCP routes that claim the host and do not match the message. */
export const missedMessages = (set: PolicySet, routes: readonly McpRoute[], facts: RequestFacts): readonly Missed[] => missedBy(set, routes, facts, whyMessage);
