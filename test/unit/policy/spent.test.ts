import { describe, expect, test } from 'vitest';
import type { AccessLine } from '#model';
import { spentOf } from '#policy';

/** What the budgets count of a finished request is in test/unit/engine; here is what else its record can say. */

const price = { tiers: [{ above: 0, input: 2, cachedInput: 1, cacheCreation: 3, output: 10 }] };
const line = (fields: Partial<AccessLine>, engine: object = {}): AccessLine => ({
  time: '',
  id: 'd1',
  chain: 'http',
  gateway: 'demo/egress',
  source: '',
  status: 200,
  upstream: '192.0.2.1:443',
  engine: { verdict: 'Allowed', reason: 'Allowed', route: 'r', rule: 0, revision: 'x', provider: 'anthropic', model: 'claude-sonnet-4-5', price, ...engine },
  ...fields,
});

describe('of a request without budgets', () => {
  test.each<[string, AccessLine, object | undefined]>([
    [
      'what was reported, whatever the provider counts apart',
      line({ usage: { input: 10, cachedInput: 4, cacheCreation: 6, output: 5 } }),
      { input: 20, output: 5, cost: 10 * 2 + 4 + 6 * 3 + 5 * 10, known: true },
    ],
    ['no cost without a price', line({ usage: { input: 10, output: 5 } }, { price: undefined }), { input: 10, output: 5, known: true }],
    ['nothing when the provider refused', line({ status: 401 }), { input: 0, output: 0, cost: 0, known: true }],
    ['no guess when only half is reported', line({ usage: { input: 10 } }), undefined],
    ['no guess when nothing is reported', line({}), undefined],
    ['nothing of one that was denied', line({ usage: { input: 10, output: 5 } }, { verdict: 'Denied' }), undefined],
    ['nothing of one the engine never saw', { ...line({}), engine: undefined }, undefined],
  ])('%s', (_, access, spent) => expect(spentOf(access)).toEqual(spent));
});

test('with a reservation the bound counts where nothing is known, and says so', () => {
  expect(spentOf(line({ status: 500 }, { reservedInput: 100, reservedOutput: 50 }))).toEqual({ input: 100, output: 50, cost: 100 * 3 + 50 * 10, known: false });
});

test('a report that no request can be worth is none: what is counted stays a number the ledger takes', () => {
  const spent = spentOf(line({ usage: { input: 4e15, output: 1 } }, { reservedInput: 100, reservedOutput: 50 }))!;
  expect(spent).toMatchObject({ input: 100, output: 1, known: false });
  expect(Number.isSafeInteger(spent.cost)).toBe(true);
});
