import { describe, expect, test } from 'vitest';
import type { ConnectionFacts, PolicySet } from '#model';
import { admitsName, cidrTargets, decideConnection, namesOf, rawTargets, udpTargets } from '#policy';
import { compile, denyPolicy, gateway, l4Route, mcpRoute, route, type L4MatchSpec } from './objects.ts';

const LISTENERS = {
  term: { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } },
  https: { name: 'https', protocol: 'HTTPS' },
  http: { name: 'http', protocol: 'HTTP' },
  pass: { name: 'pass', protocol: 'TLS', tls: { mode: 'Passthrough' } },
  tcp: { name: 'tcp', protocol: 'TCP' },
  udp: { name: 'udp', protocol: 'UDP' },
} as const;
type Name = keyof typeof LISTENERS;

const at = (...names: (Name | readonly [Name, number])[]) =>
  gateway({
    listeners: names.map((name) => (typeof name === 'string' ? LISTENERS[name] : { ...LISTENERS[name[0]], name: `${name[0]}-${name[1]}`, port: name[1] })),
  });

const NO_AI = { aiRoutes: [], credentialPolicies: [] };
const matching = (...matches: L4MatchSpec[]) => ({ rules: [{ matches }] });
const toSection = (sectionName: string) => ({ parentRefs: [{ kind: 'EgressGateway', name: 'egress', sectionName }] });

const setOf = (listeners: ReturnType<typeof gateway>, ...l4Routes: ReturnType<typeof l4Route>[]): PolicySet =>
  compile({ ...NO_AI, gateway: listeners, l4Routes }).policySet;

const facts = (more: Partial<ConnectionFacts>): ConnectionFacts => ({ agent: 'demo/a', transport: 'TCP', port: 443, speaks: 'tls', ...more });
const tls = (host: string, more: Partial<ConnectionFacts> = {}): ConnectionFacts => facts({ host, sni: host, ...more });
const plain = (host: string, more: Partial<ConnectionFacts> = {}): ConnectionFacts => facts({ host, speaks: 'plain', ...more });
const to = (address: string, more: Partial<ConnectionFacts> = {}): ConnectionFacts => facts({ address, speaks: 'plain', ...more });

const say = (set: PolicySet, of: ConnectionFacts): string => {
  const { verdict, reason, handling, listener } = decideConnection(set, of);
  return `${verdict === 'Allowed' ? 'yes' : 'no'} ${reason} ${handling} ${listener}`.trim();
};

describe('which listener takes a connection', () => {
  const any = l4Route(matching({}));
  test.each<[string, ReturnType<typeof gateway>, ConnectionFacts, string]>([
    ['the highest priority', at('tcp', 'pass', 'term', 'https'), tls('x.test'), 'yes Allowed terminate term'],
    ['cleartext goes by TLS listeners', at('tcp', 'pass', 'term', 'http'), plain('x.test'), 'yes Allowed http http'],
    ['silence is cleartext', at('tcp', 'pass'), plain('x.test'), 'yes Allowed tcp tcp'],
    ['an exact port beats any port', at('term', ['tcp', 443]), tls('x.test'), 'yes Allowed tcp tcp-443'],
    ['and keeps others out, even if it cannot carry', at('tcp', ['http', 443]), tls('x.test'), 'no NoListener refuse'],
    ['another port is not it', at('term', ['tcp', 8443]), tls('x.test'), 'yes Allowed terminate term'],
    ['nothing carries TLS', at('http'), tls('x.test'), 'no NoListener refuse'],
    ['nothing carries UDP', at('tcp'), plain('x.test', { transport: 'UDP' }), 'no NoListener refuse'],
  ])('%s', (_, listeners, of, expected) => expect(say(setOf(listeners, any), of)).toBe(expected));

  test('one without a route for it leaves it to the next', () => {
    const set = setOf(at('term', 'pass', 'tcp'), l4Route({ ...matching({ destinationHostnames: ['db.test'] }), ...toSection('tcp') }));
    expect(say(set, tls('db.test'))).toBe('yes Allowed tcp tcp');
    expect(say(set, tls('other.test'))).toBe('no NoRoute terminate term');
  });

  test('the choice looks at neither agents nor the number of labels', () => {
    const agents = new Map([['demo/b', [{ team: 'x' }]]]);
    const read = l4Route({ ...matching({ destinationHostnames: ['*.test'], sourceAgents: { matchLabels: { team: 'x' } } }), ...toSection('term') });
    const raw = l4Route({ ...matching({}), ...toSection('tcp') }, 'raw');
    const { policySet } = compile({ ...NO_AI, gateway: at('term', 'tcp'), l4Routes: [read, raw], agents });
    expect(say(policySet, tls('a.test'))).toBe('no NoRoute terminate term');
    expect(say(policySet, tls('a.test', { agent: 'demo/b' }))).toBe('yes Allowed terminate term');
    expect(say(policySet, tls('b.a.test', { agent: 'demo/b' }))).toBe('no NoRoute terminate term');
    expect(say(policySet, tls('a.other'))).toBe('yes Allowed tcp tcp');
  });

  test('equal shapes share it', () => {
    const two = gateway({ listeners: [LISTENERS.tcp, { ...LISTENERS.tcp, name: 'tcp2' }] });
    const set = setOf(two, l4Route({ ...matching({ destinationHostnames: ['db.test'] }), ...toSection('tcp2') }));
    expect(say(set, plain('db.test'))).toBe('yes Allowed tcp tcp2');
  });
});

