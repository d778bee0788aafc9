import { describe, expect, test } from 'vitest';
import type { MCPRoute } from '#api';
import type { McpFacts, PolicySet, RequestFacts } from '#model';
import { decide } from '#policy';
import { compile, credentialPolicy, denyPolicy, gateway, mcpRoute, route } from './objects.ts';

type Rules = MCPRoute['spec']['rules'];
type Match = NonNullable<Rules[number]['matches']>[number];
type ToolPolicy = NonNullable<NonNullable<Rules[number]['filters']>[number]['toolPolicy']>;

const SERVER = 'https://mcp.test/mcp';
const setOf = (spec: Partial<MCPRoute['spec']>, more: Parameters<typeof compile>[0] = {}): PolicySet =>
  compile({ aiRoutes: [], credentialPolicies: [], mcpRoutes: [mcpRoute(spec)], ...more }).policySet;
const matching = (...matches: Match[]): PolicySet => setOf({ hostnames: ['mcp.test'], rules: [{ matches }] });
const limited = (toolPolicy: ToolPolicy): PolicySet => setOf({ rules: [{ matches: [{ servers: [SERVER] }], filters: [{ type: 'ToolPolicy', toolPolicy }] }] });

const say = (set: PolicySet, mcp: McpFacts | undefined, facts: Partial<RequestFacts> = {}): string => {
  const decision = decide(set, { host: 'mcp.test', port: 443, method: 'POST', path: '/mcp', ...(mcp && { mcp }), ...facts });
  return decision.verdict === 'Allowed' ? `rule ${decision.rule}` : `${decision.status} ${decision.reason}`;
};
const call = (set: PolicySet, tool: string): string => say(set, { method: 'tools/call', tool });
const read = (set: PolicySet, resource: string, method = 'resources/read'): string => say(set, { method, resource });
const send = (set: PolicySet, method: string): string => say(set, { method });
const at = (set: PolicySet, url: string, mcp: McpFacts = { method: 'tools/list' }): string => {
  const { hostname, port, pathname } = new URL(url);
  return say(set, mcp, { host: hostname, port: port === '' ? 443 : Number(port), path: pathname });
};

const TOOL = '403 ToolNotAllowed';
const METHOD = '403 McpMethodNotAllowed';
const RESOURCE = '403 ResourceNotAllowed';
const SERVERS = '403 EndpointNotAllowed';

