import type { EgressGateway, EgressL4Route } from '#api';
import type { ConnectionFacts } from '#model';

/**
 * A second, naive reading of the rules of egress, from the objects themselves: loops, no index, tables instead of arithmetic. Tests hold
 * `decideConnection` against it.
 */

export const HOSTS = ['a.test', 'b.test', 'x.a.test', 'y.x.a.test', 'api.openai.com', 'mcp.test'];
export const PATTERNS = ['*.test', '*.a.test', '*.openai.com'];
export const ADDRESSES = {
  '1.1.1.1': 'public',
  '9.9.9.9': 'public',
  '10.0.0.1': 'private',
  '169.254.169.254': 'never',
  'fd12::1': 'private',
  '2606:4700::1': 'public',
  'fe80::1': 'never',
} as const;
export type Ip = keyof typeof ADDRESSES;
const V4: readonly Ip[] = ['1.1.1.1', '9.9.9.9', '10.0.0.1', '169.254.169.254'];
export const RANGES: Readonly<Record<string, readonly Ip[]>> = {
  '1.0.0.0/8': ['1.1.1.1'],
  '9.9.9.0/26': ['9.9.9.9'],
  '10.0.0.0/8': ['10.0.0.1'],
  '0.0.0.0/0': V4,
  'fd12::/16': ['fd12::1'],
  '::/0': ['fd12::1', '2606:4700::1', 'fe80::1'],
  '169.254.0.0/16': ['169.254.169.254'],
};
/** Ranges that are narrow enough for UDP. */
const NARROW = ['9.9.9.0/26'];
export const TEAMS: Readonly<Record<string, string>> = { 'demo/a': 'x', 'demo/b': 'y', 'demo/c': '' };

export interface World {
  readonly gateway: EgressGateway;
  readonly l4Routes: readonly EgressL4Route[];
  /** Names of routes with an EgressDenyPolicy. */
  readonly denied: readonly string[];
  /** Listener (or all of them) that the AI route for api.openai.com names; absent = there is none. */
  readonly ai?: { readonly sectionName?: string };
  /** Whether an MCPRoute for mcp.test is there. */
  readonly mcp: boolean;
}

export interface Verdict {
  readonly reason: string;
  readonly handling: string;
  readonly listener: string;
  readonly route: string;
  readonly rule: number;
  readonly ranges: readonly string[] | undefined;
}

type Listener = EgressGateway['spec']['listeners'][number];
type Match = NonNullable<EgressL4Route['spec']['rules'][number]['matches']>[number];

const shapeOf = ({ protocol, tls }: Listener): string =>
  protocol === 'TLS' ? (tls?.mode === 'Terminate' ? 'terminate' : 'passthrough') : protocol.toLowerCase();
const ORDER = ['terminate', 'https', 'http', 'passthrough', 'tcp', 'udp'];
const CARRIES: Readonly<Record<string, string>> = { terminate: 'tls', https: 'tls', http: 'plain', passthrough: 'tls', tcp: 'tls plain', udp: 'udp' };
export const terminating = (listener: Listener): boolean => ['terminate', 'https'].includes(shapeOf(listener));

const hostFits = (pattern: string, host: string, anyDepth: boolean): boolean => {
  if (!pattern.startsWith('*.')) return pattern === host;
  if (!host.endsWith(pattern.slice(1))) return false;
  const before = host.slice(0, -pattern.slice(1).length);
  return before !== '' && (anyDepth || !before.includes('.'));
};

const portFits = ({ ports = [] }: Match, port: number): boolean =>
  ports.length === 0 || ports.some((range) => (range.port === undefined ? range.startPort! <= port && port <= range.endPort! : range.port === port));

/** Whether a match is about a destination, for the choice of a listener. */
const isAbout = ({ destinationHostnames: hosts = [], destinationCIDRs: cidrs = [] }: Match, facts: ConnectionFacts): boolean => {
  if (facts.host !== undefined) return hosts.length > 0 ? hosts.some((pattern) => hostFits(pattern, facts.host!, true)) : cidrs.length === 0;
  return hosts.length === 0 && (cidrs.length === 0 || cidrs.some((range) => RANGES[range]!.includes(facts.address as Ip)));
};

const tooWide = ({ ports = [], destinationHostnames: hosts = [], destinationCIDRs: cidrs = [] }: Match): boolean =>
  ports.length === 0 ||
  ports.reduce((sum, range) => sum + (range.port === undefined ? range.endPort! - range.startPort! + 1 : 1), 0) > 64 ||
  (hosts.length === 0 && (cidrs.length === 0 || !cidrs.every((range) => NARROW.includes(range))));

