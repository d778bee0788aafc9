import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EgressGateway } from '#api';
import type { ConnectionFacts, PolicySet } from '#model';
import { admitsName, cidrTargets, coversHost, decideConnection, explainConnection, handlingOf, namesOf, rawTargets, udpTargets, type Target } from '#policy';
import { compile, denyPolicy, gateway, l4Route, mcpRoute, route, type L4MatchSpec } from './objects.ts';
import { ADDRESSES, HOSTS, PATTERNS, RANGES, reference, TEAMS, type Ip, type World } from './reference.ts';

/** Random policies, and every connection of a small world: names, addresses, ports, speakers, agents. */

const PORTS = [443, 80, 5432, 53];
const AGENTS = Object.keys(TEAMS);

const listener = fc.record(
  {
    kind: fc.constantFrom(
      { protocol: 'TLS', tls: { mode: 'Terminate' } } as const,
      { protocol: 'TLS', tls: { mode: 'Passthrough' } } as const,
      { protocol: 'HTTPS' } as const,
      { protocol: 'HTTP' } as const,
      { protocol: 'TCP' } as const,
      { protocol: 'UDP' } as const,
    ),
    port: fc.constantFrom(443, 5432, 53),
  },
  { requiredKeys: ['kind'] },
);
const match: fc.Arbitrary<L4MatchSpec> = fc.record(
  {
    destinationHostnames: fc.uniqueArray(fc.constantFrom(...HOSTS, ...PATTERNS), { maxLength: 2 }),
    destinationCIDRs: fc.uniqueArray(fc.constantFrom(...Object.keys(RANGES)), { maxLength: 2 }),
    ports: fc.array(fc.constantFrom({ port: 443 }, { port: 5432 }, { port: 53 }, { startPort: 1, endPort: 64 }, { startPort: 80, endPort: 9000 }), {
      maxLength: 2,
    }),
    protocol: fc.constantFrom('TCP', 'UDP'),
    sourceAgents: fc.constantFrom({ matchLabels: { team: 'x' } }, { matchLabels: { team: 'y' } }),
  },
  { requiredKeys: [] },
);
const rule = fc
  .record({ matches: fc.array(match, { maxLength: 2 }), refused: fc.integer({ min: 0, max: 9 }) })
  .map(({ matches, refused }) => ({ matches, ...(refused === 0 && { backendRefs: [{ group: 'clrk.apoxy.dev', kind: 'Backend', name: 'b' }] }) }));
const YEARS = ['2024-01-01T00:00:00Z', '2025-01-01T00:00:00Z'];

const world: fc.Arbitrary<World> = fc.array(listener, { minLength: 1, maxLength: 4 }).chain((listeners) => {
  const names = listeners.map((_, index) => `l${index}`);
  const section = fc.option(fc.constantFrom(...names), { nil: undefined });
  const spec = (sectionName: string | undefined) => ({ kind: 'EgressGateway', name: 'egress', ...(sectionName !== undefined && { sectionName }) });
  return fc
    .record({
      open: fc.boolean(),
      routes: fc.array(
        fc.record({
          section,
          created: fc.constantFrom(...YEARS),
          rules: fc.array(rule, { minLength: 1, maxLength: 2 }),
          denied: fc.integer({ min: 0, max: 7 }),
        }),
        { maxLength: 4 },
      ),
      ai: fc.option(
        section.map((sectionName) => (sectionName === undefined ? {} : { sectionName })),
        { nil: undefined },
      ),
      mcp: fc.boolean(),
    })
    .map(({ open, routes, ai, mcp }) => ({
      gateway: gateway({
        defaultPolicy: open ? 'allow-all' : 'deny-all',
        listeners: listeners.map(({ kind, port }, index) => ({
          name: names[index]!,
          ...kind,
          ...(port !== undefined && { port }),
        })) as EgressGateway['spec']['listeners'],
      }),
      l4Routes: routes.map(({ section: sectionName, created, rules }, index) =>
        l4Route({ parentRefs: [spec(sectionName)], rules: rules as never }, `r${index}`, created),
      ),
      denied: routes.flatMap(({ denied }, index) => (denied === 0 ? [`r${index}`] : [])),
      ...(ai && { ai }),
      mcp,
    }));
});