describe('which requests a match admits', () => {
  test('one without criteria: every message to the hosts of the route', () => {
    const set = matching({});
    expect([call(set, 'any'), read(set, 'file:///x'), send(set, 'prompts/list'), send(set, 'initialize')]).toEqual(Array(4).fill('rule 0'));
  });

  test('no match, no message', () => expect(say(setOf({ hostnames: ['mcp.test'], rules: [{}] }), { method: 'ping' })).toBe('403 NoRoute'));

  test.each([
    [SERVER, 'https://mcp.test/mcp', true],
    [SERVER, 'https://mcp.test/mcp/', false],
    [SERVER, 'https://mcp.test/other', false],
    ['https://mcp.test', 'https://mcp.test/a/b', true],
    ['https://mcp.test/*', 'https://mcp.test/a/b', true],
    ['https://mcp.test/v*/mcp', 'https://mcp.test/v1/x/mcp', true],
    ['https://mcp.test/v*/mcp', 'https://mcp.test/v1/..%2f..%2fmcp', false],
    ['https://mcp.test/v*/mcp', 'https://mcp.test/v1%5cx/mcp', false],
    ['https://*.mcp.test/mcp', 'https://a.mcp.test/mcp', true],
    ['https://mcp.test:8443/mcp', 'https://mcp.test:8443/mcp', true],
  ])('servers %s, asked %s: %s', (server, url, admitted) =>
    expect(at(setOf({ rules: [{ matches: [{ servers: [server] }] }] }), url)).toBe(admitted ? 'rule 0' : SERVERS),
  );

  test('a server names the only port: 443, or the one in its URL', () => {
    const set = setOf({ rules: [{ matches: [{ servers: ['https://mcp.test:8443/mcp', 'https://two.test/mcp'] }] }] });
    expect(at(set, 'https://mcp.test/mcp')).toBe('403 NoRoute');
    expect(at(set, 'https://two.test:8443/mcp')).toBe('403 NoRoute');
    expect(at(set, 'https://a.b.test/mcp')).toBe('403 NoRoute');
    const both = setOf({ rules: [{ matches: [{ servers: ['https://mcp.test:8443/admin', 'https://mcp.test/mcp'] }] }] });
    expect(['https://mcp.test:8443/admin', 'https://mcp.test/admin', 'https://mcp.test:8443/mcp'].map((url) => at(both, url))).toEqual([
      'rule 0',
      SERVERS,
      SERVERS,
    ]);
  });

  test('hostnames narrow the servers, and stand for them where there are none', () => {
    const set = setOf({ hostnames: ['a.test', '*.b.test'], rules: [{ matches: [{ servers: ['https://*.test/*', 'https://x.b.test/*'] }] }] });
    expect(['https://a.test/', 'https://x.b.test/', 'https://c.test/', 'https://y.b.test/'].map((url) => at(set, url))).toEqual([
      'rule 0',
      'rule 0',
      '403 NoRoute',
      '403 NoRoute',
    ]);
    const all = setOf({ hostnames: ['a.test', '*.b.test'], rules: [{ matches: [{}] }] });
    expect(['https://a.test/', 'https://y.b.test/x', 'https://x.y.b.test/', 'https://a.test:8443/'].map((url) => at(all, url))).toEqual([
      'rule 0',
      'rule 0',
      '403 NoRoute',
      '403 NoRoute',
    ]);
  });

  test('methods', () => {
    const set = matching({ methods: ['tools/*', 'prompts/get'] });
    expect(['tools/list', 'tools/call', 'prompts/get'].map((method) => send(set, method))).toEqual(Array(3).fill('rule 0'));
    expect(['prompts/list', 'resources/read', 'Tools/list'].map((method) => send(set, method))).toEqual(Array(3).fill(METHOD));
  });

  test.each([{ methods: ['x'] }, { tools: ['x'] }, { resources: ['x:y'] }])('what keeps a session, whatever the match names: %j', (match) => {
    const set = matching({ servers: [SERVER], ...match });
    const handshake = ['initialize', 'server/discover', 'ping', 'subscriptions/listen', 'notifications/initialized', 'notifications/cancelled'];
    expect(handshake.map((method) => send(set, method))).toEqual(handshake.map(() => 'rule 0'));
    expect([say(set, {}), say(set, {}, { method: 'GET' }), say(set, undefined, { method: 'DELETE' })]).toEqual(Array(3).fill('rule 0'));
    expect(say(set, { method: 'initialize' }, { path: '/mcp', host: 'other.test' })).toBe('403 NoRoute');
  });

  test.each([{}, { servers: ['https://mcp.test'] }, { servers: ['https://mcp.test/*'] }, { servers: ['https://mcp.test/**'] }])(
    'a match for every path lets only messages through: without one, a request could be for anything the host has: %j',
    (match) => {
      const set = matching({ ...match, tools: ['x'] }, { servers: ['https://mcp.test/sse*'], tools: ['y'] });
      expect(say(set, { method: 'initialize' }, { path: '/v1/keys' })).toBe('rule 0');
      for (const method of ['GET', 'DELETE'])
        expect([say(set, {}, { method, path: '/v1/keys' }), say(set, {}, { method, path: '/sse/1' })]).toEqual(['405 MethodNotAllowed', 'rule 0']);
    },
  );

  test('tools', () => {
    const set = matching({ tools: ['ticket_*', 'docs/read'], toolsRegex: ['^exact$'] });
    expect(['ticket_read', 'docs/read', 'exact'].map((tool) => call(set, tool))).toEqual(Array(3).fill('rule 0'));
    expect(['Ticket_read', 'xticket_read', 'docs/readx', 'exactly', ''].map((tool) => call(set, tool))).toEqual(Array(5).fill(TOOL));
    expect(send(set, 'tools/list')).toBe('rule 0');
    expect(['prompts/list', 'resources/list', 'resources/read', 'logging/setLevel'].map((method) => send(set, method))).toEqual(Array(4).fill(METHOD));
  });

  test('toolsRegex alone', () => {
    const set = matching({ toolsRegex: ['^a'] });
    expect([call(set, 'ab'), call(set, 'ba'), send(set, 'resources/list')]).toEqual(['rule 0', TOOL, METHOD]);
  });

  test('resources', () => {
    const set = matching({ resources: ['file:///docs/*', 'note://one'] });
    expect(['file:///docs/a/b.md', 'file:///docs/%C3%A4', 'file:///docs/a?b=%25..c', 'note://one'].map((uri) => read(set, uri))).toEqual(
      Array(4).fill('rule 0'),
    );
    for (const method of ['resources/subscribe', 'resources/unsubscribe'])
      expect([read(set, 'note://one', method), read(set, 'note://two', method)]).toEqual(['rule 0', RESOURCE]);
    expect(['resources/list', 'resources/templates/list'].map((method) => send(set, method))).toEqual(Array(2).fill('rule 0'));
    expect(['tools/list', 'tools/call', 'prompts/get'].map((method) => send(set, method))).toEqual(Array(3).fill(METHOD));
    expect(send(set, 'resources/read')).toBe(RESOURCE);
  });

  test.each([
    'file:///docs/../etc/passwd',
    'file:///docs/%2e%2e/etc/passwd',
    'file:///docs/..%2fetc/passwd',
    'file:///docs/%252e%252e/etc',
    'file:///docs/..',
    'file:///docs\\..\\etc',
    'file:///docs/..%5cetc',
    'file:///docs/?/../../etc',
    'file:///docs/#/../../etc',
    'file:///docs/..;x/etc',
    'file:///docs/?a=%252e%252e/etc',
    'file:///docs/a b',
    'file:///docs/\u0000',
    'file:///docs/%00',
    'file:///docs/%zz',
    'file:///docs/\ud800',
    'FILE:///docs/a',
  ])('no pattern is about %s', (uri) => expect(read(matching({ resources: ['file:///docs/*'] }), uri)).toBe(RESOURCE));

  test('all that is given must hold, and alternatives are alternatives', () => {
    const set = matching({ methods: ['tools/call'], tools: ['a'] }, { methods: ['tools/call', 'resources/read'], tools: ['b'], resources: ['x:1'] });
    expect([call(set, 'a'), call(set, 'b'), call(set, 'c'), read(set, 'x:1'), read(set, 'x:2'), send(set, 'tools/list')]).toEqual([
      'rule 0',
      'rule 0',
      TOOL,
      'rule 0',
      RESOURCE,
      METHOD,
    ]);
  });

  test('a message of which nothing is known matches nothing that asks for something', () => {
    expect(say(matching({ tools: ['a'] }), undefined)).toBe(METHOD);
    expect(say(matching({}), undefined)).toBe('rule 0');
  });

  test('other methods of HTTP are none of MCP', () => expect(say(matching({}), {}, { method: 'PUT' })).toBe('405 MethodNotAllowed'));
});

