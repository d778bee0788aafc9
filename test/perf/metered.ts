import { expect } from 'vitest';
import { eventually, type TestStack } from '../e2e/harness.ts';
import type { Budget } from '../../src/runtime/budgets.ts';
import type { Exchange } from '../../src/runtime/exchanges.ts';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';

/**
 * That what was measured is the whole of it. A number of a gateway that quietly left out the budget, the credential or the record
 * would be a better one. (That the credential was injected is said by the upstream: it answers 401 without it.)
 */

/** As `wrk` and the streams ask: what they send as a key is no key. */
export const PLACEHOLDER = { authorization: 'Bearer placeholder' };

const RUNTIME = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default';
const SHOWN = 1_000;

export interface Asked {
  readonly gateway: string;
  readonly invocation: string;
  readonly model: string;
  readonly stream: boolean;
  /** Complete answers, at least, and the tokens each was said to have used. */
  readonly answers: number;
  readonly tokens: number;
}

/** Fails unless every answer is in the store with what it used, and counted for the gateway's route in tokens and money. */
export const expectMetered = async (stack: TestStack, { gateway, invocation, model, stream, answers, tokens }: Asked): Promise<void> => {
  const query = `invocation=${invocation}&protocol=https&verdict=Allowed&limit=${SHOWN}`;
  const records = await eventually(
    `the store has what gateway ${gateway} served`,
    async () => {
      const { items } = await stack.api<{ items: readonly Exchange[] }>('GET', `${RUNTIME}/exchanges?${query}`);
      return items.length >= Math.min(answers, SHOWN) ? items : undefined;
    },
    60_000,
  );
  const whole = records.filter(({ inputTokens, outputTokens }) => (inputTokens ?? 0) + (outputTokens ?? 0) === tokens);
  // A load ends in the middle of its last requests.
  expect(whole.length).toBeGreaterThanOrEqual(Math.min(answers, SHOWN) - 64);
  expect(whole[0]).toMatchObject({
    gateway: `default/${gateway}`,
    route: `AIProviderRoute/default/${gateway}`,
    provider: 'openai',
    operation: 'chat',
    host: PROVIDER_HOST,
    status: 200,
    model,
    stream,
    finishReasons: ['stop'],
    responseModel: expect.stringContaining(model),
    reservedTokens: expect.any(Number),
    credentialsReplaced: ['header authorization'],
    spanId: expect.stringMatching(/^[0-9a-f]{16}$/),
  });
  const { items } = await stack.api<{ items: readonly Budget[] }>('GET', `${RUNTIME}/budgets`);
  const counters = items.filter((budget) => budget.gateway === `default/${gateway}`);
  expect(counters.map(({ unit, window }) => `${unit} ${window}`).toSorted()).toEqual(['microdollars day', 'tokens day', 'tokens execution']);
  // The counter of a run goes when the dispatcher has no such run any more, and it never had this one.
  for (const { unit, window, used } of counters) if (window === 'day') expect(used).toBeGreaterThanOrEqual(unit === 'tokens' ? answers * tokens : answers);
};
