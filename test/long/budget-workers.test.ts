import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { probeAgent, quickstart } from '../e2e/support/manifests.ts';
import { ask, startRun } from '../e2e/support/runs.ts';

/** One counter for all workers, which outlives every process. */

const MODEL = 'gpt-4.1-stalled'; // never answers, so what is held stays held
const LIMIT = 40;
const ROOM = 10;
const AMOUNT = Buffer.byteLength(ask(MODEL, LIMIT).fetch.body) + LIMIT;

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ devArgs: ['--workers', '2'] });
  const route = (await quickstart()).find(({ kind }) => kind === 'AIProviderRoute')!;
  const tokenBudget = { maxTokensPerDay: AMOUNT * ROOM };
  await stack.apply({
    ...route,
    spec: { ...route.spec, rules: [{ matches: [{ provider: 'openai', models: [MODEL] }], filters: [{ type: 'TokenBudget', tokenBudget }] }] },
  });
  // One run a worker at a time.
  await stack.apply(probeAgent('left', { maxConcurrent: 1 }), probeAgent('right', { maxConcurrent: 1 }));
  for (const agent of ['left', 'right']) await stack.condition('taskagents', agent, 'Ready', 'True', 60_000);
  await stack.programmed();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

interface Budget {
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  readonly left: number;
}
const budget = async (): Promise<Budget> => {
  const { code, stdout, stderr } = await stack.clrk(['budgets', '-o', 'json']);
  expect(code, stderr).toBe(0);
  const { items } = JSON.parse(stdout) as { items: Budget[] };
  expect(items).toHaveLength(1);
  return items[0]!;
};

it('requests of runs on two workers get exactly what fits', async () => {
  const crowd = { crowd: { count: 100, step: ask(MODEL, LIMIT) } };
  const runs = ['left', 'right'].map((agent) => startRun(stack, [crowd], agent));
  const workers = await Promise.all(
    runs.map(({ id }) =>
      eventually(`${id} runs`, async () => {
        const { phase, worker } = (await stack.invocation(id)).status as { phase: string; worker?: string };
        return phase === 'Running' ? worker : undefined;
      }),
    ),
  );
  expect(new Set(workers).size, 'workers').toBe(2);
  const denied = async (): Promise<number> => {
    const { stdout } = await stack.clrk(['egress', 'log', '--verdict', 'denied', '--limit', '1000', '-o', 'json']);
    return stdout.split('\n').filter((line) => line.includes('BudgetExhausted')).length;
  };
  await eventually('every request is decided', async () => ((await denied()) >= 200 - ROOM ? true : undefined), 60_000);
  expect((await stack.seen()).filter(({ body }) => body.includes(MODEL))).toHaveLength(ROOM);
  expect(await budget()).toMatchObject({ limit: AMOUNT * ROOM, used: 0, reserved: AMOUNT * ROOM, left: 0 });
});

it('everything killed and started again counts on from there', async () => {
  await stack.killDev();
  await stack.start();
  await stack.programmed();
  const { used, reserved, left } = await eventually('the budget is shown', budget, 30_000);
  expect([used + reserved, left]).toEqual([AMOUNT * ROOM, 0]);
  const seen = (await stack.seen()).length;
  const { results } = await eventually('a run works', () => stack.probe('left', ask(MODEL, LIMIT)), 30_000);
  expect((results as unknown as { status: number }[])[0]!.status).toBe(429);
  expect(await stack.seen()).toHaveLength(seen);
});
