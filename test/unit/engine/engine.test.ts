import { describe, expect, test } from 'vitest';
import { silentLogger, sleep, systemClock } from '#lib';
import type { LedgerPort, ReserveRequest } from '#model';
import { createEngine } from '../../../src/egress/engine/index.ts';
import { compile, route } from '../policy/objects.ts';
import { BINDING, CHAT, harnesses, policyWith, type Harness } from './harness.ts';

const harness = harnesses();

describe('an allowed request', () => {
  test('goes on with the JSON that was judged, its length, its place in the trace and its route', async () => {
    const engine = harness();
    const answer = await engine.send(
      '{ "model":"gpt-4o-mini", "messages":[{"role":"user","content":"h\\u00e9"}], "temperature":1.0, "seed":12345678901234567890 }',
      { 'x-clrk-id': 'd1' },
    );
    expect(answer.cases).toEqual(['requestHeaders', 'requestBody']);
    expect(answer.text).toBe('{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hé"}],"temperature":1.0,"seed":12345678901234567890}');
    expect(answer.headers).toEqual({
      'content-length': String(Buffer.byteLength(answer.text)),
      traceparent: `00-${BINDING.traceId}-${answer.engine.spanId}-01`,
      'x-clrk-route': 'AIProviderRoute/demo/openai',
    });
    expect(answer.engine.spanId).toMatch(/^[0-9a-f]{16}$/);
    expect(answer.engine.spanId).not.toBe(BINDING.spanId);
    expect(answer.removed).toEqual(['x-clrk-id', 'x-clrk-source', 'x-clrk-destination', 'x-clrk-verdict', 'accept-encoding', 'tracestate']);
    expect(answer.engine).toMatchObject({
      verdict: 'Allowed',
      reason: 'Allowed',
      route: 'AIProviderRoute/demo/openai',
      rule: 0,
      revision: engine.policy!.revision,
      provider: 'openai',
      model: 'gpt-4o-mini',
      operation: 'chat',
      stream: false,
    });
    expect(engine.lines).toMatchObject([
      {
        event: 'admit',
        id: 'd1',
        gateway: 'demo/egress',
        source: BINDING.address,
        host: 'api.openai.com',
        method: 'POST',
        path: '/v1/chat/completions',
        verdict: 'Allowed',
        engine: answer.engine,
      },
    ]);
  });

  test('is recorded before it is answered, and refused when it cannot be', async () => {
    const order: string[] = [];
    const engine = harness({
      record: async () => {
        await sleep(5);
        order.push('recorded');
      },
    });
    await engine.send(CHAT).then(() => order.push('answered'));
    expect(order).toEqual(['recorded', 'answered']);
    const full = harness({ policy: policyWith(1000), record: () => Promise.reject(new Error('ENOSPC')) });
    expect(await full.send(CHAT)).toMatchObject({ status: 503, json: { error: { code: 'RecordUnavailable' } } });
    expect(full.ledger.counters('demo')).toMatchObject([{ key: 'budget/demo/openai/egress', used: 0, reserved: 0 }]);
  });

  test('says how much output it was held to: what it asks for, what is written into it, or nothing', async () => {
    const maxTokens = async (policy: ReturnType<typeof policyWith> | undefined, fields: object) =>
      (await harness(policy && { policy }).send({ ...CHAT, ...fields })).engine.maxTokens;
    expect(await maxTokens(undefined, {})).toBeUndefined();
    expect(await maxTokens(undefined, { max_tokens: 70 })).toBe(70);
    expect(await maxTokens(policyWith(1_000_000), {})).toBe(16_384);
    expect(await maxTokens(policyWith(1_000_000), { max_completion_tokens: 70 })).toBe(70);
    expect(await maxTokens(policyWith(0), { max_completion_tokens: 70 }), 'refused').toBe(70);
  });

  test('names each host the provider fetches from once, let through or not', async () => {
    const content = (...hosts: readonly string[]) => hosts.map((host) => ({ type: 'image_url', image_url: { url: `https://${host}/x.png` } }));
    const fetches = async (...hosts: readonly string[]) => {
      const engine = harness();
      const answer = await engine.send({ ...CHAT, messages: [{ role: 'user', content: content(...hosts) }] });
      expect(engine.lines[0]!.engine!.fetches).toEqual(answer.engine.fetches);
      return [answer.status, answer.engine.fetches];
    };
    expect(await fetches()).toEqual([200, undefined]);
    expect(await fetches('api.openai.com', 'api.openai.com')).toEqual([200, ['api.openai.com']]);
    expect(await fetches('api.openai.com', 'evil.example')).toEqual([403, ['api.openai.com', 'evil.example']]);
    const [, many] = await fetches(...Array.from({ length: 1_000 }, (_, n) => `h${n}.example`));
    expect(many).toHaveLength(32);
  });

  test('is asked for usage when it streams', async () => {
    const { json, engine } = await harness().send({ ...CHAT, stream: true });
    expect(json.stream_options).toEqual({ include_usage: true });
    expect(engine.stream).toBe(true);
  });
});

