import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { MCPRoute } from '#api';
import { compile, credentialPolicy, denyPolicy, mcpRoute } from '../policy/objects.ts';
import { createHarness, type Answer, type Harness } from './harness.ts';

const MCP = { ':authority': 'mcp.test', ':path': '/mcp?x=1', 'x-clrk-destination': '198.18.0.9:443' };
const RULES: MCPRoute['spec']['rules'] = [
  {
    matches: [{ servers: ['https://mcp.test/mcp', 'https://mcp.test:8443/mcp'] }],
    filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search'] } }],
  },
];
const ofRules = (rules = RULES, more: Parameters<typeof compile>[0] = {}) =>
  compile({ aiRoutes: [], credentialPolicies: [], mcpRoutes: [mcpRoute({ rules })], ...more }).policySet;

let harness: Harness | undefined;
afterEach(async () => {
  await harness?.[Symbol.asyncDispose]();
  harness = undefined;
});

const send = (body: unknown, headers: Record<string, string> = {}, policy = ofRules()): Promise<Answer> => {
  harness ??= createHarness({ policy });
  return harness.send(body, { ...MCP, ...headers });
};
const bodiless = (method: string, headers: Record<string, string> = {}): Promise<Answer> => {
  harness ??= createHarness({ policy: ofRules() });
  return harness.send('', { ...MCP, ':method': method, ...headers }, { endOfStream: true });
};
const call = (name: string, id: unknown = 1) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: { q: 'x' } } });
const errorOf = (answer: Answer) =>
  answer.json as { readonly id?: unknown; readonly error: { readonly code: unknown; readonly data?: Record<string, string> } };

test('an allowed call goes on as it was read, with the trace and the route, and is recorded', async () => {
  const answer = await send(call('search'), { 'mcp-session-id': 's-1', 'mcp-protocol-version': '2025-11-25' });
  expect([answer.engine.verdict, answer.text]).toEqual(['Allowed', JSON.stringify(call('search'))]);
  expect(answer.headers).toMatchObject({ 'x-clrk-route': 'MCPRoute/demo/mcp', 'content-length': String(answer.text.length) });
  expect(answer.headers['traceparent']).toMatch(/^00-a{32}-/);
  const mcp = { method: 'tools/call', tool: 'search', session: 's-1', protocol: '2025-11-25' };
  expect(harness!.lines).toMatchObject([{ event: 'admit', host: 'mcp.test', path: '/mcp', engine: { route: 'MCPRoute/demo/mcp', rule: 0, mcp } }]);
  expect(harness!.admitted.map(([, , facts]) => facts.mcp)).toEqual([{ method: 'tools/call', tool: 'search' }]);
});

test('another port is another way out', async () => {
  expect((await send(call('search'), { 'x-clrk-destination': '198.18.0.9:8443' })).headers['x-clrk-route']).toBe('MCPRoute/demo/mcp:8443');
  expect((await send(call('search'), { 'x-clrk-destination': '198.18.0.9:444' })).engine.reason).toBe('NoRoute');
});