/** Whether a match lets its connection through, but for listeners: `private`, `wide` = but for that alone. */
const judge = (match: Match, facts: ConnectionFacts): 'yes' | 'no' | 'private' | 'wide' => {
  const { destinationHostnames: hosts = [], destinationCIDRs: cidrs = [], protocol, sourceAgents } = match;
  if (protocol !== undefined && protocol !== facts.transport) return 'no';
  if (facts.host !== undefined) {
    if (hosts.length > 0 ? !hosts.some((pattern) => hostFits(pattern, facts.host!, false)) : cidrs.length > 0) return 'no';
  } else {
    if (!isAbout(match, facts)) return 'no';
    const kind = ADDRESSES[facts.address as Ip];
    if (kind === 'never') return 'no';
    if (kind === 'private' && cidrs.length === 0) return 'private';
  }
  if (!portFits(match, facts.port)) return 'no';
  const team = sourceAgents?.matchLabels?.['team'];
  if (team !== undefined && TEAMS[facts.agent] !== team) return 'no';
  return facts.transport === 'UDP' && tooWide(match) ? 'wide' : 'yes';
};

const breadth = (match: Match, host: string | undefined): number => {
  if (match.destinationHostnames?.length) return host !== undefined && match.destinationHostnames.includes(host) ? 0 : 1;
  return match.destinationCIDRs?.length ? 2 : 3;
};

const attachedTo = ({ spec }: EgressL4Route, listener: Listener): boolean => {
  const { sectionName } = spec.parentRefs[0]!;
  if (sectionName !== undefined && sectionName !== listener.name) return false;
  const protocols = spec.rules.flatMap(({ matches = [] }) => matches.map(({ protocol }) => protocol));
  const udp = listener.protocol === 'UDP';
  if (protocols.length > 0 && protocols.every((protocol) => protocol === 'UDP')) return udp;
  if (protocols.length > 0 && protocols.every((protocol) => protocol === 'TCP')) return !udp;
  return true;
};

/** Rules for UDP that are too wide, and rules with backendRefs, refuse what they match. */
const refusalOf = (world: World, route: EgressL4Route, index: number): string | undefined => {
  const { matches = [], backendRefs } = route.spec.rules[index]!;
  if (backendRefs) return 'BackendNotFound';
  const at = world.gateway.spec.listeners.filter((listener) => attachedTo(route, listener));
  const udpAlone = at.length > 0 && at.every(({ protocol }) => protocol === 'UDP');
  return matches.some((match) => (match.protocol === 'UDP' || (match.protocol === undefined && udpAlone)) && tooWide(match)) ? 'UnsupportedValue' : undefined;
};

const sniProblem = (facts: ConnectionFacts, handling: string): string | undefined => {
  const isTls = facts.transport === 'TCP' && facts.speaks === 'tls';
  if (isTls && handling === 'passthrough' && facts.host !== undefined && facts.sni !== facts.host) return 'ServerNameMismatch';
  if (isTls && handling === 'terminate' && (facts.host !== undefined ? facts.sni !== facts.host : facts.sni === undefined)) return 'AddressMismatch';
  return undefined;
};