describe('matches', () => {
  test.each<[string, L4MatchSpec, ConnectionFacts, boolean]>([
    ['an exact name', { destinationHostnames: ['a.test'] }, plain('a.test'), true],
    ['another name', { destinationHostnames: ['a.test'] }, plain('b.test'), false],
    ['a name below', { destinationHostnames: ['a.test'] }, plain('x.a.test'), false],
    ['one label for the star', { destinationHostnames: ['*.a.test'] }, plain('x.a.test'), true],
    ['two labels', { destinationHostnames: ['*.a.test'] }, plain('x.y.a.test'), false],
    ['no label', { destinationHostnames: ['*.a.test'] }, plain('a.test'), false],
    ['a name is not an address', { destinationHostnames: ['a.test'] }, to('93.184.216.34'), false],
    ['a range', { destinationCIDRs: ['93.184.0.0/16'] }, to('93.184.216.34'), true],
    ['outside the range', { destinationCIDRs: ['93.184.0.0/16'] }, to('93.185.216.34'), false],
    ['one address', { destinationCIDRs: ['93.184.216.34'] }, to('93.184.216.34'), true],
    ['a range is not a name', { destinationCIDRs: ['0.0.0.0/0'] }, plain('a.test'), false],
    ['IPv6', { destinationCIDRs: ['2606:4700::/32'] }, to('2606:4700::1111'), true],
    ['IPv6 outside', { destinationCIDRs: ['2606:4700::/32'] }, to('2606:4701::1111'), false],
    ['a private address that is named', { destinationCIDRs: ['10.40.0.0/16'] }, to('10.40.1.2'), true],
    ['a ULA that is named', { destinationCIDRs: ['fd12::/16'] }, to('fd12::1'), true],
    ['any name', {}, plain('a.test'), true],
    ['any public address', {}, to('1.1.1.1'), true],
    ['one port', { ports: [{ port: 443 }] }, plain('a.test'), true],
    ['another port', { ports: [{ port: 444 }] }, plain('a.test'), false],
    ['a port of a range', { ports: [{ port: 1 }, { startPort: 400, endPort: 443 }] }, plain('a.test'), true],
    ['past the range', { ports: [{ startPort: 400, endPort: 442 }] }, plain('a.test'), false],
    ['the protocol', { protocol: 'TCP' }, plain('a.test'), true],
  ])('%s', (_, match, of, allowed) => expect(decideConnection(setOf(at('tcp'), l4Route(matching(match))), of).verdict).toBe(allowed ? 'Allowed' : 'Denied'));

  test('a rule without matches matches nothing', () => expect(say(setOf(at('tcp'), l4Route({ rules: [{}] })), plain('a.test'))).toBe('no NoRoute tcp tcp'));

  test('sourceAgents: labels of agents; an empty selector is every agent', () => {
    const agents = new Map([
      ['demo/a', [{ team: 'x' }]],
      ['demo/b', [{ team: 'y' }]],
      ['demo/both', [{ team: 'x' }, { team: 'y' }]],
    ]);
    const of = (sourceAgents: L4MatchSpec['sourceAgents']) =>
      compile({ ...NO_AI, agents, gateway: at('tcp'), l4Routes: [l4Route(matching({ sourceAgents }))] }).policySet;
    const allowed = (sourceAgents: L4MatchSpec['sourceAgents']): string[] =>
      [...agents.keys(), 'demo/unknown'].filter((agent) => decideConnection(of(sourceAgents), plain('a.test', { agent })).verdict === 'Allowed');
    expect(allowed({ matchLabels: { team: 'x' } })).toEqual(['demo/a']);
    expect(allowed({ matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['x'] }] })).toEqual(['demo/b']);
    expect(allowed({ matchExpressions: [{ key: 'team', operator: 'Exists' }] })).toEqual(['demo/a', 'demo/b', 'demo/both']);
    expect(allowed({ matchExpressions: [{ key: 'owner', operator: 'DoesNotExist' }] })).toEqual(['demo/a', 'demo/b', 'demo/both']);
    expect(allowed({})).toEqual(['demo/a', 'demo/b', 'demo/both', 'demo/unknown']);
    expect(allowed({ matchLabels: { team: 'nobody' } })).toEqual([]);
  });

  test('a name with ranges: what it resolves to must be in them', () => {
    const set = setOf(at('tcp'), l4Route(matching({ destinationHostnames: ['db.test'], destinationCIDRs: ['10.40.1.9/16'] })));
    expect(decideConnection(set, plain('db.test')).ranges).toEqual(['10.40.0.0/16']);
    expect(say(set, to('10.40.1.2'))).toBe('no NoRoute tcp tcp');
  });

  test('of several matches of a rule the most special ones decide, together', () => {
    const ranges = (...matches: L4MatchSpec[]) => decideConnection(setOf(at('tcp'), l4Route(matching(...matches))), plain('db.test')).ranges;
    const [ten, eleven] = [
      { destinationHostnames: ['db.test'], destinationCIDRs: ['10.0.0.0/8'] },
      { destinationHostnames: ['db.test'], destinationCIDRs: ['11.0.0.0/8'] },
    ];
    expect(ranges(ten, eleven)).toEqual(['10.0.0.0/8', '11.0.0.0/8']);
    expect(ranges(ten, {})).toEqual(['10.0.0.0/8']);
    expect(ranges(ten, { destinationHostnames: ['*.test'] })).toEqual(['10.0.0.0/8']);
    expect(ranges(ten, { destinationHostnames: ['db.test'] })).toBeUndefined();
  });

  test('who decides: an exact name, a pattern, a range, then anything; then age, then name', () => {
    const named = (name: string, match: L4MatchSpec, created = '2026-01-02T00:00:00Z') => l4Route(matching(match), name, created);
    const old = '2020-01-01T00:00:00Z';
    const set = setOf(
      at('tcp'),
      named('any', {}, old),
      named('wild', { destinationHostnames: ['*.test'] }, old),
      named('b', { destinationHostnames: ['a.test'] }),
      named('a', { destinationHostnames: ['a.test'] }),
      named('older', { destinationHostnames: ['b.test'] }, old),
      named('newer', { destinationHostnames: ['b.test'] }),
      named('range', { destinationCIDRs: ['1.0.0.0/8'] }),
    );
    const by = (of: ConnectionFacts): string => decideConnection(set, of).route;
    expect([plain('a.test'), plain('b.test'), plain('c.test'), plain('c.other'), to('1.1.1.1'), to('2.2.2.2')].map(by)).toEqual(
      ['a', 'older', 'wild', 'any', 'range', 'any'].map((name) => `EgressL4Route/demo/${name}`),
    );
  });
});

