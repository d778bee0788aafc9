import type { ConnectionDecision, ConnectionFacts, Denial, Handling, L4Route, L4Rule, PolicySet } from '#model';
import { isForbiddenAlias, isPrivate } from './address.ts';
import { parseAddress } from './cidr.ts';
import { claimantsOf, compareRoutes, inOrder, judgedPorts, judgingAt, nameOfRoute, type Claimants } from './claimed.ts';
import { credentialProblem } from './credential-value.ts';
import { canonicalHost } from './host.ts';
import { breadthOf, coversPort, entriesAround, entriesForAddress, entriesForHost, missOf, type Entry } from './l4.ts';
import { carriersOf, groupsAt, HANDLING, type Group } from './listeners.ts';

/** Judges connections: the one function behind Envoy's clusters, `clrk explain` and tests. */

export const l4Name = ({ route }: L4Route): string => `EgressL4Route/${route.namespace}/${route.name}`;
const gatewayOf = ({ gateway }: PolicySet): string => `gateway ${gateway.namespace}/${gateway.name}`;

/** `tcp api.example.com:443`, as messages name a destination. */
export const destinationOf = ({ transport, host, address, port }: ConnectionFacts): string =>
  `${transport === 'UDP' ? 'udp ' : ''}${host ?? (address?.includes(':') ? `[${address}]` : address)}:${port}`;

/** A decision but for where the connection arrives. */
type Verdict = Omit<ConnectionDecision, 'handling' | 'listener' | 'revision'>;

const refusal = (reason: string, message: string, more: Partial<Verdict> = {}): Verdict => ({
  verdict: 'Denied',
  reason,
  message,
  status: 403,
  route: '',
  rule: -1,
  policies: [],
  engine: false,
  ...more,
});

const byPolicy = ({ policy, status, message }: Denial, route: string, rule = -1): Verdict =>
  refusal('DeniedByPolicy', message || `EgressDenyPolicy ${policy} denies what ${route} allows.`, {
    route,
    rule,
    status,
    policies: [`EgressDenyPolicy/${policy}`],
  });

const arrive = (set: PolicySet, group: Group | undefined, verdict: Verdict, by?: { readonly listeners: readonly string[] }): ConnectionDecision => ({
  ...verdict,
  handling: group ? HANDLING[group.shape] : 'refuse',
  listener: group?.names.find((name) => by?.listeners.includes(name)) ?? group?.names[0] ?? '',
  revision: set.revision,
});

/** What of the facts is no destination at all; nobody asks about such a one but by mistake. */
const problemOf = ({ host, address, port }: ConnectionFacts): string | undefined => {
  if ((host === undefined) === (address === undefined)) return 'A connection goes either to a name or to an address.';
  if (host !== undefined && (host.includes(':') || canonicalHost(host) !== host)) return `${JSON.stringify(host)} is not a host name in canonical form.`;
  if (address !== undefined && !parseAddress(address)) return `${JSON.stringify(address)} is not an IPv4 or IPv6 address.`;
  return Number.isInteger(port) && port > 0 && port < 65_536 ? undefined : `${port} is not a port.`;
};

/** How a route matches: its first rule with a match that holds, and of that rule's matches the most special ones. */
interface RouteMatch {
  readonly route: L4Route;
  readonly rule: L4Rule;
  readonly entries: readonly Entry[];
  readonly breadth: number;
}

const matchOf = (entries: readonly Entry[], host: string | undefined): RouteMatch => {
  const { route, rule } = entries.reduce((first, entry) => (entry.rule.index < first.rule.index ? entry : first));
  const ofRule = entries.filter((entry) => entry.rule === rule);
  const breadth = Math.min(...ofRule.map((entry) => breadthOf(entry, host)));
  return { route, rule, entries: ofRule.filter((entry) => breadthOf(entry, host) === breadth), breadth };
};

/** Routes with a match that holds, the one that decides first: the most special, then the oldest, then by name. */
const matchesOf = (holding: readonly Entry[], host: string | undefined): readonly RouteMatch[] => {
  const byRoute = Map.groupBy(holding, ({ route }) => route);
  return [...byRoute.values()].map((entries) => matchOf(entries, host)).sort((a, b) => a.breadth - b.breadth || compareRoutes(a.route, b.route));
};

/** CIDRs that what the name resolves to must be in: of all matches together, unless one of them asks for none. */
const rangesOfMatch = ({ entries }: RouteMatch): readonly string[] | undefined =>
  entries.every(({ match }) => match.cidrs) ? [...new Set(entries.flatMap(({ match }) => match.cidrs ?? []))] : undefined;

const applyMatches = (matches: readonly RouteMatch[], facts: ConnectionFacts): Verdict => {
  const denied = matches.find(({ route }) => route.denied);
  if (denied) return byPolicy(denied.route.denied!, l4Name(denied.route), denied.rule.index);
  const [first] = matches as readonly [RouteMatch, ...RouteMatch[]];
  const [route, rule] = [l4Name(first.route), first.rule.index];
  const { refused } = first.rule;
  if (refused) return refusal(refused.reason, `Rule ${rule} of ${route} lets nothing through: ${refused.message}`, { route, rule });
  const ranges = facts.host === undefined ? undefined : rangesOfMatch(first);
  const message = `Rule ${rule} of ${route} allows it.`;
  return { verdict: 'Allowed', reason: 'Allowed', message, status: 200, route, rule, policies: [], engine: false, ...(ranges && { ranges }) };
};

