import type { L4Ports, ListenerShape, PolicyListener, PolicySet } from '#model';
import { cidr, extension, any, type Json } from './envoy.ts';

/** Matchers of the listener: which chain takes a connection. They narrow; what is let through is judged by its verdict. */

export const matchInput = (name: string): Json => extension(name, `envoy.extensions.matching.common_inputs.network.v3.${name}`);
export const chain = (name: string): Json => ({ action: { name: 'chain', typed_config: any('google.protobuf.StringValue', { value: name }) } });
export const REFUSE = chain('refuse');

export const onTransport = (tls: Json, plain: Json): Json => ({
  matcher: { matcher_tree: { input: matchInput('TransportProtocolInput'), exact_match_map: { map: { tls } } }, on_no_match: plain },
});

export const onServerName = (domains: readonly string[], then: Json, otherwise: Json): Json =>
  domains.length === 0
    ? otherwise
    : {
        matcher: {
          matcher_tree: {
            input: matchInput('ServerNameInput'),
            custom_match: extension('names', 'xds.type.matcher.v3.ServerNameMatcher', { domain_matchers: [{ domains, on_match: then }] }),
          },
          on_no_match: otherwise,
        },
      };

export const onDestination = (ranges: readonly string[], then: Json, otherwise: Json): Json =>
  ranges.length === 0
    ? otherwise
    : {
        matcher: {
          matcher_tree: {
            input: matchInput('DestinationIPInput'),
            custom_match: extension('destinations', 'xds.type.matcher.v3.IPMatcher', { range_matchers: [{ ranges: ranges.map(cidr), on_match: then }] }),
          },
          on_no_match: otherwise,
        },
      };

export const onPort = (ports: ReadonlyMap<number, Json>, otherwise: Json): Json =>
  ports.size === 0
    ? otherwise
    : { matcher: { matcher_tree: { input: matchInput('DestinationPortInput'), exact_match_map: { map: Object.fromEntries(ports) } }, on_no_match: otherwise } };

/** Chains in the order their listeners are chosen, by what the client speaks. */
const TLS_CHAINS: readonly (readonly [string, readonly ListenerShape[]])[] = [
  ['l7', ['tls-terminate', 'https']],
  ['pass', ['tls-passthrough']],
  ['tcps', ['tcp']],
];
const PLAIN_CHAINS: readonly (readonly [string, readonly ListenerShape[]])[] = [
  ['http', ['http']],
  ['tcp', ['tcp']],
];

/** What the routes of some listeners are about at a port: names, ranges, or anything. */
interface Relevant {
  readonly names: readonly string[];
  readonly cidrs: readonly string[];
  readonly anything: boolean;
}

/** Listeners that take TCP to a port; `undefined` stands for every port that none names. */
export const candidates = ({ listeners }: PolicySet, port: number | undefined): readonly PolicyListener[] => {
  const tcp = listeners.filter(({ shape }) => shape !== 'udp');
  const exact = port === undefined ? [] : tcp.filter((listener) => listener.port === port);
  return exact.length > 0 ? exact : tcp.filter((listener) => listener.port === undefined);
};

/** Rules name the ports of narrower ranges one by one. */
const WIDE_RANGE = 16;

/** Whether a match is about a port; `undefined` = about ports that are not told apart. */
const isAbout = (ports: readonly L4Ports[] | undefined, port: number | undefined): boolean =>
  !ports || ports.some(({ from, to }) => (port === undefined ? to - from >= WIDE_RANGE : from <= port && port <= to));

const relevantTo = (set: PolicySet, listeners: readonly PolicyListener[], port: number | undefined): Relevant => {
  const attached = new Set(listeners.map(({ name }) => name));
  const at = (names: readonly string[]): boolean => names.some((name) => attached.has(name));
  const terminates = listeners.some(({ shape }) => shape === 'tls-terminate' || shape === 'https');
  const matches = set.l4Routes
    .filter((route) => at(route.listeners))
    .flatMap(({ rules }) => rules)
    .flatMap(({ matches: all }) => all)
    .filter(({ protocol, ports }) => protocol !== 'UDP' && isAbout(ports, port));
  const judged = terminates ? [...set.mcpRoutes, ...set.aiRoutes].filter((route) => at(route.listeners)).flatMap(({ hosts }) => hosts) : [];
  return {
    names: [...new Set([...judged, ...matches.flatMap(({ hosts }) => hosts ?? [])])].sort(),
    cidrs: [...new Set(matches.flatMap(({ hosts, cidrs }) => (hosts ? [] : (cidrs ?? []))))].filter((range) => !range.includes(':')).sort(),
    anything: matches.some(({ hosts, cidrs }) => !hosts && !cidrs),
  };
};

/** Ports that are told apart: those of listeners, and single ones of rules. */
export const namedPorts = (set: PolicySet): readonly number[] => {
  const ofRules = set.l4Routes.flatMap(({ rules }) => rules.flatMap(({ matches }) => matches.flatMap(({ ports = [] }) => ports)));
  return [
    ...new Set([
      ...set.listeners.flatMap(({ port }) => port ?? []),
      ...ofRules.filter(({ from, to }) => to - from < WIDE_RANGE).flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
    ]),
  ].sort((a, b) => a - b);
};

/**
 * Which chain takes connections to a port, by what they speak and where they go; `named`: to an address that stands for a name.
 * Where one chain can take them it does, and its verdict says whether it may: names are listed only to choose, so that most
 * changes of policy leave the listener alone.
 */
export const chainsAt = (set: PolicySet, port: number | undefined, named: boolean): Json => {
  const taking = candidates(set, port);
  const branch = (chains: typeof TLS_CHAINS, saysName: boolean): Json => {
    const there = chains
      .map(([name, shapes]) => ({ name, listeners: taking.filter(({ shape }) => shapes.includes(shape)) }))
      .filter(({ listeners }) => listeners.length > 0);
    const [first] = there;
    if (!first) return REFUSE;
    if (named && (there.length === 1 || !saysName)) return chain(relevantFirst(set, there, port));
    // An address nothing names is refused here: who tries many costs nobody a verdict.
    let otherwise = named || set.defaultPolicy === 'allow-all' ? chain(first.name) : REFUSE;
    for (const { name, listeners } of there.toReversed()) {
      const { names, cidrs, anything } = relevantTo(set, listeners, port);
      if (anything) otherwise = chain(name);
      else if (named) otherwise = onServerName(names, chain(name), otherwise);
      else otherwise = onDestination(cidrs, chain(name), otherwise);
    }
    return otherwise;
  };
  return onTransport(branch(TLS_CHAINS, true), branch(PLAIN_CHAINS, false));
};

type There = readonly { readonly name: string; readonly listeners: readonly PolicyListener[] }[];

/** Of chains for clients that say no name: the first one some route is about. */
const relevantFirst = (set: PolicySet, there: There, port: number | undefined): string => {
  const relevant = there.find(({ listeners }) => {
    const { names, anything } = relevantTo(set, listeners, port);
    return anything || names.length > 0;
  });
  return (relevant ?? there[0]!).name;
};
