import { describe, expect, test } from 'vitest';
import type { AccessLine, PolicySet } from '#model';
import { costOf, settlementOf } from '#policy';
import { compile, gateway, route } from '../policy/objects.ts';
import { BINDING, CHAT, createHarness, policyWith, type Harness } from './harness.ts';

const capped = (tokenBudget: object, rule: object = {}, prices?: Readonly<Record<string, string>>): PolicySet =>
  compile({
    aiRoutes: [route({ rules: [{ matches: [{ provider: 'openai' }], filters: [{ type: 'TokenBudget', tokenBudget }], ...rule }] as never })],
    configMap: () => prices,
  }).policySet;

const open = (policy: PolicySet): Harness => createHarness({ policy });
const bytes = (body: object): number => Buffer.byteLength(JSON.stringify(body));
const counters = (engine: Harness) => engine.ledger.counters('demo').map(({ unit, window, used, reserved }) => ({ unit, window, used, reserved }));

/** The line Envoy would write of an answer, settled. */
const settle = async (engine: Harness, answer: Awaited<ReturnType<Harness['send']>>, fields: Partial<AccessLine>): Promise<void> => {
  const line: AccessLine = {
    time: '',
    id: engine.lines.at(-1)!.id,
    chain: 'http',
    gateway: 'demo/egress',
    source: '',
    status: 200,
    upstream: '192.0.2.1:443',
    engine: answer.engine,
    ...fields,
  };
  await engine.ledger.settle(settlementOf(line)!);
};