describe('rules', () => {
  test('the first that matches decides', () => {
    const [one, two] = [{ matches: [{ servers: [SERVER], tools: ['a*'] }] }, { matches: [{ servers: [SERVER], tools: ['ab', 'c'] }] }];
    const denying = { filters: [{ type: 'ToolPolicy' as const, toolPolicy: { deniedTools: ['ab'] } }] };
    const set = setOf({ rules: [{ ...one, ...denying }, two] });
    expect([call(set, 'aa'), call(set, 'ab'), call(set, 'c'), call(set, 'd')]).toEqual(['rule 0', TOOL, 'rule 1', TOOL]);
  });

  test('an older route goes first', () => {
    const rules: Rules = [{ matches: [{ servers: [SERVER] }], filters: [{ type: 'ToolPolicy', toolPolicy: { deniedTools: ['a'] } }] }];
    const older = mcpRoute({ rules }, 'older', '2025-01-01T00:00:00Z');
    const set = setOf({}, { mcpRoutes: [mcpRoute({ rules: [{ matches: [{ servers: [SERVER] }] }] }), older] });
    expect(call(set, 'a')).toBe(TOOL);
    expect(decide(set, { host: 'mcp.test', port: 443, method: 'POST', path: '/mcp', mcp: { method: 'tools/call', tool: 'b' } })).toMatchObject({
      route: 'MCPRoute/demo/older',
      message: 'Rule 0 of MCPRoute/demo/older allows it.',
    });
  });

  test('one with a reference that is not built lets nothing through, and leaves the session to others', () => {
    const backendRefs = [{ group: 'clrk.apoxy.dev', kind: 'Backend', name: 'b' }];
    const extension = { type: 'ExtensionRef' as const, extensionRef: { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'r' } };
    for (const broken of [{ backendRefs }, { filters: [extension] }]) {
      const set = setOf({ rules: [{ matches: [{ servers: [SERVER], tools: ['a'] }], ...broken }, { matches: [{ servers: [SERVER], tools: ['b'] }] }] });
      expect([call(set, 'a'), call(set, 'b'), send(set, 'initialize')]).toEqual(['403 NotBuilt', 'rule 1', 'rule 1']);
      expect(send(setOf({ rules: [{ matches: [{ servers: [SERVER] }], ...broken }] }), 'initialize')).toBe('403 NotBuilt');
    }
  });
});

