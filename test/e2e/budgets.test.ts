import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { quickstart, type Manifest } from './support/manifests.ts';

/** Every field of TokenBudget on a whole stack: what is let through, what is refused and how, and how `clrk budgets` tells it. */

const BUDGETS = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/budgets';
const PRICES = '/api/v1/namespaces/default/configmaps';
const CHAT = 'https://api.openai.com/v1/chat/completions';
const TEXT = 'The keeper lights the lamp at dusk. Ships see it from twenty miles away. In fog they hear the horn. ';

interface Budget {
  readonly scope: string;
  readonly invocation?: string;
  readonly unit: string;
  readonly window: string;
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  readonly left: number;
  readonly reset?: string;
}
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}
interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly budget?: object;
}

const bodyOf = (model: string, fields: object = {}): string => JSON.stringify({ model, messages: [{ role: 'user', content: TEXT.repeat(3) }], ...fields });
const chat = (model: string, fields: object = {}) => ({
  fetch: { url: CHAT, method: 'POST', headers: { 'content-type': 'application/json' }, body: bodyOf(model, fields) },
});
const refusalOf = (answer: Answer): Refusal => (JSON.parse(answer.body) as { error: Refusal }).error;

let stack: TestStack;
let manifest: Manifest;
beforeAll(async () => {
  stack = await startStack();
  manifest = (await quickstart()).find(({ kind }) => kind === 'AIProviderRoute')!;
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

/** Rules of the one route there is, by model; each may be capped. */
const enforce = async (rules: Readonly<Record<string, object | undefined>>): Promise<void> => {
  const before = await revision();
  const spec = {
    ...manifest.spec,
    rules: Object.entries(rules).map(([model, tokenBudget]) => ({
      matches: [{ provider: 'openai', models: [model] }],
      ...(tokenBudget && { filters: [{ type: 'TokenBudget', tokenBudget }] }),
    })),
  };
  await stack.apply({ ...manifest, spec });
  await inForce(before);
};
const revision = async (): Promise<string> =>
  ((await stack.get('egressgateways', 'default')).status!['programmed'] as { revision: string }[]).map((entry) => entry.revision).join();
const inForce = (before: string): Promise<unknown> => eventually('the new rules are in force', async () => ((await revision()) === before ? undefined : true));

const ask = async (...steps: object[]): Promise<readonly Answer[]> => (await stack.probe('probe', ...steps)).results as unknown as readonly Answer[];
const budgets = async (): Promise<readonly Budget[]> => (await stack.api<{ items: Budget[] }>('GET', BUDGETS)).items;
/** The only budget there is, once nothing is under way. */
const settled = (): Promise<Budget> =>
  eventually('the budget is settled', async () => {
    const [budget, ...others] = await budgets();
    expect(others).toEqual([]);
    return budget!.reserved === 0 ? budget : undefined;
  });

describe('maxTokensPerDay', () => {
  it('lets through exactly those of 200 requests at once for which there is room', async () => {
    // What is used is less than what is held, and would make room again: these are never answered.
    const step = chat('gpt-4.1-stalled', { max_tokens: 40 });
    await enforce({ 'gpt-4.1-stalled': { maxTokensPerDay: (Buffer.byteLength(step.fetch.body) + 40) * 10, budgetRef: 'race' } });
    stack.invoke('probe', { steps: [{ crowd: { count: 200, step } }] }).catch(() => {});
    const seen = await eventually(
      'every request is decided',
      async () => {
        const { code, stdout } = await stack.clrk(['egress', 'log', '--verdict', 'denied', '--agent', 'probe', '-o', 'json']);
        expect(code).toBe(0);
        return stdout.split('\n').filter((line) => line.includes('BudgetExhausted')).length >= 190 ? stack.seen() : undefined;
      },
      60_000,
    );
    expect(seen.filter(({ body }) => body.includes('gpt-4.1-stalled'))).toHaveLength(10);
    const [race] = await budgets();
    expect(race).toMatchObject({ scope: 'shared/default/race', limit: race!.reserved, left: 0 });
  });

  it('lets two streams without a limit of their own run at the same time on a budget of a million', async () => {
    await enforce({ 'gpt-4.1-slow': { maxTokensPerDay: 1_000_000, budgetRef: 'wide' } });
    const [streams] = (await ask({ parallel: [chat('gpt-4.1-slow', { stream: true }), chat('gpt-4.1-slow', { stream: true })] })) as unknown as [
      readonly Answer[],
    ];
    for (const { status, body } of streams) {
      expect(status).toBe(200);
      expect(body).toContain('[DONE]');
    }
    const { used } = await settled();
    expect(used).toBeGreaterThan(20);
    expect(used).toBeLessThan(2_000);
  });

  it('counts a stream that is cut after five chunks as what was sent of it', async () => {
    const before = await settled();
    const [cut] = (await ask({ chunks: { ...chat('gpt-4.1-slow', { stream: true }).fetch, count: 5 } })) as unknown as [
      { status: number; pieces: number; ended: boolean },
    ];
    expect(cut).toMatchObject({ status: 200, ended: false });
    expect(cut.pieces).toBeGreaterThanOrEqual(5);
    const cost = (await settled()).used - before.used;
    expect(cost).toBeGreaterThan(5);
    expect(cost).toBeLessThan(5_000);
  });

  it('refuses with what is left and when there is more', async () => {
    await enforce({ 'gpt-4.1-nano': { maxTokensPerDay: 60, budgetRef: 'small' } });
    const [answer] = await ask(chat('gpt-4.1-nano'));
    expect(answer!.status).toBe(429);
    expect(answer!.headers).toMatchObject({
      'x-clrk-budget-limit': '60',
      'x-clrk-budget-remaining': '60',
      'x-clrk-budget-unit': 'tokens',
      'x-should-retry': 'false',
    });
    expect(answer!.headers['retry-after']).toBe(answer!.headers['x-clrk-budget-reset']);
    const { code, message, budget } = refusalOf(answer!);
    const field = 'spec.rules[0].filters[0].tokenBudget.maxTokensPerDay';
    expect([code, message]).toEqual(['BudgetExhausted', expect.stringContaining(`${field} of AIProviderRoute/default/openai`)]);
    expect(budget).toMatchObject({ field, unit: 'tokens', window: 'day', limit: 60, remaining: 60, reset: expect.stringMatching(/T00:00:00\.000Z$/) });
  });
});

describe('maxTokensPerExecution', () => {
  it('is for one run: what it spent is gone for it, and the next one begins anew', async () => {
    const body = bodyOf('gpt-4.1-nano', { max_tokens: 20 });
    await enforce({ 'gpt-4.1-nano': { maxTokensPerExecution: Buffer.byteLength(body) + 20 } });
    const twice = async () =>
      (await ask(chat('gpt-4.1-nano', { max_tokens: 20 }), { sleep: 1_500 }, chat('gpt-4.1-nano', { max_tokens: 20 }))) as readonly (Answer | null)[];
    for (let run = 0; run < 2; run++) {
      const [first, , second] = await twice();
      expect([first!.status, second!.status]).toEqual([200, 429]);
      expect(refusalOf(second!)).toMatchObject({ code: 'BudgetExhausted', budget: { window: 'execution' } });
      expect(refusalOf(second!).message).toContain('left for the rest of this run');
      expect([second!.headers['retry-after'], second!.headers['x-clrk-budget-reset']]).toEqual([undefined, undefined]);
    }
    // The runs are over: the cap is told, and their counters are not.
    expect(await budgets()).toMatchObject([{ window: 'execution', used: 0 }]);
  });

  it('is shown for each run under way', async () => {
    await enforce({ 'gpt-4.1-slow': { maxTokensPerExecution: 100_000 } });
    const running = stack.invoke('probe', { steps: [chat('gpt-4.1-slow', { stream: true })] });
    const shown = await eventually('the run is shown', async () =>
      (await budgets()).find(({ invocation, reserved }) => invocation !== undefined && reserved > 0),
    );
    const { invocation } = await running;
    expect(shown).toMatchObject({ invocation, unit: 'tokens', limit: 100_000 });
  });
});

describe('maxOutputTokensPerRequest', () => {
  it('is written into what the provider gets', async () => {
    await enforce({ 'gpt-4.1-nano': { maxOutputTokensPerRequest: 7 } });
    const [silent, greedy] = await ask(chat('gpt-4.1-nano'), chat('gpt-4.1-nano', { max_tokens: 5_000 }));
    expect([silent!.status, greedy!.status]).toEqual([200, 200]);
    const limits = (await stack.seen()).slice(-2).map(({ body }) => JSON.parse(body) as { max_tokens?: number; max_completion_tokens?: number });
    expect(limits.map(({ max_tokens: old, max_completion_tokens: limit }) => old ?? limit)).toEqual([7, 7]);
  });

  it('refuses what cannot be held to it', async () => {
    const seen = (await stack.seen()).length;
    const [many] = await ask(chat('gpt-4.1-nano', { n: 8 }));
    expect([many!.status, refusalOf(many!).code]).toEqual([403, 'OutputLimitExceeded']);
    expect(await stack.seen()).toHaveLength(seen);
  });
});

describe('maxCostPerDay and maxCostPerExecution', () => {
  it('count what was used by the price of the list', async () => {
    await enforce({ 'gpt-4.1-mini': { maxCostPerDay: '0.50', budgetRef: 'money' } });
    const answers = await ask(chat('gpt-4.1-mini', { max_tokens: 30 }), chat('gpt-4.1-mini', { max_tokens: 30, stream: true }));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const { usage } = JSON.parse(answers[0]!.body) as { usage: { prompt_tokens: number; completion_tokens: number } };
    const one = Math.ceil(usage.prompt_tokens * 0.4 + usage.completion_tokens * 1.6 - 1e-4);
    expect(await settled()).toMatchObject({ unit: 'microdollars', limit: 500_000, used: one * 2, left: 500_000 - one * 2 });
    const { code, stdout } = await stack.clrk(['budgets']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^shared\/money +day \(UTC\) +US dollars +\$0\.50 +\$0\.\d+ +\$0\.00 +\$0\.49\d+ +\d{4}-\d\d-\d\dT00:00:00\.000Z$/m);
    const shown = await stack.kubectl(['get', 'budgets']);
    expect(shown.stdout, shown.stderr).toMatch(/^\S+ +shared\/default\/money +day +US dollars +\$0\.50 /m);
  });

  it('refuse what there is no money for, and a run for its rest', async () => {
    await enforce({ 'gpt-4.1-mini': { maxCostPerExecution: '0.0003' } });
    const [first, , second] = (await ask(
      chat('gpt-4.1-mini', { max_tokens: 60 }),
      { sleep: 1_500 },
      chat('gpt-4.1-mini', { max_tokens: 60, messages: [{ role: 'user', content: TEXT.repeat(6) }] }),
    )) as readonly (Answer | null)[];
    expect(first!.status).toBe(200);
    expect(second!.status).toBe(429);
    expect(refusalOf(second!).message).toMatch(/needs at least \$0\.000\d+; \$0\.000\d+ of \$0\.0003 are left for the rest of this run/);
    expect(second!.headers['x-clrk-budget-unit']).toBe('microdollars');
  });

  it('need a price: of the list, or one of the namespace, which is in force at once and refused when it is wrong', async () => {
    await enforce({ 'gpt-4.1-slow': { maxCostPerDay: '1', budgetRef: 'priced' } });
    const once = async (): Promise<Answer> => (await ask(chat('gpt-4.1-slow', { max_tokens: 3 })))[0]!;
    expect([(await once()).status, refusalOf(await once()).code]).toEqual([403, 'PriceUnknown']);

    const before = await revision();
    const prices = (openai: string) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'clrk-model-prices', namespace: 'default' },
      data: { openai },
    });
    await stack.api('POST', PRICES, prices('{"gpt-4.1-*": {"input": 3, "output": 50}}'));
    await inForce(before);
    const answer = await once();
    expect(answer.status).toBe(200);
    const { usage } = JSON.parse(answer.body) as { usage: { prompt_tokens: number; completion_tokens: number } };
    expect((await settled()).used).toBe(usage.prompt_tokens * 3 + usage.completion_tokens * 50);

    await stack.api('PUT', `${PRICES}/clrk-model-prices`, prices('{"gpt-4.1-*": {"input": 3, "output": "50"}}'));
    const told = await eventually('the condition says so', async () => {
      const [parent] = (await stack.get('aiproviderroutes', 'openai')).status!['parents'] as {
        conditions: { type: string; status: string; reason: string; message: string }[];
      }[];
      return parent!.conditions.find(({ type, status }) => type === 'ResolvedRefs' && status === 'False');
    });
    expect(told).toMatchObject({ reason: 'InvalidPrices', message: expect.stringContaining('data.openai["gpt-4.1-*"].output must be a number') });
    await eventually('it is refused', async () => ((await once()).status === 503 ? true : undefined));
    expect(refusalOf(await once())).toMatchObject({ code: 'InvalidPrices' });

    await stack.api('DELETE', `${PRICES}/clrk-model-prices`);
    await eventually('the list counts again', async () => (refusalOf(await once()).code === 'PriceUnknown' ? true : undefined));
  });
});

