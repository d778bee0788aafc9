import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { SentEvents } from '../fixtures/openai/server.ts';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { fixtureGateway, quickstart } from '../e2e/support/manifests.ts';
import { ask, nextRunWorks, startRun } from '../e2e/support/runs.ts';
import { openBooks, watchCap, type Books, type Counter } from './support/books.ts';
import { followLines } from './support/follow.ts';

/**
 * Budgets of every kind, raced for by more streams than there is room for, while what counts is killed in the middle of them. Never is
 * more settled and reserved than a cap allows, nothing is reserved for ever, and what the provider sent is in the books.
 */

const MODEL = 'gpt-4.1-slow';
/** Counts and costs the same, and is done at once. */
const FAST = 'gpt-4.1-nano';
/** Of the ConfigMap: dollars for a million tokens. */
const PRICE = { input: 3, output: 50 };
const LIMIT = 40;
const INPUT = Buffer.byteLength(ask(MODEL, LIMIT).fetch.body);
const TOKENS = INPUT + LIMIT;
const COST = INPUT * PRICE.input + LIMIT * PRICE.output;
/** Room for as many at a time. A run has room for fewer than it asks for; money is what the day runs out of at last. */
const CAPS: Readonly<Record<string, number>> = {
  'tokens day': TOKENS * 200,
  'microdollars day': COST * 90,
  'tokens execution': TOKENS * 4,
  'microdollars execution': COST * 3,
};
const capOf = (_: string, { unit, per }: Counter): number => CAPS[`${unit} ${per}`] ?? 0;
const dollars = (name: string): string => (CAPS[name]! / 1e6).toFixed(6);

let stack: TestStack;
let books: Books;
let cap: ReturnType<typeof watchCap>;
let follow: () => SentEvents[];
/** What the provider wrote, by request. */
const sent = new Map<string, SentEvents>();

beforeAll(async () => {
  stack = await startStack();
  const of = async (kind: string) => (await quickstart()).find((manifest) => manifest.kind === kind)!;
  const [gateway, route] = [await of('EgressGateway'), await of('AIProviderRoute')];
  await stack.api('POST', '/api/v1/namespaces/default/configmaps', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'clrk-model-prices', namespace: 'default' },
    data: { openai: JSON.stringify({ [MODEL]: PRICE, [FAST]: PRICE }) },
  });
  // Short, so that reservations nobody settles end within this test.
  await stack.apply(fixtureGateway({ ...gateway, spec: { ...gateway.spec, requestTimeout: '15s' } }, stack.lab.fixtureIp));
  const tokenBudget = {
    maxTokensPerDay: CAPS['tokens day'],
    maxTokensPerExecution: CAPS['tokens execution'],
    maxCostPerDay: dollars('microdollars day'),
    maxCostPerExecution: dollars('microdollars execution'),
    budgetRef: 'raced',
  };
  const rules = [
    { matches: [{ provider: 'openai', models: [MODEL, FAST] }], filters: [{ type: 'TokenBudget', tokenBudget }] },
    { matches: [{ provider: 'openai', models: ['gpt-4.1-mini'] }] },
  ];
  await stack.apply({ ...route, spec: { ...route.spec, rules } });
  await stack.programmed();
  books = openBooks(stack);
  cap = watchCap(books, capOf);
  follow = followLines(join(stack.dir, 'fixture', 'sent.jsonl'));
});
afterAll(async () => {
  cap?.[Symbol.dispose]();
  books?.[Symbol.dispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

const look = (): ReadonlyMap<string, SentEvents> => {
  for (const line of follow()) sent.set(line.traceparent, line);
  return sent;
};
const held = (): number => new Set(books.reservations().flatMap(({ id, state }) => (state === 'held' ? [id] : []))).size;

it.each([
  ['egress', 1],
  ['dispatcher', 1],
  ['envoy', 1],
  ['egress', 2],
  ['dispatcher', 2],
  ['envoy', 2],
])('%s killed in the middle of streams, time %i', async (victim) => {
  const before = new Set(look().keys());
  const five = { parallel: Array.from({ length: 5 }, () => ask(MODEL, LIMIT)) };
  const runs = Array.from({ length: 3 }, () => startRun(stack, [five, five]));
  await eventually(
    'several streams are under way, and their reservations are held',
    () => {
      const going = [...look()].filter(([id, { events, ended }]) => !before.has(id) && events >= 3 && !ended);
      return going.length >= 4 && held() >= going.length ? true : undefined;
    },
    30_000,
    5,
  );
  await stack.restarted(victim, await stack.kill(victim));
  await nextRunWorks(stack);
  await Promise.allSettled(runs.map(({ answer }) => answer));
  expect(cap.broken).toEqual([]);
});

it('nothing is reserved for ever', async () => {
  await eventually('no reservation is held', () => (held() === 0 ? true : undefined), 90_000, 250);
  const counters = books.counters();
  expect(counters.filter(({ reserved }) => reserved !== 0)).toEqual([]);
  for (const { key, unit, per, span, settled } of counters.filter((counter) => counter.per === 'day')) {
    const rows = books.reservations().filter((row) => row.key === key && row.unit === unit && row.per === per);
    expect([span, settled]).toEqual([span, rows.reduce((sum, { used }) => sum + (used ?? 0), 0)]);
  }
  expect(cap.broken).toEqual([]);
  expect(cap.looks()).toBeGreaterThan(500);
});

it('what the provider sent is counted, each request once', () => {
  // Of the events of a stream one is the role; one that went to its end has its reason, usage and end mark besides.
  const output = [...look().values()].reduce((sum, { events, ended }) => sum + Math.max(0, events - (ended ? 4 : 1)), 0);
  const day = (unit: string): number => books.counters().find((counter) => counter.per === 'day' && counter.unit === unit)!.settled;
  expect(output).toBeGreaterThan(100);
  expect(day('tokens')).toBeGreaterThanOrEqual(output);
  expect(day('microdollars')).toBeGreaterThanOrEqual(output * PRICE.output);
});

it('the budget is raced for to its end, and then every answer is 429', async () => {
  const spend = async (): Promise<readonly number[]> => {
    const { results } = await stack.probe('probe', { parallel: Array.from({ length: 6 }, () => ask(FAST, LIMIT)) });
    return (results as unknown as { status: number }[][])[0]!.map(({ status }) => status);
  };
  const rounds: number[][] = [];
  while (rounds.length < 100 && rounds.at(-1)?.includes(200) !== false) rounds.push([...(await spend())]);
  expect(new Set(rounds.flat())).toEqual(new Set([200, 429]));
  expect(rounds.at(-1)).toEqual(Array<number>(6).fill(429));
  expect(cap.broken).toEqual([]);
});