const compiled = ({ gateway: gw, l4Routes, denied, ai, mcp }: World): PolicySet =>
  compile({
    gateway: gw,
    l4Routes,
    aiRoutes: ai ? [route({ parentRefs: [{ kind: 'EgressGateway', name: 'egress', ...ai }] })] : [],
    mcpRoutes: mcp ? [mcpRoute({ hostnames: ['mcp.test'] })] : [],
    credentialPolicies: [],
    denyPolicies: denied.map((name) => denyPolicy({ targetRef: { group: '', kind: 'EgressL4Route', name } }, `deny-${name}`)),
    exists: (kind) => kind !== 'Backend',
    agents: new Map(AGENTS.map((agent) => [agent, [{ team: TEAMS[agent]! }]])),
  }).policySet;

const destinations = [...HOSTS.map((host) => ({ host })), ...(Object.keys(ADDRESSES) as Ip[]).map((address) => ({ address }))];
const FACTS: readonly ConnectionFacts[] = destinations.flatMap((destination) =>
  PORTS.flatMap((port) =>
    AGENTS.flatMap((agent): ConnectionFacts[] => {
      const base = { agent, port, ...destination };
      const snis = 'host' in destination ? [destination.host, 'b.test'] : ['x.test', 'api.openai.com', 'mcp.test'];
      return [
        { ...base, transport: 'UDP', speaks: 'plain' },
        { ...base, transport: 'TCP', speaks: 'plain' },
        { ...base, transport: 'TCP', speaks: 'tls' },
        ...snis.map((sni): ConnectionFacts => ({ ...base, transport: 'TCP', speaks: 'tls', sni })),
      ];
    }),
  ),
);

const roundTrip = (set: PolicySet): PolicySet => JSON.parse(JSON.stringify(set)) as PolicySet;

/** Which kind of route judges requests to a host. */
const JUDGED_BY: Readonly<Record<string, string>> = { 'api.openai.com': 'AIProviderRoute/', 'mcp.test': 'MCPRoute/' };

test('decisions are those of the naive reading', () => {
  fc.assert(
    fc.property(world, (of) => {
      const set = roundTrip(compiled(of));
      for (const facts of FACTS) {
        const expected = reference(of, facts);
        const { verdict, reason, handling, listener, route: by, rule: index, ranges, engine } = decideConnection(set, facts);
        expect({ facts, reason, handling, listener, route: by, rule: index, ranges }).toEqual({ facts, ...expected, ...unrouted(expected, by, index) });
        expect(verdict).toBe(['Allowed', 'DefaultPolicy'].includes(reason) ? 'Allowed' : 'Denied');
        expect(engine).toBe(verdict === 'Allowed' && facts.host !== undefined && by.startsWith(JUDGED_BY[facts.host] ?? 'none'));
      }
    }),
    { numRuns: 150 },
  );
}, 60_000);

/** Which rule is too wide for UDP is told, not decided by. */
const unrouted = (expected: { readonly reason: string; readonly route: string }, by: string, index: number) =>
  expected.reason === 'UnsupportedValue' && expected.route === '' ? { route: by, rule: index } : {};

const covers = (targets: readonly Target[], { host, address, port, agent }: ConnectionFacts): boolean =>
  targets.some(
    ({ hosts, cidrs, ports, agents }) =>
      ports.some(({ from, to }) => from <= port && port <= to) &&
      (!agents || agents.includes(agent)) &&
      (host !== undefined ? hosts.includes('*') || coversHost(hosts, host) : cidrs.some((range) => RANGES[range]!.includes(address as Ip))),
  );