describe('maxCostPerDay', () => {
  test('holds what the bound of input and output can cost, and counts what they did cost', async () => {
    await using engine = open(capped({ maxCostPerDay: '1' }));
    const body = { ...CHAT, max_tokens: 100 };
    const answer = await engine.send(body);
    expect(answer.status).toBe(200);
    expect(counters(engine)).toEqual([{ unit: 'microdollars', window: 'day', used: 0, reserved: Math.ceil(bytes(body) * 0.15 + 100 * 0.6) }]);
    expect(answer.engine.price).toEqual({ tiers: [{ above: 0, input: 0.15, cachedInput: 0.075, cacheCreation: 0.15, output: 0.6 }] });
    await settle(engine, answer, { usage: { input: 40, output: 20, cachedInput: 10 } });
    expect(counters(engine)).toEqual([{ unit: 'microdollars', window: 'day', used: Math.ceil(30 * 0.15 + 10 * 0.075 + 20 * 0.6), reserved: 0 }]);
  });

  test('the output is cut to what there is money for', async () => {
    await using engine = open(capped({ maxCostPerDay: '0.0001' })); // 100 millionths
    const body = { ...CHAT, n: 2 };
    const { json, engine: metadata, status } = await engine.send(body);
    expect(status).toBe(200);
    const each = json.max_completion_tokens!;
    expect(metadata.reservedOutput).toBe(each * 2);
    expect(costOf(metadata.price!, { input: bytes(body), output: each * 2 })).toBeLessThanOrEqual(100);
    expect(costOf(metadata.price!, { input: bytes(body), output: (each + 1) * 2 })).toBeGreaterThan(100);
  });

  test('200 requests at once: exactly those pass for which there is money', async () => {
    const body = { ...CHAT, max_tokens: 40 };
    const each = Math.ceil(bytes(body) * 0.15 + 40 * 0.6);
    await using engine = open(capped({ maxCostPerDay: ((each * 10) / 1e6).toFixed(6) }));
    const answers = await Promise.all(Array.from({ length: 200 }, () => engine.send(body)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(counters(engine)).toEqual([{ unit: 'microdollars', window: 'day', used: 0, reserved: each * 10 }]);
  });

  test('what is left is told in dollars and counted in their millionths', async () => {
    await using engine = open(capped({ maxCostPerDay: '0.00001' }));
    const answer = await engine.send({ ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(400) }] });
    expect(answer.status).toBe(429);
    expect(answer.json.error!['message']).toMatch(
      /needs at least \$0\.0000\d+; \$0\.00001 of \$0\.00001 are left until .*Z \(spec\.rules\[0\]\.filters\[0\]\.tokenBudget\.maxCostPerDay of AIProviderRoute\/demo\/openai\)\.$/,
    );
    expect(answer.headers).toMatchObject({ 'x-clrk-budget-limit': '10', 'x-clrk-budget-remaining': '10', 'x-clrk-budget-unit': 'microdollars' });
    expect(answer.json.error!['budget']).toMatchObject({ unit: 'microdollars', window: 'day', limit: 10, remaining: 10 });
  });

  test.each([
    ['an unknown model', { ...CHAT, model: 'stranger' }, 'No price is known for model "stranger" of provider openai'],
    ['a model whose output has no price', { ...CHAT, model: 'text-embedding-3-small' }, 'No price is known for the output of model'],
  ])('%s is refused', async (_, body, message) => {
    await using engine = open(capped({ maxCostPerDay: '1' }));
    const answer = await engine.send(body);
    expect(answer).toMatchObject({ status: 403, json: { error: { code: 'PriceUnknown' } } });
    expect(answer.json.error!['message']).toContain(message);
    expect(counters(engine)).toEqual([]);
  });

  test('what a provider runs for the request has no price, also where it may fetch from anywhere', async () => {
    const filters = [{ type: 'TokenBudget' as const, tokenBudget: { maxCostPerDay: '1' } }];
    const { policySet } = compile({
      gateway: gateway({ defaultPolicy: 'allow-all' }),
      aiRoutes: [route({ rules: [{ matches: [{ provider: 'openai' }], filters }] })],
    });
    await using engine = open(policySet);
    expect(await engine.send({ ...CHAT, web_search_options: {} })).toMatchObject({ status: 403 });
  });

  test('what asks for another price than that of the list is refused', async () => {
    await using engine = open(capped({ maxCostPerDay: '1' }));
    expect(await engine.send({ ...CHAT, service_tier: 'priority' })).toMatchObject({ status: 403, json: { error: { code: 'PriceUnknown' } } });
    expect((await engine.send({ ...CHAT, service_tier: 'flex' })).status).toBe(200);
    expect(await engine.send(CHAT, { 'x-amzn-bedrock-service-tier': 'priority' })).toMatchObject({ status: 403, json: { error: { code: 'PriceUnknown' } } });
    await using open_ = open(policyWith(1_000_000));
    expect((await open_.send({ ...CHAT, service_tier: 'priority' })).status).toBe(200);
  });

  test('an unknown model with a price of the namespace is counted by it', async () => {
    await using engine = open(capped({ maxCostPerDay: '1' }, {}, { openai: '{"stranger": {"input": 2, "output": 3}}' }));
    const body = { ...CHAT, model: 'stranger', max_tokens: 10 };
    expect((await engine.send(body)).status).toBe(200);
    expect(counters(engine)).toEqual([{ unit: 'microdollars', window: 'day', used: 0, reserved: bytes(body) * 2 + 30 }]);
  });

  test('without a cap on money an unknown model passes, and its price is not told', async () => {
    await using engine = open(policyWith(1_000_000));
    const answer = await engine.send({ ...CHAT, model: 'stranger' });
    expect(answer.status).toBe(200);
    expect(answer.engine.price).toBeUndefined();
  });
});

describe('maxCostPerExecution and maxTokensPerExecution', () => {
  test.each([
    [{ maxTokensPerExecution: 200 }, 'tokens', '200'],
    [{ maxCostPerExecution: '0.00005' }, 'microdollars', '50'],
  ])('%j: a run that spent it is refused for its rest, without a time to come back', async (caps, unit, limit) => {
    await using engine = open(capped(caps));
    const first = await engine.send({ ...CHAT, max_tokens: 50 });
    expect(first.status).toBe(200);
    await settle(engine, first, { usage: { input: 150, output: 49 } });
    const answer = await engine.send({ ...CHAT, max_tokens: 50 });
    expect(answer).toMatchObject({ status: 429, json: { error: { code: 'BudgetExhausted' } } });
    expect(answer.json.error!['message']).toContain('left for the rest of this run');
    expect(answer.headers).toMatchObject({ 'x-clrk-budget-limit': limit, 'x-clrk-budget-unit': unit, 'x-should-retry': 'false' });
    expect([answer.headers['x-clrk-budget-reset'], answer.headers['retry-after']]).toEqual([undefined, undefined]);
    expect(answer.json.error!['budget']).not.toHaveProperty('reset');
  });
});