describe('a refused request', () => {
  const cases: readonly [name: string, status: number, code: string, body: unknown, headers?: Record<string, string>][] = [
    ['to an address that stands for another name', 421, 'AddressMismatch', CHAT, { 'x-clrk-destination': '198.18.0.2:443' }],
    ['on another port than that of the provider', 403, 'NoRoute', CHAT, { 'x-clrk-destination': '198.18.0.1:8443' }],
    ['from an address without a run', 403, 'NotClaimed', CHAT, { 'x-clrk-source': '100.64.0.9' }],
    ['for a host no route admits', 403, 'NoRoute', CHAT, { ':authority': 'evil.example', 'x-clrk-destination': '198.18.0.3:443' }],
    ['for an authority that is no name', 421, 'Misdirected', CHAT, { ':authority': 'api.openai.com@evil.example' }],
    ['for another port', 421, 'Misdirected', CHAT, { ':authority': 'api.openai.com:8443' }],
    ['for another endpoint', 403, 'EndpointNotBuilt', CHAT, { ':path': '/v1/files' }],
    ['for the endpoint in another spelling', 403, 'EndpointNotBuilt', CHAT, { ':path': '/v1/chat/./completions' }],
    ['with another content type', 415, 'UnsupportedMediaType', CHAT, { 'content-type': 'text/plain' }],
    ['with another charset', 415, 'UnsupportedMediaType', CHAT, { 'content-type': 'application/json; charset=utf-16' }],
    ['with a compressed body', 415, 'EncodedBody', CHAT, { 'content-encoding': 'gzip' }],
    ['that is not JSON', 400, 'InvalidJson', '{"model":'],
    ['that is empty', 400, 'InvalidJson', ''],
    ['that is no object', 400, 'InvalidJson', '[1]'],
    ['with a key twice', 400, 'DuplicateKey', '{"model":"gpt-4o","model":"o3","messages":[]}'],
    ['that nests too deep', 400, 'TooDeep', '['.repeat(5000)],
    ['that is not UTF-8', 400, 'InvalidUtf8', Buffer.from([0x7b, 0xff, 0x7d])],
    ['with a byte order mark', 400, 'InvalidJson', `\ufeff${JSON.stringify(CHAT)}`],
    ['without a model', 400, 'InvalidRequest', { messages: [] }],
    ['with a field in two cases', 400, 'AmbiguousField', { ...CHAT, MODEL: 'o3' }],
    [
      'that makes the provider fetch',
      403,
      'ProviderFetchNotAllowed',
      { ...CHAT, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://evil.example/?q=x' } }] }] },
    ],
    ['that is too large', 413, 'BodyTooLarge', Buffer.alloc(32 * 1024 * 1024 + 1, 0x20)],
  ];
  test.each(cases)('%s', async (_, status, code, body, headers) => {
    const engine = harness();
    const answer = await engine.send(body, headers);
    expect(answer.cases.at(-1)).toBe('immediateResponse');
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json');
    const id = engine.lines[0]!.id;
    expect(Object.keys(answer.json.error!).slice(0, 7)).toEqual(['code', 'message', 'decision', 'policy', 'route', 'gateway', 'revision']);
    expect(answer.json.error).toMatchObject({ code, decision: id, gateway: 'demo/egress', revision: code === 'NotClaimed' ? '' : engine.policy!.revision });
    expect(answer.json.error!.message).not.toBe('');
    expect(answer.engine).toMatchObject({ verdict: 'Denied', reason: code });
    expect(engine.lines).toMatchObject([{ event: 'refused', verdict: 'Denied', reason: code }]);
  });

  test('names route and policy when one took part', async () => {
    const engine = harness({ policy: policyWith(undefined, { matches: [{ provider: 'openai', models: ['gpt-4.1*'] }] }) });
    expect((await engine.send(CHAT)).json.error).toMatchObject({
      code: 'ModelNotAllowed',
      route: 'AIProviderRoute/demo/openai',
      policy: 'CredentialInjectionPolicy/demo/key',
      message: 'AIProviderRoute/demo/openai does not allow model "gpt-4o-mini".',
    });
  });

  test('while the gateway has no rules', async () => {
    const engine = harness();
    engine.policy = undefined;
    expect(await engine.send(CHAT)).toMatchObject({ status: 503, json: { error: { code: 'GatewayNotReady' } } });
  });

  test('without a body at all', async () => {
    expect(await harness().send('', {}, { endOfStream: true })).toMatchObject({ status: 400, json: { error: { code: 'InvalidJson' } } });
  });

  test('a query is in no record', async () => {
    const engine = harness();
    await engine.send(CHAT, { ':path': '/v1/chat/completions?key=secret' });
    expect(JSON.stringify(engine.lines)).not.toContain('secret');
  });
});

test('a stream that ends before its verdict, or cannot be attributed, fails and is never let through', async () => {
  const engine = harness();
  await expect(engine.send(CHAT, { 'x-clrk-id': '' })).rejects.toThrow('without gateway');
  const bare = createEngine({
    policy: () => policyWith(),
    binding: () => BINDING,
    nameOf: () => 'api.openai.com',
    admitted: () => {},
    ledger: engine.ledger,
    record: async () => {},
    clock: systemClock,
    log: silentLogger,
  });
  const nothing = async function* () {};
  const run = async (): Promise<void> => {
    const metadata = (key: string) => (key === 'x-clrk-gateway' ? 'demo/egress' : undefined);
    for await (const _ of bare.process(nothing() as never, { signal: new AbortController().signal, metadata }));
  };
  await expect(run()).rejects.toThrow('before its verdict');
});

describe('a day budget', () => {
  const KEY = 'budget/demo/openai/egress';
  const usage = (engine: Harness) => {
    const [{ used, reserved } = { used: 0, reserved: 0 }] = engine.ledger.counters('demo');
    return { used, reserved };
  };

  test('takes the bytes of the body as input and the own limit as output, times n', async () => {
    const engine = harness({ policy: policyWith(100_000) });
    const answer = await engine.send({ ...CHAT, max_completion_tokens: 50, n: 3 });
    const input = Buffer.byteLength(JSON.stringify({ ...CHAT, max_completion_tokens: 50, n: 3 }));
    expect(answer.engine).toMatchObject({ reservedInput: input, reservedOutput: 150 });
    expect(answer.json).toMatchObject({ max_completion_tokens: 50, n: 3 });
    expect(usage(engine)).toEqual({ used: 0, reserved: input + 150 });
  });

  test('without an own limit the model maximum is written in', async () => {
    const answer = await harness({ policy: policyWith(1_000_000) }).send(CHAT);
    expect(answer.json.max_completion_tokens).toBe(16_384);
    expect(answer.engine.reservedOutput).toBe(16_384);
    const stranger = await harness({ policy: policyWith(1_000_000) }).send({ ...CHAT, model: 'stranger' });
    expect(stranger.json.max_completion_tokens).toBe(8_192);
  });

  test('output is cut to what is left', async () => {
    const engine = harness({ policy: policyWith(500) });
    const { json, engine: metadata } = await engine.send({ ...CHAT, max_tokens: 10_000, n: 2 });
    expect(metadata.reservedInput! + metadata.reservedOutput!).toBeLessThanOrEqual(500);
    expect(metadata.reservedOutput).toBe(json.max_tokens! * 2);
    expect(500 - metadata.reservedInput! - metadata.reservedOutput!).toBeLessThan(2);
  });

  test('an image counts as the context window', async () => {
    const image = { ...CHAT, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] }] };
    expect((await harness({ policy: policyWith(1_000_000) }).send(image)).engine.reservedInput).toBe(128_000);
    expect((await harness({ policy: policyWith(100_000) }).send(image)).status).toBe(429);
  });

  test('a spent budget is 429 with what is left and when it resets', async () => {
    const engine = harness({ policy: policyWith(100) });
    await engine.ledger.reserve({
      id: 'earlier',
      execution: '',
      entries: [{ key: KEY, unit: 'tokens', window: 'day', cap: 100, amount: 90 }],
      deadline: Date.now() + 60_000,
    });
    const answer = await engine.send(CHAT);
    expect(answer).toMatchObject({ status: 429, json: { error: { code: 'BudgetExhausted', route: 'AIProviderRoute/demo/openai' } } });
    expect(answer.headers).toMatchObject({ 'x-clrk-budget-limit': '100', 'x-clrk-budget-remaining': '10' });
    expect(Number(answer.headers['x-clrk-budget-reset'])).toBeGreaterThan(0);
    expect(Number(answer.headers['x-clrk-budget-reset'])).toBeLessThanOrEqual(86_400);
    expect(answer.headers['retry-after']).toBe(answer.headers['x-clrk-budget-reset']);
    expect(answer.engine.reservedInput).toBeUndefined();
  });

  test('200 requests at once: exactly those pass for which there is room', async () => {
    const body = { ...CHAT, max_tokens: 40 };
    const each = Buffer.byteLength(JSON.stringify(body)) + 40;
    const engine = harness({ policy: policyWith(each * 10) });
    const answers = await Promise.all(Array.from({ length: 200 }, () => engine.send(body)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(190);
    expect(usage(engine)).toEqual({ used: 0, reserved: each * 10 });
  });

  test('a request that was cancelled meanwhile gives its reservation back', async () => {
    const abort = new AbortController();
    const ledger: LedgerPort = {
      reserve: async (request) => {
        const answer = await engine.ledger.reserve(request);
        abort.abort();
        return answer;
      },
      settle: (settlement) => engine.ledger.settle(settlement),
    };
    const engine: Harness = harness({ policy: policyWith(1_000_000), ledger });
    await expect(engine.send(CHAT, {}, { signal: abort.signal })).rejects.toThrow();
    expect(usage(engine)).toEqual({ used: 0, reserved: 0 });
    expect(engine.lines).toEqual([]);
  });

  test('a rule without a budget needs no ledger', async () => {
    const away: LedgerPort = { reserve: () => Promise.reject(new Error('away')), settle: () => Promise.reject(new Error('away')) };
    expect((await harness({ ledger: away }).send(CHAT)).status).toBe(200);
  });

  test('a ledger that is away holds the request, then refuses it', async () => {
    let asked = 0;
    const away: LedgerPort = {
      reserve: () => {
        asked++;
        return Promise.reject(new Error('away'));
      },
      settle: () => Promise.reject(new Error('away')),
    };
    const started = performance.now();
    expect(await harness({ policy: policyWith(1_000_000), ledger: away, holdMs: 300 }).send(CHAT)).toMatchObject({
      status: 503,
      json: { error: { code: 'LedgerUnavailable' } },
    });
    expect(performance.now() - started).toBeGreaterThanOrEqual(290);
    expect(asked).toBeGreaterThan(2);
  });

  test('a ledger that never answers is left, and what it may have granted is given back', async () => {
    const settled: string[] = [];
    const silent: LedgerPort = {
      reserve: () => new Promise(() => {}),
      settle: async ({ id, tokens, microdollars }) => void settled.push(`${id} ${tokens} ${microdollars}`),
    };
    const engine = harness({ policy: policyWith(1_000_000), ledger: silent, holdMs: 50 });
    expect((await engine.send(CHAT, { 'x-clrk-id': 'held' })).status).toBe(503);
    expect(settled).toEqual(['held 0 0']);
  });

  test('a ledger that comes back in time serves the request', async () => {
    let away = 3;
    const asked: ReserveRequest[] = [];
    const engine: Harness = harness({
      policy: policyWith(1_000_000),
      ledger: {
        reserve: (request) => {
          asked.push(request);
          return away-- > 0 ? Promise.reject(new Error('away')) : engine.ledger.reserve(request);
        },
        settle: (settlement) => engine.ledger.settle(settlement),
      },
    });
    expect((await engine.send(CHAT)).status).toBe(200);
    expect(new Set(asked.map(({ id, entries }) => `${id} ${entries[0]!.amount}`)).size).toBe(1);
    expect(asked[0]!.deadline - Date.now()).toBeGreaterThan(320_000);
  });
});

test('of several routes that claim the host, the one that allows the request is named', async () => {
  const mini = route({ rules: [{ matches: [{ provider: 'openai', models: ['*mini'] }] }] }, 'mini');
  const large = route({ rules: [{ matches: [{ provider: 'openai', models: ['o3'] }] }] }, 'large', '2026-01-01T00:00:00Z');
  const engine = harness({ policy: compile({ aiRoutes: [mini, large] }).policySet });
  expect((await engine.send(CHAT)).headers['x-clrk-route']).toBe('AIProviderRoute/demo/mini');
});
