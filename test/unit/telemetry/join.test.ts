import { describe, expect, test } from 'vitest';
import type { AccessLine, BindingLine, EgressLine, EngineMetadata, ExchangeRecord } from '#model';
import { Bindings } from '../../../src/telemetry/recorder/bindings.ts';
import { BINDING_WAIT_MS, Join, REFUSED_WAIT_MS } from '../../../src/telemetry/recorder/join.ts';

const T = Date.parse('2026-11-24T10:00:00.000Z');
const time = (ms: number): string => new Date(T + ms).toISOString();
const access = (over: Partial<AccessLine> = {}): AccessLine => ({
  time: time(100),
  id: 'id-1',
  chain: 'http',
  gateway: 'default/out',
  source: '100.64.0.1',
  destination: '198.18.0.5:443',
  sni: 'api.openai.com',
  method: 'POST',
  host: 'API.openai.com:443',
  path: '/v1/chat/completions',
  status: 200,
  durationMs: 42,
  requestBytes: 10,
  responseBytes: 20,
  details: 'via_upstream',
  upstream: '10.0.0.1:443',
  route: 'AIProviderRoute/default/openai',
  revision: 'abc',
  engine: engine(),
  usage: { input: 5, output: 7 },
  ...over,
});
function engine(over: Partial<EngineMetadata> = {}): EngineMetadata {
  return {
    verdict: 'Allowed',
    reason: 'Allowed',
    route: 'AIProviderRoute/default/openai',
    rule: 0,
    revision: 'abc',
    provider: 'openai',
    model: 'gpt-4o-mini',
    operation: 'chat',
    stream: true,
    spanId: '00f067aa0ba902b7',
    ...over,
  };
}
const egress = (over: Partial<EgressLine> = {}): EgressLine => ({
  event: 'admit',
  time: T + 101,
  id: 'id-1',
  gateway: 'default/out',
  source: '100.64.0.1',
  host: 'api.openai.com',
  method: 'POST',
  path: '/v1/chat/completions',
  verdict: 'Allowed',
  reason: 'Allowed',
  engine: engine(),
  ...over,
});
const bind = (over: Partial<BindingLine> = {}): BindingLine => ({
  event: 'bind',
  time: T,
  address: '100.64.0.1',
  namespace: 'default',
  agent: 'summarizer',
  invocation: 'inv-1',
  traceId: 'trace-1',
  spanId: 'span-1',
  ...over,
});

const start = (...bindings: readonly BindingLine[]) => {
  const table = new Bindings();
  bindings.forEach((line, offset) => table.add(line, { inode: 1, offset }));
  return { table, join: new Join('0', table) };
};
const joined = (line: AccessLine | EgressLine, ...bindings: readonly BindingLine[]): ExchangeRecord => {
  const { join } = start(...(bindings.length > 0 ? bindings : [bind()]));
  if ('chain' in line) join.access(line, 0);
  else join.egress(line, 0);
  const records = join.settle(0, true);
  expect(records).toHaveLength(1);
  return records[0]!;
};

test('an access line, its engine metadata and the binding of its address make the whole record', () => {
  expect(joined(access())).toEqual({
    decisionId: 'id-1',
    time: time(100),
    namespace: 'default',
    agent: 'summarizer',
    invocation: 'inv-1',
    traceId: 'trace-1',
    spanId: '00f067aa0ba902b7',
    worker: '0',
    gateway: 'default/out',
    route: 'AIProviderRoute/default/openai',
    revision: 'abc',
    protocol: 'https',
    method: 'POST',
    host: 'api.openai.com',
    path: '/v1/chat/completions',
    destination: '198.18.0.5:443',
    status: 200,
    verdict: 'Allowed',
    reason: 'Allowed',
    provider: 'openai',
    model: 'gpt-4o-mini',
    operation: 'chat',
    stream: true,
    routeMatched: true,
    responseModel: '',
    responseId: '',
    finishReasons: [],
    inputTokens: 5,
    outputTokens: 7,
    costEstimated: false,
    budgetOverrun: false,
    providerFetches: [],
    mcpMethod: '',
    mcpSession: '',
    mcpProtocol: '',
    tool: '',
    mcpResource: '',
    credentialsReplaced: [],
    credentialsEchoed: [],
    durationMs: 42,
    requestBytes: 10,
    responseBytes: 20,
  });
});