describe('ToolPolicy', () => {
  test.each<[string, ToolPolicy, readonly string[], readonly string[]]>([
    ['nothing', {}, ['a', 'b/c'], []],
    ['allowedTools', { allowedTools: ['ticket_*', 'x'] }, ['ticket_a', 'ticket_a/b', 'x'], ['xx', 'Ticket_a', 'a']],
    ['allowedToolsRegex', { allowedToolsRegex: ['^get_[a-z]+$'] }, ['get_it'], ['get_', 'forget_it', 'a']],
    ['both, as one', { allowedTools: ['a'], allowedToolsRegex: ['^b'] }, ['a', 'bb'], ['c']],
    ['deniedTools', { deniedTools: ['*delete*'] }, ['read'], ['delete', 'x/delete/y']],
    ['deniedToolsRegex', { deniedToolsRegex: ['delete|drop'] }, ['read'], ['drop_table', 'undelete']],
    ['denied after allowed', { allowedTools: ['*'], deniedTools: ['a'], deniedToolsRegex: ['^b'] }, ['c'], ['a', 'bb']],
  ])('%s', (_, toolPolicy, allowed, denied) => {
    const set = limited(toolPolicy);
    expect(allowed.map((tool) => call(set, tool))).toEqual(allowed.map(() => 'rule 0'));
    expect(denied.map((tool) => call(set, tool))).toEqual(denied.map(() => TOOL));
    expect([send(set, 'tools/list'), send(set, 'initialize'), read(set, 'x:y')]).toEqual(Array(3).fill('rule 0'));
  });

  test('several: a call must pass all', () => {
    const policies = [{ allowedTools: ['a*'] }, { deniedTools: ['ab'] }];
    const set = setOf({ rules: [{ matches: [{ servers: [SERVER] }], filters: policies.map((toolPolicy) => ({ type: 'ToolPolicy' as const, toolPolicy })) }] });
    expect([call(set, 'aa'), call(set, 'ab'), call(set, 'b')]).toEqual(['rule 0', TOOL, TOOL]);
  });

  test.each<[string, ToolPolicy, readonly string[], readonly string[]]>([
    ['requireConfirmation', { requireConfirmation: ['pay*'] }, ['pay'], ['read']],
    ['rateLimits of some tools', { rateLimits: [{ requests: 5, window: '1m', scope: 'PerAgent', tools: ['a'], toolsRegex: ['^b'] }] }, ['a', 'bb'], ['c']],
    ['rateLimits of all', { rateLimits: [{ requests: 5, window: '1m', scope: 'PerAgent' }] }, ['a', 'b'], []],
  ])('%s is not built: calls it is about are refused', (_, toolPolicy, refused, others) => {
    const set = limited(toolPolicy);
    expect(refused.map((tool) => call(set, tool))).toEqual(refused.map(() => '403 NotBuilt'));
    expect([...others.map((tool) => call(set, tool)), send(set, 'tools/list')]).toEqual([...others.map(() => 'rule 0'), 'rule 0']);
  });
});