test('the scarcest of several caps decides, and is named', async () => {
  await using engine = open(capped({ maxTokensPerDay: 1_000_000, maxTokensPerExecution: 100_000, maxCostPerDay: '0.00001', maxCostPerExecution: '5' }));
  const answer = await engine.send({ ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(400) }] });
  expect(answer.json.error!['budget']).toMatchObject({ field: 'spec.rules[0].filters[0].tokenBudget.maxCostPerDay' });
  expect(counters(engine)).toEqual([]);
});

test.each([{ maxTokensPerDay: 0 }, { maxTokensPerExecution: 0 }, { maxCostPerDay: '0' }, { maxCostPerExecution: '0.000000' }])(
  '%j lets nothing through, not even what is free',
  async (caps) => {
    await using engine = open(capped(caps, {}, { openai: '{"*": {"input": 0, "output": 0}}' }));
    expect(await engine.send(CHAT)).toMatchObject({ status: 429, json: { error: { code: 'BudgetExhausted' } } });
  },
);

test.each(['maxTokensPerDay', 'maxTokensPerExecution'])('%s: room for the input alone is too little, with one token of output it is enough', async (field) => {
  for (const [room, status] of [
    [0, 429],
    [1, 200],
  ] as const) {
    await using engine = open(capped({ [field]: bytes(CHAT) + room }));
    expect((await engine.send(CHAT)).status).toBe(status);
  }
});

describe('maxOutputTokensPerRequest', () => {
  const limits = async (maxOutputTokensPerRequest: number, body: object, more: object = {}) => {
    await using engine = open(capped({ maxOutputTokensPerRequest, ...more }));
    const answer = await engine.send({ ...CHAT, ...body });
    return [answer.status, answer.json.max_tokens ?? answer.json.max_completion_tokens ?? answer.json.error?.['code']];
  };
  test.each<[string, number, object, (string | number)[]]>([
    ['is written into a request that says nothing', 300, {}, [200, 300]],
    ['lowers a request that asks for more', 300, { max_tokens: 301 }, [200, 300]],
    ['leaves a request that asks for less', 300, { max_tokens: 299 }, [200, 299]],
    ['is for all answers together', 300, { n: 7 }, [200, 42]],
    ['refuses more answers than it has tokens', 5, { n: 6 }, [403, 'OutputLimitExceeded']],
  ])('%s', async (_, cap, body, expected) => expect(await limits(cap, body)).toEqual(expected));
  test('refuses what nothing in the request could lower', async () => {
    const image = { model: 'gpt-image-1', prompt: 'a boat' };
    const send = async (maxOutputTokensPerRequest: number) => {
      await using engine = open(capped({ maxOutputTokensPerRequest }));
      return engine.send(image, { ':path': '/v1/images/generations' });
    };
    expect(await send(10)).toMatchObject({ status: 403, json: { error: { code: 'OutputLimitExceeded' } } });
    expect((await send(1_000_000)).status).toBe(200);
  });
  test('bounds what is held of another cap', async () => {
    await using engine = open(capped({ maxOutputTokensPerRequest: 7, maxTokensPerDay: 1_000 }));
    const { engine: metadata } = await engine.send(CHAT);
    expect(metadata).toMatchObject({ reservedInput: bytes(CHAT), reservedOutput: 7 });
  });
  test('the smallest of several filters decides', async () => {
    const filters = [{ maxOutputTokensPerRequest: 90 }, { maxOutputTokensPerRequest: 30 }].map((tokenBudget) => ({ type: 'TokenBudget', tokenBudget }));
    await using engine = open(capped({}, { filters }));
    expect((await engine.send(CHAT)).json.max_completion_tokens).toBe(30);
  });
});

describe('budgetRef', () => {
  const filters = (maxTokensPerDay: number) => [{ type: 'TokenBudget' as const, tokenBudget: { maxTokensPerDay, budgetRef: 'team' } }];
  test('routes and rules share a counter, and each holds its own cap against it', async () => {
    const { policySet } = compile({
      aiRoutes: [
        route({ rules: [{ matches: [{ provider: 'openai', models: ['gpt-4o-mini'] }], filters: filters(1_000) }] }, 'a'),
        route({ rules: [{ matches: [{ provider: 'openai', models: ['gpt-4o'] }], filters: filters(400) }] }, 'b'),
      ],
    });
    await using engine = open(policySet);
    expect((await engine.send({ ...CHAT, max_tokens: 500 })).status).toBe(200);
    expect(engine.ledger.counters('demo')).toMatchObject([{ key: 'shared/demo/team' }]);
    const other = await engine.send({ ...CHAT, model: 'gpt-4o', max_tokens: 1 });
    expect(other).toMatchObject({ status: 429, json: { error: { budget: { limit: 400, remaining: 0 } } } });
    expect((await engine.send({ ...CHAT, max_tokens: 100 })).status).toBe(200);
  });
});