describe('addresses nobody may dial', () => {
  const all = setOf(at('tcp'), l4Route(matching({ destinationCIDRs: ['0.0.0.0/0', '::/0'] })));
  test.each([
    '127.0.0.1',
    '169.254.169.254',
    '169.254.170.23',
    '100.100.100.200',
    '198.18.0.1',
    '224.0.0.1',
    '168.63.129.16',
    '::1',
    'fe80::1',
    'fd00:ec2::254',
    'fd20:ce::254',
    '64:ff9b::a9fe:a9fe',
    '::ffff:10.0.0.1',
    'ff02::1',
    '2002:a9fe:a9fe::1',
  ])('%s, though a range covers it', (address) => expect(say(all, to(address))).toBe('no ForbiddenAddress tcp tcp'));
  test('the worker itself', () => {
    expect(say(all, to('8.8.8.8', { own: ['8.8.8.8'] }))).toBe('no ForbiddenAddress tcp tcp');
    expect(say(all, to('8.8.8.8', { own: ['8.8.4.4'] }))).toBe('yes Allowed tcp tcp');
  });
  test('a private one needs a range that names it', () => {
    expect(say(all, to('10.0.0.1'))).toBe('yes Allowed tcp tcp');
    const any = setOf(at('tcp'), l4Route(matching({})));
    expect(say(any, to('10.0.0.1'))).toBe('no ForbiddenAddress tcp tcp');
    expect(decideConnection(any, to('10.0.0.1')).message).toContain('destinationCIDRs');
  });
});