/** Whether allow-all goes for a connection: over UDP only to names, on a port that a listener names, because each (address, port) is relayed apart. */
const isOpen = (set: PolicySet, { transport, host, port }: ConnectionFacts): boolean =>
  set.defaultPolicy === 'allow-all' &&
  (transport === 'TCP' || (host !== undefined && set.listeners.some((listener) => listener.shape === 'udp' && listener.port === port)));

/** The verdict when no route matches. */
const byDefault = (set: PolicySet, facts: ConnectionFacts, candidates: readonly Entry[], { names }: Group): Verdict => {
  const to = destinationOf(facts);
  const misses = candidates.map((entry) => missOf(entry, facts, names));
  if (facts.address !== undefined && isForbiddenAlias(facts.address))
    return refusal('ForbiddenAddress', `${to} is an address no gateway ever dials (this host, link-local or metadata, carrier NAT, multicast or reserved).`);
  if (facts.address !== undefined && isPrivate(facts.address) && (isOpen(set, facts) || misses.includes('Private')))
    return refusal('ForbiddenAddress', `${to} is a private address: an EgressL4Route must name its range in destinationCIDRs.`);
  if (isOpen(set, facts)) {
    const message = `No route matches ${to}, and defaultPolicy of ${gatewayOf(set)} is allow-all.`;
    return { ...refusal('DefaultPolicy', message), verdict: 'Allowed', status: 200 };
  }
  const tooWide = candidates[misses.indexOf('UdpTooWide')];
  if (tooWide)
    return refusal('UnsupportedValue', `Rule ${tooWide.rule.index} of ${l4Name(tooWide.route)} is too wide for UDP: it must name at most 64 ports.`, {
      route: l4Name(tooWide.route),
      rule: tooWide.rule.index,
    });
  return refusal('NoRoute', `No route of ${gatewayOf(set)} admits ${to}.`);
};

/** Server name and dialled address must mean the same; undefined when they do. */
const mismatchOf = (facts: ConnectionFacts, handling: Handling): Pick<Verdict, 'reason' | 'message'> | undefined => {
  const { host, sni, hidden } = facts;
  const said = sni === undefined ? 'no server name' : `server name ${JSON.stringify(sni.slice(0, 253))}`;
  if (handling === 'passthrough') {
    if (hidden)
      return { reason: 'HiddenServerName', message: 'The client hello hides its server name (encrypted_client_hello), so nobody can tell where it goes.' };
    if (host === undefined || sni === host) return undefined;
    return { reason: 'ServerNameMismatch', message: `The client hello has ${said}, but the dialled address stands for ${host}.` };
  }
  if (handling !== 'terminate') return undefined;
  if (host !== undefined)
    return sni === host ? undefined : { reason: 'AddressMismatch', message: `The client hello has ${said}, but the dialled address stands for ${host}.` };
  if (sni !== undefined && !sni.includes(':') && canonicalHost(sni) === sni) return undefined;
  return { reason: 'AddressMismatch', message: `The client hello has ${said}; TLS to an address is read only with the host name its upstream is verified by.` };
};

const onlyForClaimants = (set: PolicySet, host: string, port: number, claimants: Claimants): Verdict => {
  const route = nameOfRoute(inOrder(claimants)[0]!);
  const ports = judgedPorts(set, host);
  const where = ports.length === 0 ? 'no request gets through to it' : `it is reached by TLS on port ${ports.join(' or ')} with its name`;
  const how = `${where}, at a listener that terminates TLS and that the route is attached to, and not at port ${port} like this`;
  return refusal('ClaimedHost', `${route} claims ${host}: ${how}.`, { route });
};

/** A claimed name: its routes judge each request, or nothing gets through. */
const decideClaimed = (set: PolicySet, facts: ConnectionFacts, claimants: Claimants, group: Group | undefined): ConnectionDecision => {
  const at = facts.transport === 'TCP' && facts.speaks === 'tls' ? judgingAt(set, facts.host!, facts.port) : undefined;
  if (!at) return arrive(set, group, onlyForClaimants(set, facts.host!, facts.port, claimants));
  const first = inOrder(at)[0]!;
  const route = nameOfRoute(first);
  const mismatch = mismatchOf(facts, 'terminate');
  if (mismatch) return arrive(set, at.group, refusal(mismatch.reason, mismatch.message, { status: 421, route }), first);
  const message = `${route} claims ${destinationOf(facts)}; each request is judged by it.`;
  return arrive(set, at.group, { ...refusal('Allowed', message, { route, engine: true }), verdict: 'Allowed', status: 200 }, first);
};