describe('budgetRef', () => {
  it('is one counter for all rules that name it', async () => {
    const shared = { maxTokensPerDay: 1_000_000, budgetRef: 'together' };
    await enforce({ 'gpt-4.1-nano': shared, 'gpt-4.1-mini': shared });
    const answers = await ask(chat('gpt-4.1-nano', { max_tokens: 9 }), chat('gpt-4.1-mini', { max_tokens: 9 }));
    const used = answers.reduce((sum, { body }) => sum + (JSON.parse(body) as { usage: { total_tokens: number } }).usage.total_tokens, 0);
    expect(await settled()).toMatchObject({ scope: 'shared/default/together', used });
  });

  it('without it all rules of the route that have a cap count together', async () => {
    await enforce({ 'gpt-4.1-nano': { maxTokensPerDay: 1_000_000 }, 'gpt-4.1-mini': { maxTokensPerDay: 1_000_000 } });
    const before = (await settled()).used;
    await ask(chat('gpt-4.1-nano', { max_tokens: 9 }), chat('gpt-4.1-mini', { max_tokens: 9 }));
    await eventually('both are counted', async () => ((await settled()).used > before ? true : undefined));
    expect(await settled()).toMatchObject({ scope: 'AIProviderRoute/default/openai' });
  });
});

it('a cap of nothing lets nothing through, and one that is gone lets everything', async () => {
  await enforce({ 'gpt-4.1-nano': { maxTokensPerDay: 0 } });
  expect((await ask(chat('gpt-4.1-nano', { max_tokens: 1 })))[0]!.status).toBe(429);
  await enforce({ 'gpt-4.1-nano': undefined });
  expect((await ask(chat('gpt-4.1-nano', { max_tokens: 1 })))[0]!.status).toBe(200);
  expect(await budgets()).toEqual([]);
  expect((await stack.clrk(['budgets'])).stderr).toBe('No budgets in namespace default.\n');
});