describe('server names', () => {
  const any = l4Route(matching({}, { destinationCIDRs: ['10.0.0.0/8'] }));
  test.each<[string, Name, ConnectionFacts, string]>([
    ['terminate: the same', 'term', tls('a.test'), 'yes Allowed'],
    ['terminate: another', 'term', tls('a.test', { sni: 'b.test' }), 'no AddressMismatch'],
    ['terminate: none', 'term', facts({ host: 'a.test' }), 'no AddressMismatch'],
    ['terminate: an address needs a name to verify', 'term', facts({ address: '10.0.0.1' }), 'no AddressMismatch'],
    ['terminate: an address with a name', 'term', facts({ address: '10.0.0.1', sni: 'b.test' }), 'yes Allowed'],
    ['terminate: a name that is an address', 'term', facts({ address: '10.0.0.1', sni: '10.0.0.1' }), 'no AddressMismatch'],
    ['passthrough: the same', 'pass', tls('a.test'), 'yes Allowed'],
    ['passthrough: another', 'pass', tls('a.test', { sni: 'b.test' }), 'no ServerNameMismatch'],
    ['passthrough: none', 'pass', facts({ host: 'a.test' }), 'no ServerNameMismatch'],
    ['passthrough: an address with none', 'pass', facts({ address: '10.0.0.1' }), 'yes Allowed'],
    ['passthrough: hidden', 'pass', tls('a.test', { hidden: true }), 'no HiddenServerName'],
    ['passthrough: hidden, to an address', 'pass', facts({ address: '10.0.0.1', hidden: true }), 'no HiddenServerName'],
    ['tcp: not looked at', 'tcp', tls('a.test', { sni: 'b.test', hidden: true }), 'yes Allowed'],
  ])('%s', (_, listener, of, expected) => expect(say(setOf(at(listener), any), of)).toMatch(new RegExp(`^${expected} `)));
});