test('names and targets follow from the decisions', () => {
  fc.assert(
    fc.property(world, (of) => {
      const set = compiled(of);
      const [raw, udp, seen, names] = [rawTargets(set), udpTargets(set), cidrTargets(set), namesOf(set)];
      const plain = of.l4Routes.every(({ spec }) =>
        spec.rules.every(({ matches = [] }) => matches.every(({ destinationHostnames: hosts = [] }) => hosts.every((host) => !host.startsWith('*')))),
      );
      const tcpAlone = of.gateway.spec.listeners.every(({ protocol }) => protocol === 'TCP' || protocol === 'UDP');
      for (const facts of FACTS) {
        const { verdict, reason, handling } = decideConnection(set, facts);
        const allowed = verdict === 'Allowed';
        if (facts.host !== undefined) {
          const admitted = admitsName(set, facts.agent, facts.host);
          if (allowed) expect([facts, admitted]).toEqual([facts, true]);
          if (admitted) expect(names.any || coversHost([...names.exact, ...names.suffixes], facts.host)).toBe(true);
        } else if (allowed) {
          expect([
            facts,
            covers(
              seen.filter(({ transport }) => transport === facts.transport).map(({ cidr, ...target }) => ({ ...target, hosts: [], cidrs: [cidr] })),
              facts,
            ),
          ]).toEqual([facts, true]);
        }
        if (facts.transport === 'UDP') {
          const covered = covers(udp, facts);
          if (allowed) expect([facts, covered]).toEqual([facts, true]);
          else if (covered) expect(['DeniedByPolicy', 'BackendNotFound', 'UnsupportedValue', 'ClaimedHost', 'NotBuilt', 'ForbiddenAddress']).toContain(reason);
          continue;
        }
        if (!allowed) continue;
        const isRaw = (['tls', 'plain'] as const).every((speaks) => handlingOf(set, { ...facts, speaks }) === 'tcp');
        const listed = covers(raw, facts);
        if (listed) expect([facts, handling, isRaw]).toEqual([facts, 'tcp', true]);
        if (isRaw && tcpAlone) expect([facts, listed]).toEqual([facts, true]);
        // Without patterns, names that only routes at tcp listeners name are all there.
        if (isRaw && plain && facts.host !== undefined && !names.any) expect([facts, listed]).toEqual([facts, true]);
      }
    }),
    { numRuns: 150 },
  );
}, 60_000);

test('an explanation has the same decision, and a reason for every match that does not hold', () => {
  fc.assert(
    fc.property(world, fc.constantFrom(...FACTS), (of, facts) => {
      const set = compiled(of);
      const { decision, missed } = explainConnection([set], facts);
      expect(decision).toEqual(decideConnection(set, facts));
      for (const { why } of missed) expect(why).toMatch(/\S\.$/);
      if (decision.verdict !== 'Denied' || !['NoRoute', 'NoListener'].includes(decision.reason)) return;
      const matches = set.l4Routes.flatMap(({ rules }) => rules.flatMap((one) => one.matches));
      expect(missed.filter(({ route: by, match: index }) => by.startsWith('EgressL4Route') && index >= 0)).toHaveLength(matches.length);
    }),
    { numRuns: 500 },
  );
}, 60_000);

test('a thousand routes with fifty names each: compiling and judging take no time that grows with both', () => {
  const l4Routes = Array.from({ length: 1000 }, (_, index) =>
    l4Route({ rules: [{ matches: [{ destinationHostnames: Array.from({ length: 50 }, (__, host) => `h${host}.r${index}.test`) }] }] }, `r${index}`),
  );
  const listeners = gateway({ listeners: [{ name: 'tcp', protocol: 'TCP' }] });
  const start = performance.now();
  const set = compile({ gateway: listeners, aiRoutes: [], credentialPolicies: [], l4Routes }).policySet;
  for (let index = 0; index < 10_000; index++) {
    const host = `h${index % 50}.r${index % 1000}.test`;
    const facts: ConnectionFacts = { agent: 'demo/a', transport: 'TCP', port: 443, host, speaks: 'plain' };
    expect(decideConnection(set, facts).route).toBe(`EgressL4Route/demo/r${index % 1000}`);
    expect(admitsName(set, 'demo/a', host)).toBe(true);
  }
  expect(rawTargets(set)).toHaveLength(1);
  // Asking each route about each name takes minutes.
  expect(performance.now() - start).toBeLessThan(5_000);
}, 60_000);
