import { describe, expect, test } from 'vitest';
import type { ConnectionFacts, PolicySet } from '#model';
import { explainConnection, explainRequest, type Explanation, type RequestQuestion } from '#policy';
import { compile, gateway, l4Route, mcpRoute, route, type L4MatchSpec } from './objects.ts';

const TERM = { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } } as const;
const DB = { name: 'db', protocol: 'TCP', port: 5432 } as const;
const agents = new Map([
  ['demo/a', [{ team: 'x' }]],
  ['demo/b', [{ team: 'y' }]],
]);
const setOf = (match: L4MatchSpec, more: object = {}, name = 'egress'): PolicySet => {
  const gw = gateway({ listeners: [TERM, DB] });
  return compile({
    gateway: { ...gw, metadata: { ...gw.metadata, name } },
    aiRoutes: [],
    credentialPolicies: [],
    agents,
    l4Routes: [l4Route({ parentRefs: [{ kind: 'EgressGateway', name }], rules: [{ matches: [match] }] })],
    ...more,
  }).policySet;
};
const facts = (more: Partial<ConnectionFacts>): ConnectionFacts => ({ agent: 'demo/a', transport: 'TCP', port: 5432, speaks: 'plain', ...more });
const why = ({ missed }: Explanation): string => missed.find(({ route: by }) => by.startsWith('EgressL4Route'))!.why;

describe('every reason says what, why, and how to mend it', () => {
  test.each<[string, L4MatchSpec, Partial<ConnectionFacts>, RegExp]>([
    ['a name', { destinationHostnames: ['a.test'] }, { host: 'b.test' }, /^spec\.rules\[0\]\.matches\[0\]\.destinationHostnames is a\.test; add b\.test\.$/],
    [
      'depth',
      { destinationHostnames: ['*.test'] },
      { host: 'x.y.test' },
      /has \*\.test, and \* stands for exactly one label; add x\.y\.test or \*\.y\.test\.$/,
    ],
    ['the name below the star', { destinationHostnames: ['*.b.test'] }, { host: 'b.test' }, /\*\.b\.test does not stand for b\.test itself/],
    ['names only', { destinationHostnames: ['a.test'] }, { address: '1.1.1.1' }, /for names only; to dial 1\.1\.1\.1 .* destinationCIDRs/],
    ['addresses only', { destinationCIDRs: ['1.0.0.0/8'] }, { host: 'b.test' }, /add b\.test to destinationHostnames\.$/],
    ['a range', { destinationCIDRs: ['1.0.0.0/8'] }, { address: '2.2.2.2' }, /destinationCIDRs is 1\.0\.0\.0\/8; none covers 2\.2\.2\.2\.$/],
    ['a private address', {}, { address: '10.0.0.1' }, /10\.0\.0\.1 is private; name it in destinationCIDRs\.$/],
    ['an address nobody dials', { destinationCIDRs: ['0.0.0.0/0'] }, { address: '169.254.169.254' }, /no gateway ever dials/],
    ['a port', { ports: [{ port: 1 }, { startPort: 5, endPort: 9 }] }, { host: 'a.test' }, /ports is 1, 5-9; add port 5432\.$/],
    ['a protocol', { protocol: 'TCP' }, { host: 'a.test', transport: 'UDP' }, /attached to listener term, db, and no listener of the gateway takes UDP/],
    ['an agent', { sourceAgents: { matchLabels: { team: 'y' } } }, { host: 'a.test' }, /selects demo\/b, not demo\/a; give the agent the labels/],
    ['no agent', { sourceAgents: { matchLabels: { team: 'z' } } }, { host: 'a.test' }, /selects no agent, not demo\/a/],
  ])('%s', (_, match, of, expected) => expect(why(explainConnection([setOf(match)], facts(of)))).toMatch(expected));

  test('a listener of another port', () => {
    const parentRefs = [{ kind: 'EgressGateway', name: 'egress', sectionName: 'db' }];
    const set = setOf({}, { l4Routes: [l4Route({ parentRefs })] });
    const explained = explainConnection([set], facts({ host: 'a.test', port: 443, speaks: 'tls', sni: 'a.test' }));
    expect(why(explained)).toBe(
      'The route is attached to listener db, which does not take TCP port 443: listener term does; see parentRefs[].sectionName of the route, and port and protocol of the listeners.',
    );
    expect(explained.steps.at(-1)).toBe('Listener term takes TLS to port 443 (terminate).');
  });

  test('a rule without matches', () => {
    const set = setOf({}, { l4Routes: [l4Route({ rules: [{}] })] });
    expect(explainConnection([set], facts({ host: 'a.test' })).missed).toMatchObject([
      { gateway: 'demo/egress', route: 'EgressL4Route/demo/l4', rule: 0, match: -1, why: 'spec.rules[0] has no matches, so it matches nothing.' },
    ]);
  });

  test('routes of other kinds', () => {
    const set = setOf({}, { aiRoutes: [route()], mcpRoutes: [mcpRoute({ hostnames: ['mcp.test'] })] });
    expect(explainConnection([set], facts({ host: 'a.test' })).missed.map(({ route: by, why: text }) => [by, text])).toEqual([
      ['MCPRoute/demo/mcp', 'It is for mcp.test, not a.test.'],
      ['AIProviderRoute/demo/openai', 'It is for api.openai.com (TLS, port 443), not a.test: no provider of its rules is there.'],
    ]);
  });
});