test('a request has the budget, the limit of output and the fetches of the rule that matched, and of no other', async () => {
  const rules = [
    { matches: [{ provider: 'openai', models: ['o3'] }], filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay: 0 } }], providerFetches: ['*'] },
    { matches: [{ provider: 'openai' }], filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerExecution: 90_000, maxOutputTokensPerRequest: 40 } }] },
  ];
  await using engine = open(compile({ aiRoutes: [route({ rules: rules as never })] }).policySet);
  expect((await engine.send(CHAT)).json.max_completion_tokens).toBe(40);
  expect(engine.ledger.counters('demo')).toMatchObject([{ window: 'execution', execution: BINDING.invocation, cap: 90_000 }]);
  expect(await engine.send({ ...CHAT, model: 'o3' })).toMatchObject({ status: 429 });
  expect(await engine.send({ ...CHAT, web_search_options: {} })).toMatchObject({ status: 403, json: { error: { code: 'ProviderFetchNotAllowed' } } });
});

test('prices are those of the namespace of the route', async () => {
  const tls = { protocol: 'TLS' as const, tls: { mode: 'Terminate' as const }, allowedRoutes: { namespaces: { from: 'All' as const } } };
  const parentRefs = [{ kind: 'EgressGateway', name: 'egress', namespace: 'demo' }];
  const rules = (models: string) => [
    { matches: [{ provider: 'openai', models: [models] }], filters: [{ type: 'TokenBudget' as const, tokenBudget: { maxCostPerDay: '1' } }] },
  ];
  const { policySet } = compile({
    gateway: gateway({ listeners: [{ name: 'tls', ...tls }] }),
    aiRoutes: [route({ parentRefs, rules: rules('gpt-4o') }, 'a'), route({ parentRefs, rules: rules('gpt-4o-mini') }, 'b', undefined, 'team')],
    configMap: (_, namespace) => ({ openai: JSON.stringify({ '*': { input: namespace === 'team' ? 7 : 5, output: 1 } }) }),
  });
  await using engine = open(policySet);
  const price = async (model: string) => (await engine.send({ ...CHAT, model, max_tokens: 1 })).engine.price?.tiers[0]?.input;
  expect([await price('gpt-4o'), await price('gpt-4o-mini')]).toEqual([5, 7]);
});

describe('what a request cost', () => {
  const price = { tiers: [{ above: 0, input: 2, cachedInput: 1, cacheCreation: 3, output: 10 }] };
  const line = (fields: Partial<AccessLine>, engine: object = {}): AccessLine => ({
    time: '',
    id: 'd1',
    chain: 'http',
    gateway: 'demo/egress',
    source: '',
    status: 200,
    upstream: '192.0.2.1:443',
    responseBytes: 40,
    engine: {
      verdict: 'Allowed',
      reason: 'Allowed',
      route: 'r',
      rule: 0,
      revision: 'x',
      provider: 'openai',
      model: 'gpt-4o',
      stream: true,
      reservedInput: 100,
      reservedOutput: 1000,
      price,
      ...engine,
    },
    ...fields,
  });
  test.each<[string, AccessLine, number]>([
    ['by what was reported', line({ usage: { input: 11, output: 5 } }), 72],
    ['cached input by its own price', line({ usage: { input: 11, output: 5, cachedInput: 4 } }), 68],
    ['the dearest it can be when half of it is not reported', line({ usage: { output: 5 } }), 350],
    ['the dearest input of a stream that was cut, and its bytes of output', line({ flags: 'DC' }), 700],
    ['nothing without an upstream', line({ upstream: undefined, status: 503, flags: 'UH' }), 0],
    ['the bound when the provider failed', line({ status: 500 }), 10_300],
    ['the bound of a cut stream that may think unseen', line({ flags: 'DC' }, { model: 'o3' }), 10_300],
    ['nothing without a price', line({ usage: { input: 11, output: 5 } }, { price: undefined }), 0],
  ])('%s', (_, access, microdollars) => expect(settlementOf(access)?.microdollars).toBe(microdollars));
});