describe('a refusal', () => {
  test('of a tool: 200 with a JSON-RPC error that has the id and our reason, and a record', async () => {
    const answer = await send(call('delete_all', 7));
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
    expect(answer.json).toMatchObject({ jsonrpc: '2.0', id: 7, error: { code: -32001, message: expect.stringContaining('"delete_all"') as string } });
    expect(errorOf(answer).error.data).toMatchObject({
      code: 'ToolNotAllowed',
      decision: expect.stringMatching(/^id-/) as string,
      policy: '',
      route: 'MCPRoute/demo/mcp',
      gateway: 'demo/egress',
      revision: harness!.policy!.revision,
    });
    expect(harness!.lines).toMatchObject([
      { event: 'refused', verdict: 'Denied', reason: 'ToolNotAllowed', engine: { rule: 0, mcp: { method: 'tools/call', tool: 'delete_all' } } },
    ]);
    expect(harness!.admitted).toEqual([]);
  });

  test.each([
    ['a method', { jsonrpc: '2.0', id: 'a', method: 'tools/list' }, [{ matches: [{ servers: ['https://mcp.test/mcp'], methods: ['x'] }] }], -32601],
    [
      'a resource',
      { jsonrpc: '2.0', id: 'a', method: 'resources/read', params: { uri: 'x:1' } },
      [{ matches: [{ servers: ['https://mcp.test/mcp'], resources: ['y:*'] }] }],
      -32001,
    ],
    ['odd params', { jsonrpc: '2.0', id: 'a', method: 'tools/call', params: { name: 5 } }, RULES, -32602],
  ])('of %s: its own code', async (_, message, rules, code) => {
    const answer = await send(message, {}, ofRules(rules));
    expect([answer.status, errorOf(answer).id, errorOf(answer).error.code]).toEqual([200, 'a', code]);
  });

  test('of what nobody waits for: HTTP', async () => {
    const { id: _, ...notification } = call('delete_all');
    const answer = await send(notification);
    expect([answer.status, errorOf(answer).error.code]).toEqual([403, 'ToolNotAllowed']);
  });

  test('of a URL without a server: HTTP, before the body is read', async () => {
    const answer = await send('not json', { ':path': '/other', 'content-type': 'text/plain' });
    expect([answer.status, errorOf(answer).error.code, answer.cases]).toEqual([403, 'EndpointNotAllowed', ['immediateResponse']]);
  });

  test('for want of a credential, or by an EgressDenyPolicy: HTTP with its status', async () => {
    const lost = credentialPolicy({ parentRefs: [{ kind: 'MCPRoute', name: 'mcp' }], secretRef: { name: 'gone' } });
    const without = await send(call('search'), {}, ofRules(RULES, { credentialPolicies: [lost] }));
    expect([without.status, errorOf(without).error]).toMatchObject([503, { code: 'SecretNotFound', policy: 'CredentialInjectionPolicy/demo/key' }]);
    const target = { group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'mcp' } as const;
    harness!.policy = ofRules(RULES, { denyPolicies: [denyPolicy({ targetRef: target, denyResponse: { statusCode: 451, message: 'Frozen.' } })] });
    const frozen = await send(call('search'));
    expect([frozen.status, errorOf(frozen).error]).toMatchObject([451, { code: 'DeniedByPolicy', message: 'Frozen.', policy: 'EgressDenyPolicy/demo/freeze' }]);
  });
});

describe('a batch', () => {
  test('is judged by message, and goes on whole', async () => {
    const batch = [call('search', 1), { jsonrpc: '2.0', method: 'notifications/cancelled' }, { jsonrpc: '2.0', id: 4, result: {} }, call('search', 2)];
    expect((await send(batch)).text).toBe(JSON.stringify(batch));
    expect(harness!.admitted).toHaveLength(4);
  });

  test('is refused whole: each request in it hears why', async () => {
    const answer = await send([call('search', 1), { jsonrpc: '2.0', method: 'notifications/x' }, call('delete_all', 2)]);
    expect([answer.status, harness!.admitted]).toEqual([200, []]);
    expect(answer.json).toMatchObject([
      { id: 1, error: { code: -32001, data: { code: 'ToolNotAllowed' } } },
      { id: 2, error: { code: -32001 } },
    ]);
  });

  test.each([
    ['an empty one', []],
    ['a long one', Array.from({ length: 65 }, (_, id) => call('search', id))],
    ['one inside another', [[call('search')]]],
    [
      'one that names very many resources',
      Array.from({ length: 3 }, (_, id) => ({
        jsonrpc: '2.0',
        id,
        method: 'subscriptions/listen',
        params: { notifications: { resourceSubscriptions: Array(64).fill('x:1') } },
      })),
    ],
  ])('%s is refused', async (_, batch) => expect(await send(batch)).toMatchObject({ status: 400, engine: { reason: 'InvalidMessage' } }));

  test('of messages for two routes is refused: they would need two credentials', async () => {
    const other = mcpRoute({ rules: [{ matches: [{ servers: ['https://mcp.test/mcp'], tools: ['other'] }] }] }, 'other');
    const first = mcpRoute({ rules: [{ matches: [{ servers: ['https://mcp.test/mcp'], tools: ['search'] }] }] });
    const answer = await send([call('search'), call('other')], {}, ofRules(RULES, { mcpRoutes: [first, other] }));
    expect([answer.status, answer.engine.reason]).toEqual([403, 'MixedBatch']);
  });
});