test('TLS that ended badly after it had carried something is no handshake that failed', () => {
  const refused = (over: Partial<AccessLine>): AccessLine => ({
    time: time(1),
    id: 'c',
    chain: 'refused',
    gateway: 'default/out',
    source: '100.64.0.1',
    ...over,
  });
  const { join } = start(bind());
  join.access(refused({ reason: 'HandshakeFailed', requestBytes: 326, responseBytes: 4_014 }), 0);
  expect(join.settle(0, true)).toEqual([]);
  for (const over of [
    { reason: 'HandshakeFailed', requestBytes: 0, responseBytes: 0 },
    { reason: 'HandshakeFailed', requestBytes: 5, responseBytes: 0 },
    { reason: 'NotClaimed', requestBytes: 5, responseBytes: 5 },
  ])
    expect(joined(refused(over))).toMatchObject({ verdict: 'Denied', reason: over.reason });
});

describe('verdict and reason', () => {
  const without = (...names: readonly (keyof AccessLine)[]): Partial<AccessLine> => Object.fromEntries(names.map((name) => [name, undefined]));
  const local = { ...without('upstream', 'usage', 'engine'), details: 'direct_response' };
  const table: readonly [string, Partial<AccessLine>, string][] = [
    ['a request that worked', {}, 'Allowed/Allowed'],
    ['a provider error is still an allowed request', { status: 500 }, 'Allowed/Allowed'],
    ['denied by the engine', { status: 429, engine: engine({ verdict: 'Denied', reason: 'BudgetExhausted' }) }, 'Denied/BudgetExhausted'],
    ['denied by the deny slice', { ...local, ...without('route'), status: 403, reason: 'NoRoute' }, 'Denied/NoRoute'],
    ['denied by a route without its Secret', { ...local, status: 503, reason: 'SecretNotFound' }, 'Denied/SecretNotFound'],
    ['SNI and Host differ', { ...local, ...without('route'), status: 421, details: 'lua_response' }, 'Denied/HostMismatch'],
    ['SNI and Host differ, and no route has the Host', { ...local, status: 421, details: 'lua_response', reason: 'NoRoute' }, 'Denied/HostMismatch'],
    ['the engine is away', { ...local, status: 503, details: 'ext_proc_error' }, 'Denied/EngineUnavailable'],
    ['the script of a credential failed', { ...local, status: 503, details: 'lua_response' }, 'Denied/CredentialUnavailable'],
    ['an answer too large to be searched', { status: 502, details: 'response_payload_too_large' }, 'Allowed/RedactionFailed'],
    ['an answer that was withheld', { status: 502, credential: { refused: 'RedactionFailed' } }, 'Allowed/RedactionFailed'],
    ['a credential in the headers of an answer', { status: 200, credential: { echoed: 'header' } }, 'Allowed/CredentialEchoed'],
    ['a key of the agent itself', { status: 200, credential: { replaced: 'header cookie' } }, 'Allowed/Allowed'],
    ['no route', { ...local, ...without('route'), status: 404, flags: 'NR', details: 'route_not_found' }, 'Denied/NoRoute'],
    ['upstream refused', { status: 503, flags: 'UF', upstreamFailure: 'Connection refused' }, 'Allowed/UpstreamUnavailable'],
    ['upstream broke off in the middle', { flags: 'UPE,UC', details: 'upstream_reset_after_response_started' }, 'Allowed/UpstreamUnavailable'],
    [
      'upstream certificate is wrong',
      { status: 502, flags: 'UF', upstreamFailure: 'TLS_error:CERTIFICATE_VERIFY_FAILED' },
      'Allowed/UpstreamCertificateInvalid',
    ],
    [
      'upstream cannot speak TLS',
      { status: 502, flags: 'UF', upstreamFailure: 'TLS_error:|268435632:SSL routines:…:SSLV3_ALERT_HANDSHAKE_FAILURE' },
      'Allowed/UpstreamTLSFailed',
    ],
    ['upstream timeout', { status: 504, flags: 'UT', details: 'response_timeout' }, 'Allowed/Timeout'],
    ['the address is never dialled, whatever the engine said', { status: 403, details: 'rbac_access_denied_matched_policy[none]' }, 'Denied/ForbiddenAddress'],
    ['the credential is not there', { status: 503, details: 'failed_to_inject_credential' }, 'Denied/CredentialUnavailable'],
    ["an upstream's own 421", { status: 421 }, 'Allowed/Allowed'],
    ['body too large', { ...local, status: 413, engine: engine(), details: 'request_payload_too_large' }, 'Denied/BodyTooLarge'],
    ['caller left', { status: 0, flags: 'DC' }, 'Allowed/ClientClosed'],
    ['caller left before the engine spoke', { status: 0, flags: 'DC', ...without('engine') }, 'Denied/ClientClosed'],
    ['malformed request', { ...local, ...without('route'), status: 400, details: 'http1.codec_error' }, 'Denied/BadRequest'],
    ['a client hello that hides a name', { ...local, ...without('route'), chain: 'tls', status: 0, hello: 'HiddenServerName' }, 'Denied/HiddenServerName'],
    [
      'TLS passed through',
      {
        ...without('route', 'engine', 'usage', 'details'),
        chain: 'tls',
        hello: 'Clear',
        verdict: { verdict: 'Allowed', reason: 'Allowed', route: 'x', rule: 0, revision: '1', host: 'a.example' },
      },
      'Allowed/Allowed',
    ],
    ['a connection no chain takes', { ...local, ...without('route'), chain: 'refused', status: 0 }, 'Denied/NotAdmitted'],
  ];
  test.each(table)('%s', (_, over, expected) => {
    const { verdict, reason } = joined(access(over));
    expect(`${verdict}/${reason}`).toBe(expected);
  });

  const hosts: readonly [Partial<AccessLine>, string, string][] = [
    [{ chain: 'refused', sni: 'evil.example', ...without('host') }, 'tls', 'evil.example'],
    [{ chain: 'refused', ...without('sni', 'host') }, 'tcp', ''],
    [{ ...without('sni'), destination: '198.18.0.5:80', host: 'a.example' }, 'http', 'a.example'],
    [{ host: 'A.Example.:8443' }, 'https', 'a.example'],
    [{ host: 'user:secret@a.example' }, 'https', 'a.example'],
  ];
  test.each(hosts)('protocol and host of %j', (over, protocol, host) => {
    expect(joined(access(over))).toMatchObject({ protocol, host });
  });
});

