import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type Invocation, type InvokeResult, type TestStack } from '../e2e/harness.ts';
import { processesOf } from '../e2e/support/leftovers.ts';
import { probeAgent } from '../e2e/support/manifests.ts';

/** More triggers than slots, and workers that come and go, drain and die: every accepted invocation ends once, and truthfully. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ devArgs: ['--workers', '2'] });
  await stack.apply(probeAgent('load', { egressRefs: [], timeout: '200s' }));
  await stack.condition('taskagents', 'load', 'Ready', 'True', 30_000);
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

/** Longer than any test, in milliseconds: such a run ends because its caller leaves, or with its worker. */
const LONG = 150_000;

const POOL = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/workerpools/default';
const pool = (spec: Record<string, unknown>) => stack.api('PATCH', POOL, { spec }, { 'content-type': 'application/merge-patch+json' });
const poolStatus = (what: string, done: (status: Record<string, unknown>) => boolean) =>
  eventually(
    what,
    async () => {
      const { status = {} } = await stack.get('workerpools', 'default');
      if (!done(status)) throw new Error(JSON.stringify(status));
      return status;
    },
    30_000,
  );
const conditionOf = (status: Record<string, unknown>, type: string) =>
  (status['conditions'] as { type: string; status: string; reason: string; message: string }[]).find((condition) => condition.type === type);

const invocations = async (): Promise<Invocation[]> => {
  const path = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/invocations?agent=load';
  return (await stack.api<{ items: Invocation[] }>('GET', path)).items;
};
const isRunning = ({ status }: Invocation): boolean => status.phase === 'Dispatched' || status.phase === 'Running';
const isQueued = ({ status }: Invocation): boolean => status.phase === 'Pending' && status.reason === 'Queued';

interface Started {
  readonly id: string;
  /** The caller goes away. */
  readonly leave: () => void;
  readonly answer: Promise<InvokeResult>;
}

/** Triggers a run that takes so long. */
const start = (ms: number): Started => {
  const id = randomUUID();
  const abort = new AbortController();
  const answer = stack.invoke('load', { steps: [{ sleep: ms }] }, { 'x-clrk-invocation-id': id }, abort.signal);
  answer.catch(() => {});
  return { id, answer, leave: () => abort.abort() };
};
const phase = (run: Started, ...phases: string[]) =>
  eventually(`${run.id} is ${phases.join(' or ')}`, async () => {
    const invocation = await stack.invocation(run.id);
    if (!phases.includes(invocation.status.phase)) throw new Error(JSON.stringify(invocation.status));
    return invocation;
  });
const queued = (run: Started) =>
  eventually(`${run.id} waits`, async () => {
    const invocation = await stack.invocation(run.id);
    return isQueued(invocation) ? invocation : undefined;
  });

it('100 triggers at once on 16 slots are all answered, never more run than there are slots, and the wait is told', async () => {
  await poolStatus('two workers are connected', ({ readyReplicas }) => readyReplicas === 2);
  await pool({ maxExecutionsPerWorker: 8 });
  await poolStatus('the capacity is 16', ({ capacity }) => (capacity as { maxExecutions: number }).maxExecutions === 16);
  const runs = Array.from({ length: 100 }, () => start(0));
  let over = false;
  const answers = Promise.all(runs.map(({ answer }) => answer)).finally(() => (over = true));
  let mostQueued = 0;
  while (!over) {
    const all = await invocations();
    for (const [worker, on] of Map.groupBy(all.filter(isRunning), ({ status }) => status.worker))
      expect(on.length, `on worker ${worker}`).toBeLessThanOrEqual(8);
    mostQueued = Math.max(mostQueued, all.filter(isQueued).length);
  }
  expect((await answers).map(({ status }) => status)).toEqual(runs.map(() => 200));
  expect(mostQueued).toBeGreaterThan(0);
  const ended = (await invocations()).map(({ status }) => status);
  expect(ended).toHaveLength(100);
  expect(ended.filter((status) => status.phase !== 'Succeeded' || status.reason)).toEqual([]);
  expect(new Set(ended.map(({ worker }) => worker))).toEqual(new Set(['0', '1']));
  // Both loads were full at some time, so at least 84 had to wait.
  expect(ended.filter(({ queuedMs = 0 }) => queuedMs > 0).length).toBeGreaterThanOrEqual(84);
});