/** TLS to an address whose server name is one that routes claim: the claim goes for the name, however its address was learned. */
const decideServerName = (set: PolicySet, { address, sni, port }: ConnectionFacts, handling: Handling): Verdict | undefined => {
  if (address === undefined || sni === undefined || (handling !== 'terminate' && handling !== 'passthrough')) return undefined;
  const name = canonicalHost(sni) ?? sni.toLowerCase();
  const claimants = claimantsOf(set, name);
  return claimants && onlyForClaimants(set, name, port, claimants);
};

const NOTHING = { tls: 'TLS', plain: 'cleartext' } as const;
const noListener = (set: PolicySet, facts: ConnectionFacts): Verdict => {
  const { transport, port, speaks } = facts;
  const there = groupsAt(set, transport, port).flatMap(({ names }) => names);
  const what = transport === 'UDP' ? 'UDP' : NOTHING[speaks];
  const which = there.length > 0 ? `; only ${there.join(', ')} may take port ${port}` : '';
  return refusal('NoListener', `No listener of ${gatewayOf(set)} takes ${what} to port ${port}${which}.`);
};

const candidatesFor = (set: PolicySet, { host, address }: ConnectionFacts): readonly Entry[] =>
  host === undefined ? entriesForAddress(set, parseAddress(address!)!) : entriesForHost(set, host);

/** The listeners a connection is for: the first that can carry it with a route about its destination, whoever the agent is; else the first. */
export const groupFor = (set: PolicySet, facts: ConnectionFacts): Group | undefined => {
  const groups = carriersOf(set, facts);
  if (groups.length < 2) return groups[0];
  const around = facts.host === undefined ? candidatesFor(set, facts) : entriesAround(set, facts.host);
  const relevant = around.filter(({ match }) => (match.protocol ?? facts.transport) === facts.transport && coversPort(match.ports, facts.port));
  return groups.find(({ names }) => relevant.some(({ route }) => route.listeners.some((name) => names.includes(name)))) ?? groups[0];
};

/**
 * Judges one connection. On a listener that reads HTTP the verdict is that of any request to that host, unless `engine` says that each
 * is judged. A function of its input; the indexes behind it are kept as long as the set.
 */
export const decideConnection = (set: PolicySet, facts: ConnectionFacts): ConnectionDecision => {
  const problem = problemOf(facts);
  if (problem !== undefined) return arrive(set, undefined, refusal('InvalidDestination', problem));
  const group = groupFor(set, facts);
  const claimants = facts.host === undefined ? undefined : claimantsOf(set, facts.host);
  if (claimants) return decideClaimed(set, facts, claimants, group);
  if (!group) return arrive(set, undefined, noListener(set, facts));
  if (facts.address !== undefined && facts.own?.includes(facts.address))
    return arrive(set, group, refusal('ForbiddenAddress', `${destinationOf(facts)} is an address of the worker itself, which no gateway ever dials.`));
  const candidates = candidatesFor(set, facts);
  const matches = matchesOf(
    candidates.filter((entry) => missOf(entry, facts, group.names) === undefined),
    facts.host,
  );
  const verdict = matches.length > 0 ? applyMatches(matches, facts) : byDefault(set, facts, candidates, group);
  // A denial may be that of a route that would not have come first.
  const deciding = matches.find(({ route }) => l4Name(route) === verdict.route) ?? matches[0];
  if (verdict.verdict === 'Denied') return arrive(set, group, verdict, deciding?.route);
  const handling = HANDLING[group.shape];
  const claimed = decideServerName(set, facts, handling);
  const mismatch = facts.transport === 'TCP' && facts.speaks === 'tls' ? mismatchOf(facts, handling) : undefined;
  if (claimed) return arrive(set, group, claimed, matches[0]?.route);
  if (mismatch) return arrive(set, group, { ...verdict, ...mismatch, verdict: 'Denied', status: 421 }, matches[0]?.route);
  return arrive(set, group, withCredential(set, facts, handling, matches[0], verdict), matches[0]?.route);
};

/**
 * The credential of the gateway, where it goes: into requests to a name that some route names, whose upstream proves that name.
 * Whatever nobody named (allow-all, a range, a match without hosts) gets none.
 */
const withCredential = (set: PolicySet, facts: ConnectionFacts, handling: Handling, match: RouteMatch | undefined, verdict: Verdict): Verdict => {
  const { credential } = set;
  if (!credential || handling !== 'terminate' || facts.host === undefined || !match?.entries.every((entry) => entry.match.hosts)) return verdict;
  const policies = [...verdict.policies, `CredentialInjectionPolicy/${credential.policy}`];
  const missing = credentialProblem(credential, facts.host);
  if (missing === undefined) return { ...verdict, policies, credential };
  const message = `${destinationOf(facts)} needs a credential that cannot be injected (${missing}); see CredentialInjectionPolicy ${credential.policy}.`;
  return refusal(missing, message, { status: 503, route: verdict.route, rule: verdict.rule, policies });
};

/** What takes a connection, whatever becomes of it. */
export const handlingOf = (set: PolicySet, facts: ConnectionFacts): Handling => decideConnection(set, facts).handling;