describe('what its status says', () => {
  const accepted = (spec: Partial<MCPRoute['spec']>, more: Parameters<typeof compile>[0] = {}) => {
    const { routes, listeners } = compile({ aiRoutes: [], credentialPolicies: [], mcpRoutes: [mcpRoute(spec)], ...more });
    const [parent] = routes[0]!.parents;
    return { ...parent!.accepted, resolvedRefs: parent!.resolvedRefs.reason, attached: listeners.map(({ attachedRoutes }) => attachedRoutes) };
  };

  test('attached, and counted at its listener', () =>
    expect(accepted({ hostnames: ['mcp.test'] })).toEqual({
      status: 'True',
      reason: 'Accepted',
      message: 'Attached to listener tls.',
      resolvedRefs: 'ResolvedRefs',
      attached: [1],
    }));

  test.each<[string, Partial<MCPRoute['spec']>, RegExp]>([
    ['it names no host', {}, /^It claims no host, so nothing gets through: name its hosts in spec\.hostnames, or give URLs/],
    [
      'all its servers are none',
      { rules: [{ matches: [{ servers: ['http://mcp.test/'] }] }] },
      /matches\[0\]\.servers\[0\] "http:\/\/mcp\.test\/" is no URL pattern/,
    ],
    ['all its servers are elsewhere', { hostnames: ['a.test'], rules: [{ matches: [{ servers: [SERVER] }] }] }, /is at no host of spec\.hostnames \(a\.test\)/],
  ])('%s: nothing gets through', (_, spec, message) =>
    expect(accepted(spec)).toMatchObject({
      status: 'False',
      reason: 'UnsupportedValue',
      message: expect.stringMatching(message) as string,
      attached: [expect.any(Number) as number],
    }),
  );

  test('parts that match nothing or are refused are named beside', () => {
    const toolPolicy = { requireConfirmation: ['x'], maxCallsPerExecution: 5 };
    const { status, message } = accepted({
      hostnames: ['mcp.test'],
      rules: [{ matches: [{ servers: [SERVER, 'https://b.test'] }], filters: [{ type: 'ToolPolicy', toolPolicy }] }, {}],
    });
    expect([status, message]).toEqual([
      'True',
      'Attached to listener tls. spec.rules[0].matches[0].servers[1] "https://b.test" is at no host of spec.hostnames (mcp.test). spec.rules[1] has no matches, so it matches nothing. Calls that are about spec.rules[0].filters[0].toolPolicy.requireConfirmation, spec.rules[0].filters[0].toolPolicy.maxCallsPerExecution are refused: they are not built yet.',
    ]);
  });

  test('a reference that is not built, and a port whose listener has not the route', () => {
    expect(accepted({ hostnames: ['mcp.test'], rules: [{ matches: [{}], backendRefs: [{ name: 'b' }] }] }).resolvedRefs).toBe('NotBuilt');
    const listeners = [
      { name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } },
      { name: 'own', protocol: 'TCP', port: 8443 },
    ] as const;
    const at = (server: string) => accepted({ rules: [{ matches: [{ servers: [server] }] }] }, { gateway: gateway({ listeners }) });
    expect(at('https://mcp.test:8443/')).toMatchObject({
      reason: 'NoMatchingParent',
      message: expect.stringContaining('listener own alone takes that port') as string,
    });
    expect(at('https://mcp.test/')).toMatchObject({ reason: 'Accepted' });
  });

  test('a listener that does not end TLS takes none', () =>
    expect(accepted({ hostnames: ['mcp.test'] }, { gateway: gateway({ listeners: [{ name: 'tcp', protocol: 'TCP' }] }) })).toMatchObject({
      reason: 'NotAllowedByListeners',
      attached: [0],
    }));
});

