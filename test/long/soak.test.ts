import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { eventually, startStack, type Exchange, type InvokeResult, type TestStack } from '../e2e/harness.ts';
import { processesOf } from '../e2e/support/leftovers.ts';

/**
 * Four callers keep running an agent that calls the provider, while a process of the stack, or all of it, chosen at random, is killed with
 * SIGKILL every few seconds. What is promised must hold for every single run. Rounds are counted, not timed; the seed is printed.
 */

const CALLERS = 4;
const KILLS = 24;
const EXCHANGES = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?limit=10000';
const VICTIMS = ['clrk', 'store', 'controller-manager', 'dispatcher', 'worker', 'egress', 'recorder', 'front', 'envoy'];

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

/** Park and Miller's generator: the same seed gives the same order of victims. */
const random = (seed: number) => () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;

const completion = {
  fetch: {
    url: 'https://api.openai.com/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 20, messages: [{ role: 'user', content: 'The keeper lights the lamp at dusk.' }] }),
  },
};
/** Kills a process of the stack, or the stack; resolves when it is back. */
const killAndReturn = async (victim: string): Promise<void> => {
  if (victim === 'clrk') {
    await stack.killDev();
    await eventually('every process is gone', async () => ((await processesOf(stack.state, stack.run)).length === 0 ? true : undefined), 30_000);
    return stack.start();
  }
  const pid = await eventually(`${victim} runs`, async () => (await stack.pids(victim))[0], 30_000);
  process.kill(pid, 'SIGKILL');
  await stack.restarted(victim, pid);
};

const PHASE_OF: Readonly<Record<number, readonly string[]>> = { 200: ['Succeeded'], 502: ['Failed'], 504: ['Timeout'], 503: ['Rejected'], 429: ['Rejected'] };

interface Call {
  readonly id: string;
  /** undefined = the connection broke: the dispatcher was killed under it. */
  readonly answer: InvokeResult | undefined;
}

test('random kills: every run ends once and truthfully, every completed request is on record once', async () => {
  const seed = Number(process.env['CLRK_SEED'] ?? Math.floor(Math.random() * 1e9)) || 1;
  console.log(`seed ${seed}`);
  onTestFailed(async () => console.log(`seed ${seed}\n${await stack.log(200)}`));
  const next = random(seed);
  const stop = new AbortController();
  const calls: Call[] = [];

  const caller = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const id = crypto.randomUUID();
      const answer = await stack.invoke('probe', { steps: [completion] }, { 'x-clrk-invocation-id': id }).catch(() => undefined);
      calls.push({ id, answer });
      // Refused because something is away: do not spin.
      if (answer?.status !== 200) await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  const callers = Array.from({ length: CALLERS }, caller);
  for (let round = 0; round < KILLS; round++) {
    const victim = VICTIMS[Math.floor(next() * VICTIMS.length)]!;
    const served = calls.length;
    await killAndReturn(victim);
    // The next kill falls into the middle of work: some runs have gone through meanwhile.
    await eventually(
      `runs succeed after ${victim} was killed`,
      () => (calls.slice(served).filter(({ answer }) => answer?.status === 200).length >= 3 ? true : undefined),
      60_000,
    );
  }
  stop.abort();
  await Promise.all(callers);

  const outcomes = Object.groupBy(calls, ({ answer }) => String(answer?.status ?? 'broken'));
  console.log(
    `${calls.length} runs: ${Object.entries(outcomes)
      .map(([status, some]) => `${some!.length} x ${status}`)
      .join(', ')}`,
  );
  for (const { id, answer } of calls) {
    if (!answer) {
      // The caller was told nothing; if the run was journalled at all, it has ended.
      const known = await stack.invocation(id).catch(() => undefined);
      if (known) await stack.ended(id);
      continue;
    }
    expect(Object.keys(PHASE_OF), `status of ${id}: ${answer.text}`).toContain(String(answer.status));
    if (!answer.invocation) continue; // refused before there was an invocation
    const { status } = await stack.ended(id);
    expect(PHASE_OF[answer.status], `${id} was answered ${answer.status}`).toContain(status.phase);
  }

  // Every completion an agent got is on record, once (what a killed Envoy had not written is closed from the engine's line).
  const got = (outcomes['200'] ?? [])
    .filter(({ answer }) => (answer!.json() as { results: { status?: number }[] }).results[0]?.status === 200)
    .map(({ id }) => id);
  const records = await eventually('every completion is on record', async () => {
    const { items } = await stack.api<{ items: Exchange[] }>('GET', EXCHANGES);
    const allowed = items.filter(({ path, verdict }) => path === '/v1/chat/completions' && verdict === 'Allowed');
    const seen = new Set(allowed.map(({ invocation }) => invocation));
    const missing = got.filter((id) => !seen.has(id));
    if (missing.length > 0) throw new Error(`${missing.length} missing: ${missing.slice(0, 5).join(' ')}`);
    return allowed;
  });
  expect(new Set(records.map(({ decisionId }) => decisionId)).size).toBe(records.length);
  expect(got.length).toBeGreaterThan(0);
});