test('no query is kept', () => {
  expect(joined(access({ path: '/a?key=1' })).path).toBe('/a');
  expect(joined(egress({ event: 'dns', id: 'd', path: '/b?c' })).path).toBe('/b');
});

test('tokens nobody reported stay unknown', () => {
  const record = joined(access({ usage: {} }));
  expect('inputTokens' in record || 'outputTokens' in record).toBe(false);
});

test('a refused DNS question is a record', () => {
  const line = egress({ event: 'dns', id: 'dns-1', host: 'Evil.example.', method: 'TXT', path: '', verdict: 'Denied', reason: 'NoRoute', engine: undefined });
  expect(joined(line)).toMatchObject({
    decisionId: 'dns-1',
    protocol: 'dns',
    host: 'evil.example',
    method: 'TXT',
    verdict: 'Denied',
    reason: 'NoRoute',
    invocation: 'inv-1',
  });
});

describe('which run it was', () => {
  const first = bind();
  const released = bind({ event: 'release', time: T + 5_000 });
  const second = bind({ time: T + 70_000, invocation: 'inv-2', agent: 'other' });
  test.each([
    ['during the first', 100, 'inv-1'],
    ['a moment after its release', 5_200, 'inv-1'],
    ['between the two', 30_000, ''],
    ['during the second', 70_001, 'inv-2'],
    ['before any', -10_000, ''],
  ])('%s', (_, at, invocation) => {
    const { join } = start(first, released, second);
    join.access(access({ time: time(at) }), 0);
    const records = [...join.settle(0, true), ...join.settle(BINDING_WAIT_MS, true)];
    expect(records.map((r) => r.invocation)).toEqual([invocation]);
  });

  test('an address that was bound again without a release belongs to the newer run', () => {
    const { join } = start(first, second);
    join.access(access({ time: time(70_500) }), 0);
    expect(join.settle(0, true)).toMatchObject([{ invocation: 'inv-2' }]);
  });

  test("what a parked sandbox tries is its agent's and no run's, also when it was claimed a moment later", () => {
    const parked = bind({ event: 'park', time: T, invocation: '', traceId: '', spanId: '' });
    const claimed = bind({ time: T + 5_000 });
    const { join } = start(parked, claimed);
    const refused = {
      id: 'id-2',
      chain: 'refused',
      gateway: 'default/out',
      source: '100.64.0.1',
      destination: '203.0.113.7:443',
      reason: 'NotClaimed',
    } as const;
    join.access({ ...refused, time: time(4_999) }, 0);
    join.access(access({ time: time(5_001) }), 0);
    expect(join.settle(0, true)).toMatchObject([
      { agent: 'summarizer', invocation: '', verdict: 'Denied', reason: 'NotClaimed', protocol: 'tcp' },
      { agent: 'summarizer', invocation: 'inv-1', verdict: 'Allowed' },
    ]);
  });

  test('a line waits two seconds for its binding, then is recorded without one', () => {
    const late = start();
    late.join.access(access(), 0);
    expect(late.join.settle(BINDING_WAIT_MS - 1, true)).toEqual([]);
    late.table.add(first, { inode: 1, offset: 0 });
    expect(late.join.settle(BINDING_WAIT_MS - 1, true)).toMatchObject([{ invocation: 'inv-1' }]);

    const never = start();
    never.join.access(access(), 0);
    expect(never.join.settle(BINDING_WAIT_MS, true)).toMatchObject([{ decisionId: 'id-1', agent: '', invocation: '', namespace: '' }]);
  });

  test('a run long over is forgotten, a current one never', () => {
    const { table } = start(first, released, second);
    table.prune(T + 24 * 3_600_000);
    expect(table.find('100.64.0.1', T + 100)).toBeUndefined();
    expect(table.find('100.64.0.1', T + 80_000)?.invocation).toBe('inv-2');
  });

  test('reading bindings again changes nothing', () => {
    const { table } = start(first, released, second);
    for (const line of [first, released, second]) table.add(line, { inode: 1, offset: 0 });
    expect(table.find('100.64.0.1', T + 100)?.invocation).toBe('inv-1');
    expect(table.find('100.64.0.1', T + 80_000)?.invocation).toBe('inv-2');
    expect(table.find('100.64.0.1', T + 30_000)).toBeUndefined();
  });
});