describe('which gateway', () => {
  const [one, two] = [setOf({ destinationHostnames: ['a.test'] }, {}, 'one'), setOf({ destinationHostnames: ['b.test'] }, {}, 'two')];
  const [cidr, wide] = [setOf({ destinationCIDRs: ['10.0.0.0/8'] }, {}, 'cidr'), setOf({ destinationCIDRs: ['0.0.0.0/0'] }, {}, 'wide')];
  test('the first with a route for the name; what the others miss is told too', () => {
    const explained = explainConnection([one, two], facts({ host: 'b.test' }));
    expect(explained).toMatchObject({ gateway: 'demo/two', decision: { verdict: 'Allowed' }, missed: [{ gateway: 'demo/one' }] });
    expect(explained.steps[0]).toContain('DNS answers b.test: gateway demo/two is the first');
  });
  test('a name of nobody: where it is denied', () => {
    const explained = explainConnection([one, two], facts({ host: 'c.test', port: 443, speaks: 'tls', sni: 'c.test' }));
    expect(explained).toMatchObject({ gateway: 'demo/one', decision: { reason: 'NoRoute', handling: 'terminate' } });
    expect(explained.steps[0]).toContain('only says that it is denied');
    const tcp = compile({ gateway: gateway({ listeners: [DB] }), aiRoutes: [], credentialPolicies: [] }).policySet;
    expect(explainConnection([tcp], facts({ host: 'c.test' })).steps[0]).toContain('NXDOMAIN');
  });
  test('an address: the first with a range that covers it', () => {
    expect(explainConnection([one, cidr, wide], facts({ address: '10.0.0.1' })).gateway).toBe('demo/cidr');
    expect(explainConnection([one, cidr, wide], facts({ address: '1.1.1.1' })).gateway).toBe('demo/wide');
    expect(explainConnection([one, cidr], facts({ address: '1.1.1.1' }))).toMatchObject({ gateway: 'demo/one', decision: { verdict: 'Denied' } });
  });
  test('none at all', () => expect(explainConnection([], facts({ host: 'a.test' })).decision).toMatchObject({ verdict: 'Denied', reason: 'NoGateway' }));
});

describe('requests', () => {
  const ai = route({ rules: [{ matches: [{ provider: 'openai', models: ['gpt-4*'], endpoints: ['/v1/chat/completions'] }] }] });
  const set = setOf({ destinationHostnames: ['a.test'] }, { aiRoutes: [ai] });
  const question: RequestQuestion = {
    agent: 'demo/a',
    scheme: 'https',
    host: 'api.openai.com',
    port: 443,
    method: 'POST',
    path: '/v1/chat/completions',
    model: 'gpt-4o',
  };
  const ask = (more: Partial<RequestQuestion>): Explanation => explainRequest([set], { ...question, ...more });
  test('judged by the route that claims the host', () =>
    expect(ask({}).decision).toMatchObject({ verdict: 'Allowed', rule: 0, handling: 'terminate', listener: 'term' }));
  test.each<[Partial<RequestQuestion>, string, RegExp | undefined]>([
    [{ model: 'o3' }, 'ModelNotAllowed', /spec\.rules\[0\]\.matches\[0\]\.models is gpt-4\*; add o3\.$/],
    [{ path: '/v1/files' }, 'EndpointNotAllowed', /endpoints is \/v1\/chat\/completions; add \/v1\/files\.$/],
    [{ sni: 'other.test' }, 'AddressMismatch', undefined],
    [{ scheme: 'http' }, 'ClaimedHost', undefined],
  ])('%j is refused: %s', (more, reason, expected) => {
    const explained = ask(more);
    expect(explained.decision).toMatchObject({ verdict: 'Denied', reason });
    if (expected) expect(explained.missed[0]!.why).toMatch(expected);
  });
  test('another name is judged as the connection it takes', () =>
    expect(ask({ host: 'a.test' }).decision).toMatchObject({ verdict: 'Allowed', route: 'EgressL4Route/demo/l4' }));
});
