import { describe, expect, test } from 'vitest';
import { compileBudgets, microdollarsOf } from '../../../src/policy/compile-budgets.ts';

/** What the fields of a rule's TokenBudgets count, in which counter, and how far. */

const ROUTE = { namespace: 'demo', name: 'openai' };
const GATEWAY = { namespace: 'demo', name: 'egress' };
const compiled = (budgets: readonly object[], { route = ROUTE, rule = 0, gateway = GATEWAY } = {}) =>
  compileBudgets(route, rule, gateway, { filters: budgets.map((tokenBudget) => ({ type: 'TokenBudget' as const, tokenBudget })) });
const keys = (budgets: readonly object[], where = {}) => compiled(budgets, where).budgets.map(({ key }) => key);

test.each([
  [{ maxTokensPerDay: 7 }, { unit: 'tokens', window: 'day', cap: 7 }],
  [{ maxTokensPerExecution: 7 }, { unit: 'tokens', window: 'execution', cap: 7 }],
  [{ maxCostPerDay: '0.07' }, { unit: 'microdollars', window: 'day', cap: 70_000 }],
  [{ maxCostPerExecution: '7' }, { unit: 'microdollars', window: 'execution', cap: 7_000_000 }],
])('%j', (tokenBudget, budget) => {
  const field = `spec.rules[3].filters[0].tokenBudget.${Object.keys(tokenBudget)[0]!}`;
  expect(compiled([tokenBudget], { rule: 3 })).toEqual({ budgets: [{ key: 'budget/demo/openai/egress', field, ...budget }] });
});

test('a limit of output is no counter; the smallest of several holds', () => {
  expect(compiled([{ maxOutputTokensPerRequest: 9 }, { maxOutputTokensPerRequest: 4 }])).toEqual({ budgets: [], maxOutputTokens: 4 });
  expect(compiled([])).toEqual({ budgets: [] });
});

test('a filter of another type caps nothing', () => {
  const extensionRef = { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'x' };
  const filters = [{ type: 'ExtensionRef' as const, extensionRef, tokenBudget: { maxTokensPerDay: 7, maxOutputTokensPerRequest: 5 } }];
  expect(compileBudgets(ROUTE, 0, GATEWAY, { filters })).toEqual({ budgets: [] });
});

describe('a counter is of', () => {
  const day = [{ maxTokensPerDay: 7 }];
  test('the route and the gateway, whichever rule it is', () => {
    expect(keys(day, { rule: 1 })).toEqual(keys(day, { rule: 2 }));
    expect(keys(day, { gateway: { namespace: 'demo', name: 'other' } })).toEqual(['budget/demo/openai/other']);
    expect(keys(day, { gateway: { namespace: 'team', name: 'egress' } })).toEqual(['budget/demo/openai/team/egress']);
    expect(keys(day, { route: { namespace: 'demo', name: 'chat' } })).toEqual(['budget/demo/chat/egress']);
  });

  test('its budgetRef in the namespace of the route, whichever route and gateway', () => {
    const shared = [{ maxTokensPerDay: 7, maxCostPerExecution: '1', budgetRef: 'team' }];
    expect(keys(shared)).toEqual(['shared/demo/team', 'shared/demo/team']);
    expect(keys(shared, { route: { namespace: 'demo', name: 'chat' }, gateway: { namespace: 'x', name: 'y' } })).toEqual(keys(shared));
    expect(keys(shared, { route: { namespace: 'other', name: 'openai' } })).toEqual(['shared/other/team', 'shared/other/team']);
  });

  test('each name by itself, beside that of the route', () => {
    expect(keys([...day, { maxTokensPerDay: 5, budgetRef: 'a' }, { maxTokensPerDay: 9, budgetRef: 'b' }])).toEqual([
      'budget/demo/openai/egress',
      'shared/demo/a',
      'shared/demo/b',
    ]);
  });
});

test('of several caps on one counter the smallest decides, and is the one that is named', () => {
  expect(compiled([{ maxTokensPerDay: 9 }, { maxTokensPerDay: 5 }, { maxTokensPerDay: 7 }]).budgets).toMatchObject([
    { cap: 5, field: 'spec.rules[0].filters[1].tokenBudget.maxTokensPerDay' },
  ]);
});

test('dollars are exact', () => {
  expect(['0', '0.000001', '2.5', '999999999.999999', '0.30'].map(microdollarsOf)).toEqual([0, 1, 2_500_000, 999_999_999_999_999, 300_000]);
});