describe("the engine's line and Envoy's line of one request", () => {
  const died = egress({ event: 'gateway-died', id: '', time: T + 500, source: '', host: '' });

  test.each(['admit', 'refused'] as const)("%s: Envoy's line makes the record, once", (event) => {
    const { join } = start(bind());
    join.egress(egress({ event, verdict: event === 'admit' ? 'Allowed' : 'Denied' }), 0);
    expect(join.settle(0, true)).toEqual([]);
    join.access(access(), 10);
    expect(join.settle(10, true)).toMatchObject([{ decisionId: 'id-1', status: 200, inputTokens: 5 }]);
    join.egress(died, 20);
    expect([...join.settle(20, true), ...join.settle(REFUSED_WAIT_MS * 2, true)]).toEqual([]);
  });

  test("the engine's facts are taken from its own line when Envoy's line has none", () => {
    const { join } = start(bind());
    join.egress(egress({ event: 'refused', verdict: 'Denied', engine: engine({ verdict: 'Denied', reason: 'ModelNotAllowed' }) }), 0);
    join.access(access({ status: 403, engine: undefined, usage: undefined }), 0);
    expect(join.settle(0, true)).toMatchObject([{ verdict: 'Denied', reason: 'ModelNotAllowed', model: 'gpt-4o-mini', status: 403 }]);
  });

  test('a request that was in flight when its Envoy died is closed: GatewayDied, tokens unknown', () => {
    const { join } = start(bind());
    join.egress(egress(), 0);
    join.egress(egress({ id: 'other', gateway: 'default/second' }), 0);
    join.egress(died, 0);
    join.egress(egress({ id: 'after', time: T + 900 }), 0);
    expect(join.settle(0, true)).toEqual([]); // the access log is read once more first
    const [record, ...rest] = join.settle(1, true);
    expect(rest).toEqual([]);
    expect(record).toMatchObject({ decisionId: 'id-1', verdict: 'Allowed', reason: 'GatewayDied', model: 'gpt-4o-mini', invocation: 'inv-1', status: 0 });
    expect('inputTokens' in record!).toBe(false);
  });

  test("a dead Envoy's last lines still win, also when there are many to read first", () => {
    const { join } = start(bind());
    join.egress(egress(), 0);
    join.egress(died, 0);
    expect(join.settle(0, false)).toEqual([]);
    expect(join.settle(1, false)).toEqual([]);
    join.access(access(), 2);
    expect(join.settle(2, true)).toMatchObject([{ status: 200 }]);
    expect(join.settle(3, true)).toEqual([]);
  });

  test("a denial without Envoy's line is recorded in the end; an admitted request waits", () => {
    const { join } = start(bind());
    join.egress(egress({ id: 'no', event: 'refused', verdict: 'Denied', reason: 'ModelNotAllowed' }), 0);
    join.egress(egress({ id: 'yes' }), 0);
    expect(join.settle(REFUSED_WAIT_MS - 1, true)).toEqual([]);
    expect(join.settle(REFUSED_WAIT_MS, true)).toMatchObject([{ decisionId: 'no', verdict: 'Denied', reason: 'ModelNotAllowed' }]);
    expect(join.settle(REFUSED_WAIT_MS * 100, true)).toEqual([]);
  });

  test('a snapshot carries what waits over a restart', () => {
    const before = start(bind());
    before.join.egress(egress(), 0);
    before.join.egress(egress({ id: 'id-2' }), 0);
    before.join.egress(died, 0);
    before.join.access(access({ id: 'nobody', source: '100.64.9.9' }), 0);
    before.join.settle(0, true);
    const { table } = start(bind());
    const after = new Join('0', table, JSON.parse(JSON.stringify(before.join.snapshot())), 1_000);
    after.access(access(), 1_000);
    const records = [0, 1, 2, BINDING_WAIT_MS].flatMap((ms) => after.settle(1_000 + ms, true));
    expect(records.map((r) => [r.decisionId, r.reason]).toSorted(([a], [b]) => (a! < b! ? -1 : 1))).toEqual([
      ['id-1', 'Allowed'],
      ['id-2', 'GatewayDied'],
      ['nobody', 'Allowed'],
    ]);
  });
});