describe('credentials', () => {
  const rules: Rules = [{ matches: [{ servers: [SERVER] }] }];
  const use = (...credentialPolicies: ReturnType<typeof credentialPolicy>[]) => setOf({ rules }, { credentialPolicies }).mcpRoutes[0]!.credential;
  const ofRoute = (more: object = {}, name = 'key', created?: string) =>
    credentialPolicy({ parentRefs: [{ kind: 'MCPRoute', name: 'mcp' }], ...more }, name, created);

  test('of the route, else of the gateway, else none; the older wins', () => {
    const ofGateway = credentialPolicy({ parentRefs: [{ kind: 'EgressGateway', name: 'egress' }] }, 'wide', '2025-01-01T00:00:00Z');
    expect(use(ofGateway, ofRoute())).toEqual({ policy: 'demo/key', credential: 'cred:demo/key', inject: { kind: 'Header', header: 'authorization' } });
    expect(use(ofGateway)!.policy).toBe('demo/wide');
    expect(use(ofRoute({}, 'b', '2026-02-01T00:00:00Z'), ofRoute({}, 'a', '2026-01-01T00:00:00Z'))!.policy).toBe('demo/a');
    expect(use(credentialPolicy({ parentRefs: [{ kind: 'AIProviderRoute', name: 'mcp' }] }))).toBeUndefined();
  });

  test('its value travels beside the set, and never in it', () => {
    const { policySet, credentials } = compile({ aiRoutes: [], mcpRoutes: [mcpRoute({ rules })], credentialPolicies: [ofRoute()] });
    expect(credentials).toEqual([{ name: 'cred:demo/key', value: 'Bearer sk-real' }]);
    expect(JSON.stringify(policySet)).not.toContain('sk-real');
  });

  test('a missing Secret refuses every message', () => {
    const set = setOf({ rules }, { credentialPolicies: [ofRoute({ secretRef: { name: 'gone' } })] });
    expect([call(set, 'a'), send(set, 'initialize'), say(set, {}, { method: 'GET' })]).toEqual(Array(3).fill('503 SecretNotFound'));
  });

  test('query parameters and signers, too', () => {
    expect(use(ofRoute({ target: 'QueryParam', headerName: undefined, queryParamName: 'key' }))!.inject).toEqual({ kind: 'QueryParam', name: 'key' });
    const aws = ofRoute({ target: 'ProviderAuth', headerName: undefined, providerAuth: { type: 'AWSv4', service: 'x' } });
    expect(use(aws)!.inject).toEqual({ kind: 'AWSv4', service: 'x' });
  });
});

describe('beside other things', () => {
  test('an EgressDenyPolicy goes before whatever a route allows, with its status and text', () => {
    const target = { group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'denied' } as const;
    const denied = mcpRoute({ rules: [{ matches: [{ servers: [SERVER], tools: ['a'] }] }] }, 'denied', '2027-01-01T00:00:00Z');
    const set = setOf(
      {},
      {
        mcpRoutes: [mcpRoute({ rules: [{ matches: [{ servers: [SERVER], tools: ['a', 'b'] }] }] }), denied],
        denyPolicies: [denyPolicy({ targetRef: target, denyResponse: { statusCode: 451, message: 'Frozen.' } })],
      },
    );
    expect([call(set, 'a'), call(set, 'b')]).toEqual(['451 DeniedByPolicy', 'rule 0']);
  });

  test('a URL of an MCP server is for the MCPRoute, the rest of the host for the AIProviderRoute', () => {
    const set = setOf({ rules: [{ matches: [{ servers: ['https://api.openai.com/mcp'], tools: ['a'] }] }] }, { aiRoutes: [route()] });
    const openai = (path: string, mcp?: McpFacts) => say(set, mcp, { host: 'api.openai.com', path, ...(!mcp && { provider: 'openai', model: 'gpt-4o' }) });
    expect([openai('/mcp', { method: 'tools/call', tool: 'a' }), openai('/mcp', { method: 'tools/call', tool: 'b' })]).toEqual(['rule 0', TOOL]);
    expect(openai('/v1/chat/completions')).toBe('rule 0');
  });
});