it('scaling down lets the runs of the worker that goes finish, and gives it no new ones; scaling up uses the new one at once', async () => {
  await pool({ maxExecutionsPerWorker: 2 });
  const runs = [start(6_000), start(6_000)];
  const both = await Promise.all(runs.map((run) => phase(run, 'Running')));
  expect(new Set(both.map(({ status }) => status.worker))).toEqual(new Set(['0', '1']));
  await pool({ replicas: 1 });
  const draining = await poolStatus('worker 1 drains', ({ readyReplicas }) => readyReplicas === 1);
  expect(conditionOf(draining, 'Progressing')).toMatchObject({ status: 'True', reason: 'WorkersDraining' });
  expect(draining).toMatchObject({ activeExecutions: 2, capacity: { maxExecutions: 2, availableExecutions: 1 } });
  const during = await start(0).answer;
  expect(during.status).toBe(200);
  expect((await stack.invocation(during.invocation)).status.worker).toBe('0');
  for (const { answer } of runs) expect((await answer).status).toBe(200);
  await eventually('worker 1 has ended', async () => ((await stack.pids('worker')).length === 1 ? true : undefined));
  const settled = await poolStatus('it has one worker', (status) => conditionOf(status, 'Progressing')?.reason === 'Complete');
  expect(settled).toMatchObject({ readyReplicas: 1, activeExecutions: 0, capacity: { maxExecutions: 2 } });

  await pool({ replicas: 2, maxExecutionsPerWorker: 1 });
  const first = start(LONG);
  await phase(first, 'Running');
  const second = start(0);
  expect((await second.answer).status).toBe(200);
  first.leave();
  expect((await stack.ended(first.id)).status).toMatchObject({ phase: 'Failed', reason: 'CallerGone' });
  const workers = await Promise.all([first, second].map(async ({ id }) => (await stack.invocation(id)).status.worker));
  expect(new Set(workers)).toEqual(new Set(['0', '1']));
});

it('a worker killed in the middle: its runs end WorkerLost, those who wait go to others', async () => {
  await poolStatus('two workers are connected', ({ readyReplicas }) => readyReplicas === 2);
  const running = [start(LONG), start(LONG)];
  const placed = await Promise.all(running.map((run) => phase(run, 'Running')));
  const waiting = [start(0), start(0)];
  const [one] = await Promise.all(waiting.map(queued));
  expect(one!.status.message).toContain('full');
  const victim = (await processesOf(stack.run)).find(({ argv }) => argv.some((arg) => arg.endsWith('worker.ts')) && argv.join(' ').includes('--name 1 '))!;
  process.kill(victim.pid, 'SIGKILL');
  const at = placed.findIndex(({ status }) => status.worker === '1');
  const lost = await running[at]!.answer;
  expect(lost.status).toBe(502);
  expect(lost.json()).toMatchObject({ error: { reason: 'WorkerLost', invocation: running[at]!.id } });
  expect((await stack.ended(running[at]!.id)).status).toMatchObject({ phase: 'Failed', reason: 'WorkerLost' });
  for (const { answer } of waiting) expect((await answer).status).toBe(200);
  // The other worker did not notice.
  const other = running[1 - at]!;
  expect((await stack.invocation(other.id)).status).toMatchObject({ phase: 'Running', worker: '0' });
  other.leave();
  await stack.ended(other.id);
  await poolStatus('the worker is back', ({ readyReplicas }) => readyReplicas === 2);
});

it('a pool scaled to zero refuses with 503 and says how to fix it; so does one that is not there', async () => {
  await pool({ replicas: 0 });
  const status = await poolStatus('nobody is left', ({ readyReplicas }) => readyReplicas === 0);
  expect(conditionOf(status, 'Available')).toMatchObject({ status: 'False', reason: 'ScaledToZero' });
  const refused = await stack.invoke('load');
  expect(refused.status).toBe(503);
  expect(refused.json()).toMatchObject({ error: { reason: 'PoolScaledToZero' } });
  expect(refused.text).toContain('spec.replicas');
  await stack.apply(probeAgent('lost', { workerPoolRef: 'nowhere', egressRefs: [] }));
  const lost = await eventually('the agent is known', async () => {
    const answer = await stack.invoke('lost');
    return answer.status === 503 && answer.text.includes('WorkerPoolNotFound') ? answer : undefined;
  });
  expect(lost.text).toContain('nowhere');
});