export const reference = (world: World, facts: ConnectionFacts): Verdict => {
  const { gateway, l4Routes } = world;
  const all = gateway.spec.listeners.filter(({ protocol }) => (protocol === 'UDP') === (facts.transport === 'UDP'));
  const exact = all.filter(({ port }) => port === facts.port);
  const speaks = facts.transport === 'UDP' ? 'udp' : facts.speaks;
  const carriers = (exact.length > 0 ? exact : all.filter(({ port }) => port === undefined)).filter((listener) =>
    CARRIES[shapeOf(listener)]!.split(' ').includes(speaks),
  );
  const shapes = ORDER.filter((shape) => carriers.some((listener) => shapeOf(listener) === shape));
  const groups = shapes.map((shape) => carriers.filter((listener) => shapeOf(listener) === shape));
  const say = (
    group: readonly Listener[] | undefined,
    reason: string,
    by?: (listener: Listener) => boolean,
    route = '',
    rule = -1,
    ranges?: readonly string[],
  ): Verdict => {
    const shape = group && shapeOf(group[0]!);
    return {
      reason,
      handling: shape === undefined ? 'refuse' : shape === 'https' ? 'terminate' : shape,
      listener: group?.find((listener) => by?.(listener))?.name ?? group?.[0]?.name ?? '',
      route,
      rule,
      ranges,
    };
  };
  const relevant = groups.find((group) =>
    l4Routes.some(
      (route) =>
        group.some((listener) => attachedTo(route, listener)) &&
        route.spec.rules.some(({ matches = [] }) =>
          matches.some((match) => (match.protocol ?? facts.transport) === facts.transport && isAbout(match, facts) && portFits(match, facts.port)),
        ),
    ),
  );
  const group = relevant ?? groups[0];

  const aiAt = (listener: Listener): boolean => world.ai !== undefined && terminating(listener) && (world.ai.sectionName ?? listener.name) === listener.name;
  const aiThere = gateway.spec.listeners.some(aiAt);
  const mcpThere = world.mcp && gateway.spec.listeners.some(terminating);
  const claimed = (name: string): string | undefined => (name === 'api.openai.com' && aiThere ? 'ai' : name === 'mcp.test' && mcpThere ? 'mcp' : undefined);
  const JUDGES: Readonly<Record<string, readonly [route: string, at: (listener: Listener) => boolean]>> = {
    ai: ['AIProviderRoute/demo/openai', aiAt],
    mcp: ['MCPRoute/demo/mcp', terminating],
  };
  const judging = facts.host === undefined ? undefined : JUDGES[claimed(facts.host) ?? ''];
  if (judging) {
    const [route, judges] = judging;
    const at = speaks === 'tls' && facts.port === 443 ? groups.find((candidate) => candidate.some(judges)) : undefined;
    if (!at) return say(group, 'ClaimedHost', undefined, route);
    return say(at, facts.sni === facts.host ? 'Allowed' : 'AddressMismatch', judges, route);
  }
  if (!group) return say(undefined, 'NoListener');

  const here = l4Routes.filter((route) => group.some((listener) => attachedTo(route, listener)));
  const found = here.flatMap((route) => {
    const index = route.spec.rules.findIndex(({ matches = [] }) => matches.some((match) => judge(match, facts) === 'yes'));
    if (index < 0) return [];
    const holding = route.spec.rules[index]!.matches!.filter((match) => judge(match, facts) === 'yes');
    const best = Math.min(...holding.map((match) => breadth(match, facts.host)));
    return [{ route, index, best, matches: holding.filter((match) => breadth(match, facts.host) === best) }];
  });
  const age = (route: EgressL4Route): string => `${route.metadata.creationTimestamp} ${route.metadata.name}`;
  found.sort((a, b) => a.best - b.best || (age(a.route) < age(b.route) ? -1 : 1));
  const nameOf = (route: EgressL4Route): string => `EgressL4Route/demo/${route.metadata.name}`;

  const denied = found.find(({ route }) => world.denied.includes(route.metadata.name));
  if (denied) return say(group, 'DeniedByPolicy', (listener) => attachedTo(denied.route, listener), nameOf(denied.route), denied.index);
  const [first] = found;
  const handling = say(group, '').handling;
  const claimedSni =
    facts.address !== undefined && speaks === 'tls' && facts.sni !== undefined && ['terminate', 'passthrough'].includes(handling)
      ? claimed(facts.sni)
      : undefined;
  const afterAll = (by: ((listener: Listener) => boolean) | undefined, allowed: Verdict): Verdict => {
    if (claimedSni !== undefined) return say(group, 'ClaimedHost', by, JUDGES[claimedSni]![0]);
    const problem = sniProblem(facts, handling);
    return problem ? { ...allowed, reason: problem } : allowed;
  };
  if (first) {
    const by = (listener: Listener): boolean => attachedTo(first.route, listener);
    const refused = refusalOf(world, first.route, first.index);
    if (refused) return say(group, refused, by, nameOf(first.route), first.index);
    const restricted = facts.host !== undefined && first.matches.every((match) => match.destinationCIDRs?.length);
    const ranges = restricted ? [...new Set(first.matches.flatMap((match) => match.destinationCIDRs!))] : undefined;
    return afterAll(by, say(group, 'Allowed', by, nameOf(first.route), first.index, ranges));
  }

  const states = here.flatMap((route) =>
    route.spec.rules.flatMap(({ matches = [] }, index) => matches.map((match) => ({ route, index, state: judge(match, facts) }))),
  );
  const kind = facts.address === undefined ? 'name' : ADDRESSES[facts.address as Ip];
  const open =
    gateway.spec.defaultPolicy === 'allow-all' &&
    (facts.transport === 'TCP' || (facts.host !== undefined && gateway.spec.listeners.some(({ protocol, port }) => protocol === 'UDP' && port === facts.port)));
  if (kind === 'never') return say(group, 'ForbiddenAddress');
  if (kind === 'private' && (open || states.some(({ state }) => state === 'private'))) return say(group, 'ForbiddenAddress');
  if (open) return afterAll(undefined, say(group, 'DefaultPolicy'));
  const wide = states.some(({ state }) => state === 'wide');
  return say(group, wide ? 'UnsupportedValue' : 'NoRoute');
};
