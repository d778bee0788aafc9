import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ModelPrice } from '#model';
import { costBound, costOf, decide, outputWithin, PRICES_CONFIG_MAP } from '#policy';
import { priceOf } from '#policy/prices';
import { compilePrices } from '../../../src/policy/price-overrides.ts';
import { compile, route } from './objects.ts';

const NOW = Date.UTC(2026, 8, 1);
const ask = (provider: string, model: string, more: object = {}) => priceOf({ provider, model, now: NOW, ...more });

describe('the list', () => {
  test.each([
    ['openai', 'gpt-4o-mini', [{ above: 0, input: 0.15, cachedInput: 0.075, cacheCreation: 0.15, output: 0.6 }]],
    ['openai', 'gpt-4o-mini-2024-07-18', [{ above: 0, input: 0.15, cachedInput: 0.075, cacheCreation: 0.15, output: 0.6 }]],
    ['azure-openai', 'gpt-4o', [{ above: 0, input: 2.5, cachedInput: 1.25, cacheCreation: 2.5, output: 10 }]],
    [
      'google',
      'gemini-2.5-pro',
      [
        { above: 0, input: 1.25, cachedInput: 0.125, cacheCreation: 1.25, output: 10 },
        { above: 200_000, input: 2.5, cachedInput: 0.25, cacheCreation: 2.5, output: 15 },
      ],
    ],
    ['bedrock', 'anthropic.claude-3-5-sonnet-20240620-v1:0', [{ above: 0, input: 3, cachedInput: 0.3, cacheCreation: 3.75, output: 15 }]],
    ['openai', 'text-embedding-3-small', [{ above: 0, input: 0.02, cachedInput: 0.02, cacheCreation: 0.02 }]],
  ])('%s %s', (provider, model, tiers) => expect(ask(provider, model)).toEqual({ tiers }));

  test.each([
    ['openai', 'gpt-4o-hacked'],
    ['openai', 'ft:gpt-4o-mini:org::id'],
    ['openai', 'whisper-1'],
    ['openai', 'gpt-4o-audio-preview'], // of sound the list says nothing
    ['custom', 'gpt-4o-mini'],
    ['nobody', 'gpt-4o-mini'],
  ])('%s %s has no price', (provider, model) => expect(ask(provider, model)).toBeUndefined());

  test('what costs more than text has the highest price of its kind', () => {
    expect(ask('anthropic', 'claude-3-5-haiku-latest', { dearer: true })?.tiers[0]).toMatchObject({ input: 0.8, cacheCreation: 1.6 });
    expect(ask('anthropic', 'claude-3-5-haiku-latest')?.tiers[0]).toMatchObject({ input: 0.8, cacheCreation: 1 });
    expect(ask('openai', 'gpt-realtime-mini', { dearer: true })!.tiers[0]!.input).toBeGreaterThan(ask('openai', 'gpt-realtime-mini')!.tiers[0]!.input);
  });
});

describe('prices of a namespace', () => {
  const list = compilePrices({
    openai: '{"gpt-*": {"input": 9, "output": 9}, "gpt-4o-mini": {"input": 1.50, "cachedInput": 0.5, "cacheCreation": 2, "output": 6, "reasoning": 7}}',
    Custom: '{"*": {"input": 0}}',
  });
  test('go before the list, a name before a glob', () => {
    expect(ask('openai', 'gpt-4o-mini', { list })).toEqual({ tiers: [{ above: 0, input: 1.5, cachedInput: 0.5, cacheCreation: 2, output: 6, reasoning: 7 }] });
    expect(ask('openai', 'gpt-9', { list })).toEqual({ tiers: [{ above: 0, input: 9, cachedInput: 9, cacheCreation: 9, output: 9 }] });
    expect(ask('custom', 'mine', { list })).toEqual({ tiers: [{ above: 0, input: 0, cachedInput: 0, cacheCreation: 0 }] });
    expect(ask('openai', 'o3', { list })).toEqual(ask('openai', 'o3'));
  });

  test.each([
    [{ mistral: '{}' }, 'data has the key "mistral", which is no provider; known are openai'],
    [{ openai: 'nonsense' }, 'data.openai is not JSON without repeated keys (InvalidJson)'],
    [{ openai: '{"a": {"input": 1}, "a": {"input": 2}}' }, 'data.openai is not JSON without repeated keys (DuplicateKey)'],
    [{ openai: '[]' }, 'data.openai must be a JSON object of models'],
    [{ openai: '{"a": 3}' }, 'data.openai["a"] must be an object with the prices'],
    [{ openai: '{"a": {}}' }, 'data.openai["a"].input must be a number of US dollars'],
    [{ openai: '{"a": {"input": "1"}}' }, 'data.openai["a"].input must be a number'],
    [{ openai: '{"a": {"input": -1}}' }, 'data.openai["a"].input must be a number'],
    [{ openai: '{"a": {"input": 1, "output": 1e9}}' }, 'data.openai["a"].output must be a number'],
    [{ openai: '{"a": {"input": 1, "ouput": 1}}' }, 'data.openai["a"] has the field "ouput"; known are input'],
    [{ openai: '{"": {"input": 1}}' }, 'data.openai has a model whose name is empty'],
    [{ openai: JSON.stringify(Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`m${i}`, { input: 1 }]))) }, 'it has 1001 models'],
  ])('%j is refused', (data, problem) => expect(compilePrices(data)).toEqual({ overrides: [], problem: expect.stringContaining(problem) as string }));
});