describe('claims', () => {
  const l4Routes = [l4Route(matching({}, { destinationHostnames: ['api.openai.com', 'mcp.test'] }, { destinationCIDRs: ['0.0.0.0/0'] }))];
  const of = (listeners: ReturnType<typeof gateway>) =>
    compile({
      gateway: listeners,
      aiRoutes: [route()],
      mcpRoutes: [mcpRoute({ rules: [{ matches: [{ servers: ['https://mcp.test/*', 'https://*.tools.test:8443/x'] }] }] })],
      l4Routes,
    }).policySet;

  test('an AI host is judged per request, and reached no other way', () => {
    const set = of(at('term', 'http', 'pass', 'tcp', 'udp'));
    expect(decideConnection(set, tls('api.openai.com'))).toMatchObject({
      verdict: 'Allowed',
      engine: true,
      handling: 'terminate',
      route: 'AIProviderRoute/demo/openai',
    });
    expect(say(set, tls('api.openai.com', { sni: 'x.test' }))).toBe('no AddressMismatch terminate term');
    expect(say(set, plain('api.openai.com'))).toBe('no ClaimedHost http http');
    expect(say(set, plain('api.openai.com', { transport: 'UDP' }))).toBe('no ClaimedHost udp udp');
    expect(say(set, plain('api.openai.com', { port: 80 }))).toBe('no ClaimedHost http http');
    expect(say(set, tls('api.openai.com', { port: 8443 }))).toBe('no ClaimedHost terminate term');
    expect(say(of(gateway({ ...at('pass', 'tcp').spec, defaultPolicy: 'allow-all' })), tls('api.openai.com'))).toBe('yes Allowed passthrough pass');
  });
  test('nor by its address with its name in the client hello', () => {
    const set = of(at('term', ['pass', 443]));
    expect(say(set, facts({ address: '1.1.1.1', sni: 'api.openai.com' }))).toBe('no ClaimedHost passthrough pass-443');
    expect(say(set, facts({ address: '1.1.1.1', sni: 'mcp.test' }))).toBe('no ClaimedHost passthrough pass-443');
    expect(say(set, facts({ address: '1.1.1.1', sni: 'x.test' }))).toBe('yes Allowed passthrough pass-443');
  });
  test('a listener for just this port, without the AI route, refuses the host', () => {
    const parentRefs = [{ kind: 'EgressGateway', name: 'egress', sectionName: 'term' }];
    const { policySet } = compile({ gateway: at('term', ['tcp', 443]), aiRoutes: [route({ parentRefs })], l4Routes });
    expect(say(policySet, tls('api.openai.com'))).toBe('no ClaimedHost tcp tcp-443');
  });
  test('hosts of an MCPRoute are judged per request at the ports its servers name, and reached no other way', () => {
    const set = of(at('term', 'tcp'));
    expect(decideConnection(set, tls('mcp.test'))).toMatchObject({ verdict: 'Allowed', engine: true, handling: 'terminate', route: 'MCPRoute/demo/mcp' });
    expect(say(set, plain('mcp.test', { port: 80 }))).toBe('no ClaimedHost tcp tcp');
    expect(say(set, tls('mcp.test', { port: 8443 }))).toBe('no ClaimedHost terminate term');
    expect(say(set, tls('a.tools.test', { port: 8443 }))).toBe('yes Allowed terminate term');
    expect(say(set, tls('a.tools.test', { port: 8443, sni: 'mcp.test' }))).toBe('no AddressMismatch terminate term');
    expect(say(set, tls('a.tools.test'))).toBe('no ClaimedHost terminate term');
    expect(decideConnection(set, tls('a.tools.test')).message).toContain('by TLS on port 8443 with its name');
    expect(say(set, tls('b.a.tools.test'))).toBe('yes Allowed terminate term');
  });
});

