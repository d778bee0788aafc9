import { describe, expect, test } from 'vitest';
import { EXCHANGE_COLUMNS } from '#telemetry';
import { parseAccess, parseEgress } from '../../../src/telemetry/recorder/lines.ts';
import { recordOfAccess, recordOfEgress } from '../../../src/telemetry/recorder/record.ts';
import { HONEST } from '../../golden/usage/shapes.ts';
import { golden, type GoldenLine } from './golden-lines.ts';

/** Of messages to MCP servers, which are no requests to LLMs. */
const OF_TOOLS = 'gen_ai.tool.name';

/** A record as OpenTelemetry attributes, those of an LLM request. */
const attributesOf = (record: object): Record<string, unknown> =>
  Object.fromEntries(
    EXCHANGE_COLUMNS.flatMap(({ field, attributes }) =>
      attributes
        .filter((name) => name !== OF_TOOLS && /^(gen_ai\.|clrk\.(provider_fetch|aiproviderroute|budget|credential|cost))/.test(name))
        .map((name) => [name, field && (record as Record<string, unknown>)[field]] as const),
    ).filter(([, value]) => value !== undefined),
  );
const recordOf = ({ line }: Pick<GoldenLine, 'line'>) => recordOfAccess(parseAccess(JSON.stringify(line))!, undefined, '0');

describe("a line of Envoy's log has every attribute of its LLM request", () => {
  test.each(golden)('$name', (each) => {
    expect(attributesOf(recordOf(each))).toEqual(each.attributes);
  });

  test.each(HONEST)('what $name used', ({ provider, usage, totals }) => {
    const { attributes, line } = golden[0]!;
    const record = recordOf({ line: { ...line, engine: { ...(line['engine'] as object), provider }, usage } });
    expect({
      input: record.inputTokens,
      output: record.outputTokens,
      cachedInput: record.cachedInputTokens,
      cacheCreation: record.cacheCreationTokens,
      reasoning: record.reasoningTokens,
    }).toEqual({ input: undefined, output: undefined, cachedInput: undefined, cacheCreation: undefined, reasoning: undefined, ...totals });
    expect(record.finishReasons).toEqual(usage?.finishReason?.split(',') ?? []);
    expect([record.responseModel, record.responseId]).toEqual([usage?.responseModel ?? '', usage?.responseId ?? '']);
    expect(attributesOf(record)['clrk.budget.reserved_tokens']).toBe(attributes['clrk.budget.reserved_tokens']);
  });

  test('between them they have every attribute there is', () => {
    const all = EXCHANGE_COLUMNS.flatMap(({ attributes }) => attributes).filter((name) => name.startsWith('gen_ai.') && name !== OF_TOOLS);
    const seen = new Set(golden.flatMap(({ attributes }) => Object.keys(attributes)));
    expect(all.filter((name) => !seen.has(name))).toEqual([]);
  });
});

const [first] = golden;
const changed = (over: object) => recordOf({ line: { ...first!.line, ...over } });
const engine = first!.line['engine'] as object;