describe('a route whose prices cannot be used', () => {
  const capped = (tokenBudget: object) => route({ rules: [{ matches: [{ provider: 'openai' }], filters: [{ type: 'TokenBudget', tokenBudget }] }] });
  const with_ = (tokenBudget: object) =>
    compile({
      aiRoutes: [capped(tokenBudget)],
      configMap: (name, namespace) => (name === PRICES_CONFIG_MAP && namespace === 'demo' ? { openai: '' } : undefined),
    });
  const CHAT = { host: 'api.openai.com', port: 443, method: 'POST', path: '/v1/chat/completions', provider: 'openai', model: 'gpt-4o' };

  test.each([{ maxCostPerDay: '1' }, { maxCostPerExecution: '1' }])('%j: nothing passes, and the condition says why', (caps) => {
    const { policySet, routes } = with_(caps);
    expect(decide(policySet, CHAT)).toMatchObject({ verdict: 'Denied', reason: 'InvalidPrices', status: 503 });
    expect(routes[0]!.parents[0]!.resolvedRefs).toMatchObject({ status: 'False', reason: 'InvalidPrices' });
    expect(routes[0]!.parents[0]!.resolvedRefs.message).toContain('ConfigMap clrk-model-prices of namespace demo cannot be used: data.openai');
  });

  test('without a cap on money it does not matter', () => {
    const { policySet, routes } = with_({ maxTokensPerDay: 5 });
    expect(decide(policySet, CHAT).verdict).toBe('Allowed');
    expect(routes[0]!.parents[0]!.resolvedRefs.status).toBe('True');
  });
});

describe('costs', () => {
  const price: ModelPrice = {
    tiers: [
      { above: 0, input: 3, cachedInput: 0.3, cacheCreation: 3.75, output: 15 },
      { above: 200_000, input: 6, cachedInput: 0.6, cacheCreation: 7.5, output: 22.5 },
    ],
  };
  test('each kind of token at its price, in millionths of a dollar rounded up', () => {
    expect(costOf(price, { input: 1_000, output: 100 })).toBe(4_500);
    expect(costOf(price, { input: 1_000, output: 100, cachedInput: 400, cacheCreation: 200 })).toBe(400 * 3 + 120 + 750 + 1_500);
    expect(costOf(price, { input: 200_001, output: 1 })).toBe(1_200_029);
    expect(costOf({ tiers: [{ above: 0, input: 0.1, cachedInput: 0.1, cacheCreation: 0.1, output: 0.4 }] }, { input: 1, output: 0 })).toBe(1);
    expect(costOf({ tiers: [{ ...price.tiers[0]!, reasoning: 20 }] }, { input: 0, output: 10, reasoning: 4 })).toBe(170);
  });

  test('parts that are more than the whole count once', () => expect(costOf(price, { input: 10, output: 0, cachedInput: 50, cacheCreation: 50 })).toBe(38));

  const tokens = fc.nat(500_000);
  const dollars = fc.double({ min: 0, max: 100, noNaN: true });
  const tier = (above: number) => fc.record({ above: fc.constant(above), input: dollars, cachedInput: dollars, cacheCreation: dollars, output: dollars });
  const prices = fc.tuple(tier(0), tier(200_000)).map((tiers) => ({ tiers }));

  test('whatever is used within the bounds costs no more than the bound', () =>
    fc.assert(
      fc.property(
        prices,
        tokens,
        tokens,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
        (of, input, output, [a, b, c, d]) => {
          const used = { input: Math.floor(input * a!), output: Math.floor(output * b!) };
          const parts = { cachedInput: Math.floor(used.input * c!), cacheCreation: Math.floor(used.input * d!) };
          expect(costOf(of, { ...used, ...parts })).toBeLessThanOrEqual(costBound(of, input, output));
        },
      ),
    ));

  test('the output that fits is the most that does', () =>
    fc.assert(
      fc.property(prices, tokens, tokens, fc.nat(50_000_000), (of, input, atMost, left) => {
        const fits = outputWithin(of, input, left, atMost);
        if (fits > 0) expect(costBound(of, input, fits)).toBeLessThanOrEqual(left);
        if (fits < atMost) expect(costBound(of, input, fits + 1)).toBeGreaterThan(left);
      }),
    ));
});