describe('what is let through without a route, and what is denied with one', () => {
  const open = (...names: Name[]) => gateway({ ...at(...names).spec, defaultPolicy: 'allow-all' });
  test('allow-all: names and public addresses, on what can carry them', () => {
    const set = setOf(open('term', 'tcp', 'udp'));
    expect(say(set, tls('x.test'))).toBe('yes DefaultPolicy terminate term');
    expect(say(set, plain('x.test'))).toBe('yes DefaultPolicy tcp tcp');
    expect(say(set, to('1.1.1.1'))).toBe('yes DefaultPolicy tcp tcp');
    expect(say(set, to('10.0.0.1'))).toBe('no ForbiddenAddress tcp tcp');
    expect(say(set, to('169.254.169.254'))).toBe('no ForbiddenAddress tcp tcp');
    expect(say(set, plain('x.test', { transport: 'UDP' }))).toBe('no NoRoute udp udp');
    expect(say(compile({ gateway: open('term', 'tcp') }).policySet, plain('api.openai.com'))).toBe('no ClaimedHost tcp tcp');
  });

  test('an EgressDenyPolicy goes before other routes and before allow-all', () => {
    const l4Routes = [l4Route(matching({ destinationHostnames: ['a.test'] }), 'open'), l4Route(matching({}), 'frozen', '2030-01-01T00:00:00Z')];
    const denyPolicies = [denyPolicy({ targetRef: { group: '', kind: 'EgressL4Route', name: 'frozen' }, denyResponse: { statusCode: 451, message: 'No.' } })];
    const { policySet } = compile({ ...NO_AI, gateway: open('tcp'), l4Routes, denyPolicies });
    expect(decideConnection(policySet, plain('a.test'))).toMatchObject({
      verdict: 'Denied',
      reason: 'DeniedByPolicy',
      status: 451,
      message: 'No.',
      route: 'EgressL4Route/demo/frozen',
      policies: ['EgressDenyPolicy/demo/freeze'],
    });
  });

  test('a rule that refers to what is not there refuses what it matches, and what it does not match is not its business', () => {
    const extensionRef = { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'slow' } as const;
    const rules = [{ matches: [{ destinationHostnames: ['a.test'] }], filters: [{ type: 'ExtensionRef', extensionRef }] }, { matches: [{}] }] as const;
    for (const [exists, reason] of [
      [true, 'NotBuilt'],
      [false, 'ExtensionNotFound'],
    ] as const) {
      const { policySet, routes } = compile({ ...NO_AI, gateway: at('tcp'), l4Routes: [l4Route({ rules })], exists: () => exists });
      expect(say(policySet, plain('a.test'))).toBe(`no ${reason} tcp tcp`);
      expect(say(policySet, plain('b.test'))).toBe('yes Allowed tcp tcp');
      expect(routes[0]!.parents[0]!.resolvedRefs).toMatchObject({ status: 'False', reason });
      expect(routes[0]!.parents[0]!.resolvedRefs.message).toContain('spec.rules[0].filters[0].extensionRef');
    }
  });
});

test('UDP: few ports, and names or narrow ranges', () => {
  const udp = (match: L4MatchSpec) => setOf(at('udp'), l4Route(matching({ protocol: 'UDP', ...match })));
  const ask = (match: L4MatchSpec, of: Partial<ConnectionFacts>): string => say(udp(match), facts({ transport: 'UDP', speaks: 'plain', port: 123, ...of }));
  expect(ask({ destinationHostnames: ['*.ntp.test'], ports: [{ port: 123 }] }, { host: 'a.ntp.test' })).toBe('yes Allowed udp udp');
  expect(ask({ destinationCIDRs: ['9.9.9.0/26'], ports: [{ port: 123 }] }, { address: '9.9.9.9' })).toBe('yes Allowed udp udp');
  expect(ask({ destinationCIDRs: ['9.9.9.0/25'], ports: [{ port: 123 }] }, { address: '9.9.9.9' })).toBe('no UnsupportedValue udp udp');
  expect(ask({ destinationHostnames: ['a.test'] }, { host: 'a.test' })).toBe('no UnsupportedValue udp udp');
  expect(ask({ destinationHostnames: ['a.test'], ports: [{ startPort: 100, endPort: 164 }] }, { host: 'a.test' })).toBe('no UnsupportedValue udp udp');
  expect(ask({ ports: [{ port: 123 }] }, { host: 'a.test' })).toBe('no UnsupportedValue udp udp');
});