describe('a stream of notifications (revision 2026-07-28)', () => {
  const rules = [{ matches: [{ servers: ['https://mcp.test/mcp'], resources: ['notes://*'] }] }];
  const listen = (notifications: unknown) => ({ jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params: { notifications } });

  test('is opened wherever the server fits, and a resource it names is one that may be subscribed to', async () => {
    const allowed = listen({ toolsListChanged: true, resourceSubscriptions: ['notes://a', 'notes://b'] });
    const answer = await send(allowed, {}, ofRules(rules));
    expect([answer.engine.verdict, answer.text]).toEqual(['Allowed', JSON.stringify(allowed)]);
    expect(answer.engine.mcp).toEqual({ method: 'subscriptions/listen' });
    const denied = await send(listen({ resourceSubscriptions: ['notes://a', 'file:///etc/passwd'] }));
    expect([denied.status, denied.json]).toMatchObject([200, { id: 1, error: { code: -32001, data: { code: 'ResourceNotAllowed' } } }]);
    expect(denied.engine.mcp).toEqual({ method: 'resources/subscribe', resource: 'file:///etc/passwd' });
  });

  test.each([
    ['no list of what is heard', undefined],
    ['something that is not known', { taskIds: ['1'] }],
    ['a key in capitals', { ResourceSubscriptions: ['file:///etc/passwd'] }],
    ['no list of URIs', { resourceSubscriptions: 'file:///etc/passwd' }],
    ['a number for a URI', { resourceSubscriptions: [1] }],
    ['too many URIs', { resourceSubscriptions: Array.from({ length: 65 }, () => 'notes://a') }],
  ])('%s: refused', async (_, notifications) => {
    const answer = await send(listen(notifications), {}, ofRules(rules));
    expect([answer.status, answer.engine.reason]).toEqual([200, 'InvalidParams']);
  });

  test('the object twice, once in capitals: refused', async () => {
    const twice = listen({});
    const answer = await send({ ...twice, params: { ...twice.params, Notifications: { resourceSubscriptions: ['file:///etc/passwd'] } } }, {}, ofRules(rules));
    expect(answer.engine.reason).toBe('InvalidParams');
  });
});