describe('what is odd', () => {
  test('numbers, texts and lists of another type are absent, never a guess', () => {
    const record = changed({
      engine: { ...engine, maxTokens: '5', fetches: 'a.example', reservedInput: null, rule: '0' },
      usage: { input: '7', output: [1], cachedInput: {}, total: -5, reasoning: 1e300, responseModel: 5, responseId: null, finishReason: ['stop'] },
      credential: { replaced: ['header'], echoed: 7, refused: {} },
    });
    for (const field of ['maxTokens', 'reservedTokens', 'inputTokens', 'outputTokens', 'cachedInputTokens', 'cacheCreationTokens', 'reasoningTokens'] as const)
      expect(record[field], field).toBeUndefined();
    expect(record).toMatchObject({
      responseModel: '',
      responseId: '',
      finishReasons: [],
      providerFetches: [],
      credentialsReplaced: [],
      credentialsEchoed: [],
      routeMatched: false,
      budgetOverrun: false,
    });
  });

  test('lists are bounded, each entry is there once, and what looks like a key is masked', () => {
    const key = 'sk-proj-Canary00Canary11Canary22';
    const record = changed({
      engine: { ...engine, fetches: [key, ...Array.from({ length: 100 }, (_, n) => `h${n}.example`)] },
      usage: { responseModel: key, responseId: key, finishReason: `stop, stop,length,${key}` },
      credential: { replaced: `header authorization, query ${key}`, echoed: key },
    });
    expect(record.providerFetches).toHaveLength(32);
    expect(record.providerFetches.slice(0, 2)).toEqual(['[redacted]', 'h0.example']);
    expect(record.finishReasons).toEqual(['stop', 'length', '[redacted]']);
    expect(record.credentialsReplaced).toEqual(['header authorization', 'query [redacted]']);
    expect(JSON.stringify(record)).not.toMatch(/canary00/i);
  });

  test('more tokens than were reserved are an overrun; without a reservation, or as many, none', () => {
    const used = (input: number, output: number, reserved: object = { reservedInput: 100, reservedOutput: 50 }) => {
      const { reservedInput: _, reservedOutput: __, ...rest } = engine as Record<string, unknown>;
      const { budgetOverrun, reservedTokens } = changed({ engine: { ...rest, ...reserved }, usage: { input, output } });
      return [budgetOverrun, reservedTokens];
    };
    expect(used(100, 50)).toEqual([false, 150]);
    expect(used(120, 30)).toEqual([false, 150]);
    expect(used(100, 51)).toEqual([true, 150]);
    expect(used(1e6, 1e6, {})).toEqual([false, undefined]);
    expect(used(6, 0, { reservedInput: 5, reservedOutput: 0 })).toEqual([true, 5]);
  });

  test('a cost is that of what was reported; of what was not, the most it can have been, where that was held; else there is none', () => {
    const costs = (over: object, of: object = {}) => {
      const { costUsd, costEstimated } = changed({ ...over, engine: { ...engine, ...of } });
      return [costUsd, costEstimated];
    };
    const { reservedInput: _, reservedOutput: __, ...free } = engine as Record<string, unknown>;
    expect(costs({ usage: { input: 1_000_000, output: 1 } })).toEqual([0.150_001, false]);
    expect(costs({ usage: undefined, status: 500 })).toEqual([(1_200 * 0.15 + 256 * 0.6 + 0.4) / 1e6, true]);
    expect(costs({ usage: undefined, status: 401 })).toEqual([0, false]);
    expect(changed({ usage: undefined, status: 500, engine: free }).costUsd, 'nothing was held').toBeUndefined();
    expect(costs({}, { price: undefined })).toEqual([undefined, false]);
    expect(costs({}, { verdict: 'Denied', reason: 'BudgetExhausted' })).toEqual([undefined, false]);
    for (const price of ['1', {}, { tiers: [] }, { tiers: [{ above: 0 }] }, { tiers: [{ above: 0, input: '1', cachedInput: 1, cacheCreation: 1 }] }])
      expect(costs({}, { price }), JSON.stringify(price)).toEqual([undefined, false]);
  });

  test('a route matched when one of its rules did, not when it was only asked', () => {
    const matched = (over: object) => changed({ engine: { ...engine, ...over } }).routeMatched;
    expect(matched({})).toBe(true);
    expect(matched({ verdict: 'Denied', reason: 'ProviderFetchNotAllowed' })).toBe(true);
    expect(matched({ rule: -1, verdict: 'Denied', reason: 'ModelNotAllowed' })).toBe(false);
    expect(changed({ engine: undefined, route: 'EgressL4Route/default/web' }).routeMatched).toBe(false);
  });
});

test('a request whose line never came has what the engine knew of it, and nothing of an answer', () => {
  const line = { event: 'admit', time: 1, id: 'd', gateway: 'g', source: 's', host: 'api.openai.com', verdict: 'Allowed', reason: 'GatewayDied', engine };
  const record = recordOfEgress(parseEgress(JSON.stringify(line))!, undefined, '0');
  const { attributes } = first!;
  expect(attributesOf(record)).toEqual({
    ...Object.fromEntries(
      Object.entries(attributes).filter(([name]) => !/tokens|cost\.usd|gen_ai\.(response|usage)/.test(name) || /max_tokens|reserved/.test(name)),
    ),
    'gen_ai.response.model': '',
    'gen_ai.response.id': '',
    'gen_ai.response.finish_reasons': [],
    'clrk.credential.replaced': [],
    'clrk.credential.echoed': [],
  });
});