describe('names and targets', () => {
  test('names that have an address', () => {
    const agents = new Map([['demo/a', [{ team: 'x' }]]]);
    const l4Routes = [
      l4Route(matching({ destinationHostnames: ['a.test', '*.b.test'], sourceAgents: { matchLabels: { team: 'x' } } }, { destinationCIDRs: ['10.0.0.0/8'] })),
      l4Route(matching({ protocol: 'UDP', destinationHostnames: ['udp.test'], ports: [{ port: 1 }] }), 'udp'),
    ];
    const { policySet } = compile({ gateway: at('term'), l4Routes, agents, mcpRoutes: [mcpRoute({ hostnames: ['mcp.test'] })] });
    const names = ['api.openai.com', 'mcp.test', 'a.test', 'x.b.test', 'b.test', 'udp.test', 'other.test'];
    expect(names.filter((name) => admitsName(policySet, 'demo/a', name))).toEqual(['api.openai.com', 'mcp.test', 'a.test', 'x.b.test']);
    expect(names.filter((name) => admitsName(policySet, 'demo/b', name))).toEqual(['api.openai.com', 'mcp.test']);
    expect(namesOf(policySet)).toEqual({ exact: ['a.test', 'api.openai.com', 'mcp.test'], suffixes: ['*.b.test'], globs: [], any: false });
  });

  test('raw: where only tcp listeners have a say', () => {
    expect(rawTargets(setOf(at('tcp')))).toEqual([{ hosts: ['*'], cidrs: ['0.0.0.0/0', '::/0'], ports: [{ from: 1, to: 65_535 }] }]);
    expect(rawTargets(setOf(at('term', ['tcp', 5432])))).toEqual([{ hosts: ['*'], cidrs: ['0.0.0.0/0', '::/0'], ports: [{ from: 5432, to: 5432 }] }]);
    const set = setOf(
      at('term', 'tcp'),
      l4Route({
        ...matching({ destinationHostnames: ['db.test', 'a.test', '*.x.test'] }, { destinationCIDRs: ['10.0.0.0/8', '11.0.0.0/8'] }),
        ...toSection('tcp'),
      }),
      l4Route(
        { ...matching({ destinationHostnames: ['a.test', 'y.x.test'], ports: [{ port: 443 }] }, { destinationCIDRs: ['10.1.0.0/16'] }), ...toSection('term') },
        'read',
      ),
    );
    const but443 = [
      { from: 1, to: 442 },
      { from: 444, to: 65_535 },
    ];
    expect(rawTargets(set)).toEqual([
      { hosts: ['db.test'], cidrs: [], ports: [{ from: 1, to: 65_535 }] },
      { hosts: ['a.test', '*.x.test'], cidrs: [], ports: but443 },
      { hosts: [], cidrs: ['11.0.0.0/8'], ports: [{ from: 1, to: 65_535 }] },
    ]);
  });

  test('ranges, and UDP', () => {
    const l4Routes = [
      l4Route(matching({ destinationCIDRs: ['10.0.0.0/8'], protocol: 'TCP' }, { destinationHostnames: ['a.test'] })),
      l4Route(
        matching(
          { destinationCIDRs: ['9.9.9.9'], destinationHostnames: [], ports: [{ port: 53 }], protocol: 'UDP' },
          { destinationHostnames: ['t.test'], protocol: 'UDP', ports: [{ port: 5 }] },
        ),
        'udp',
      ),
    ];
    const set = setOf(at(['tcp', 5432], ['udp', 53]), ...l4Routes);
    expect(cidrTargets(set)).toEqual([
      { cidr: '10.0.0.0/8', ports: [{ from: 5432, to: 5432 }], transport: 'TCP' },
      { cidr: '9.9.9.9/32', ports: [{ from: 53, to: 53 }], transport: 'UDP' },
    ]);
    expect(udpTargets(set)).toEqual([{ hosts: [], cidrs: ['9.9.9.9/32'], ports: [{ from: 53, to: 53 }] }]);
    const claimed = l4Route(matching({ protocol: 'UDP', destinationHostnames: ['api.openai.com', 'a.test'], ports: [{ port: 443 }] }));
    const { policySet } = compile({ gateway: at('term', 'udp'), aiRoutes: [route()], l4Routes: [claimed] });
    expect(udpTargets(policySet)).toEqual([{ hosts: ['a.test'], cidrs: [], ports: [{ from: 443, to: 443 }] }]);
  });
});