describe('what a server could read otherwise', () => {
  const text = JSON.stringify(call('search'));
  test.each<[string, unknown, Record<string, string>, number, string]>([
    ['a name twice', text.replace('"name":"search"', '"name":"search","name":"delete_all"'), {}, 400, 'DuplicateKey'],
    ['a name twice, once escaped', text.replace('"name":"search"', '"name":"search","n\\u0061me":"delete_all"'), {}, 400, 'DuplicateKey'],
    ['params twice', text.replace('"params"', '"params":{"name":"delete_all"},"params"'), {}, 400, 'DuplicateKey'],
    ['two documents', text + JSON.stringify(call('delete_all')), {}, 400, 'InvalidJson'],
    ['a byte order mark', `\ufeff${text}`, {}, 400, 'InvalidJson'],
    ['UTF-16', Buffer.from(text, 'utf16le'), {}, 400, 'InvalidJson'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22]), {}, 400, 'InvalidUtf8'],
    ['deep nesting', text.replace('"x"', `${'['.repeat(5000)}${']'.repeat(5000)}`), {}, 400, 'TooDeep'],
    ['another type', text, { 'content-type': 'text/plain' }, 415, 'UnsupportedMediaType'],
    ['no type', text, { 'content-type': '' }, 415, 'UnsupportedMediaType'],
    ['two types', text, { 'content-type': 'application/json, text/plain' }, 415, 'UnsupportedMediaType'],
    ['nearly the type', text, { 'content-type': 'application/jsonx' }, 415, 'UnsupportedMediaType'],
    ['another charset', text, { 'content-type': 'application/json; charset=utf-16' }, 415, 'UnsupportedMediaType'],
    ['compression', gzipSync(text), { 'content-encoding': 'gzip' }, 415, 'EncodedBody'],
    ['no object', '5', {}, 400, 'InvalidMessage'],
    ['another version', { ...call('search'), jsonrpc: '1.0' }, {}, 400, 'InvalidMessage'],
    ['no version', { id: 1, method: 'ping' }, {}, 400, 'InvalidMessage'],
    ['a method in capitals beside it', { ...call('search'), METHOD: 'tools/call' }, {}, 400, 'InvalidMessage'],
    ['a field of nobody', { ...call('search'), extra: 1 }, {}, 400, 'InvalidMessage'],
    ['an answer that asks', { ...call('search'), result: {} }, {}, 400, 'InvalidMessage'],
    ['an answer of both kinds', { jsonrpc: '2.0', id: 1, result: {}, error: {} }, {}, 400, 'InvalidMessage'],
    ['an answer without id', { jsonrpc: '2.0', result: {} }, {}, 400, 'InvalidMessage'],
    ['an id that is null', call('search', null), {}, 400, 'InvalidMessage'],
    ['an id that is an object', call('search', {}), {}, 400, 'InvalidMessage'],
    ['params that are a list', { ...call('search'), params: ['search'] }, {}, 400, 'InvalidMessage'],
    ['a method that is none', { ...call('search'), method: 5 }, {}, 400, 'InvalidMessage'],
    ['a method in other letters', { ...call('delete_all'), method: 'Tools/Call' }, {}, 400, 'InvalidMessage'],
    ['a method with a wide letter', { ...call('delete_all'), method: '\uff54ools/call' }, {}, 400, 'InvalidMessage'],
    ['a long id', call('delete_all', 'x'.repeat(1025)), {}, 400, 'InvalidMessage'],
    ['an id of many digits', text.replace('"id":1', `"id":${'1'.repeat(1025)}`), {}, 400, 'InvalidMessage'],
    ['a method with a space', { ...call('delete_all'), method: 'tools/call ' }, {}, 400, 'InvalidMessage'],
    ['a method with a NUL', { ...call('delete_all'), method: 'tools/call\0' }, {}, 400, 'InvalidMessage'],
    ['a name in capitals beside it', { ...call('search'), params: { name: 'search', Name: 'delete_all' } }, {}, 200, 'InvalidParams'],
    ['a name with a NUL beside it', { ...call('search'), params: { 'name\0': 'delete_all', name: 'search' } }, {}, 200, 'InvalidParams'],
    ['an URI with another i', { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'x:1', URI: 'x:2' } }, {}, 200, 'InvalidParams'],
    ['a space after the name', call('search '), {}, 200, 'InvalidParams'],
    ['a NUL in the name', call('search\0delete'), {}, 200, 'InvalidParams'],
    ['half a character in the name', text.replace('search', 'search\\ud800'), {}, 200, 'InvalidParams'],
    ['a long name', call('s'.repeat(257)), {}, 200, 'InvalidParams'],
    ['no name', { ...call(''), params: {} }, {}, 200, 'InvalidParams'],
    ['no params', { ...call(''), params: undefined }, {}, 200, 'InvalidParams'],
    ['the name in capitals', call('SEARCH'), {}, 200, 'ToolNotAllowed'],
    ['another method in a header', call('search'), { 'mcp-method': 'tools/list' }, 400, 'HeaderMismatch'],
    ['another name in a header', call('search'), { 'mcp-name': 'delete_all' }, 400, 'HeaderMismatch'],
    ['another name in a header, encoded', call('search'), { 'mcp-name': '=?base64?ZGVsZXRlX2FsbA==?=' }, 400, 'HeaderMismatch'],
    ['a header beside a batch', [call('search')].concat(call('search', 2)), { 'mcp-method': 'tools/call' }, 400, 'HeaderMismatch'],
  ])('%s', async (_, body, headers, status, reason) => {
    const answer = await send(body, headers);
    expect([answer.engine.verdict, answer.status, answer.engine.reason]).toEqual(['Denied', status, reason]);
  });

  test('is written anew: escapes, spaces, and numbers with every digit', async () => {
    const sent = '{"jsonrpc":"2.0", "id":12345678901234567890, "m\\u0065thod":"tools/c\\u0061ll","params":{"name":"se\\u0061rch","arguments":{"n":1.10}}}';
    expect((await send(sent)).text).toBe('{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{"name":"search","arguments":{"n":1.10}}}');
    const refused = await send(sent.replace('se\\u0061rch', 'd\\u0065lete'));
    expect([refused.status, refused.text.startsWith('{"jsonrpc":"2.0","id":12345678901234567890,"error":{"code":-32001,')]).toEqual([200, true]);
  });

  test.each(['GET', 'DELETE'])('a header of a message on a %s', async (method) => {
    const { status, engine } = await bodiless(method, { 'mcp-name': 'delete_all' });
    expect([status, engine.reason]).toEqual([400, 'HeaderMismatch']);
  });

  test('headers that say the same go on', async () => {
    expect((await send(call('search'), { 'mcp-method': 'tools/call', 'mcp-name': '=?base64?c2VhcmNo?=' })).engine.verdict).toBe('Allowed');
    expect((await send({ jsonrpc: '2.0', id: 1, method: 'prompts/get', params: { name: 'x' } }, { 'mcp-name': 'x' })).engine.verdict).toBe('Allowed');
  });
});

describe('without a body', () => {
  test.each(['GET', 'DELETE'])('%s goes on', async (method) => {
    const answer = await bodiless(method, { 'mcp-session-id': 's' });
    expect([answer.engine.verdict, answer.engine.mcp, answer.cases]).toEqual(['Allowed', { session: 's' }, ['requestHeaders']]);
  });
  test.each(['GET', 'DELETE'])('%s with one is refused', async (method) =>
    expect(await send(call('delete_all'), { ':method': method })).toMatchObject({ status: 400, engine: { reason: 'UnexpectedBody' } }),
  );
  test('a POST without one is refused', async () => expect(await bodiless('POST')).toMatchObject({ status: 400, engine: { reason: 'InvalidJson' } }));
  test.each(['PUT', 'PATCH', 'HEAD'])('%s is no way to speak MCP', async (method) =>
    expect(await bodiless(method)).toMatchObject({ status: 405, engine: { reason: 'MethodNotAllowed' } }),
  );
});
