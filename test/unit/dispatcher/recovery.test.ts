import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { silentLogger } from '#lib';
import { isTerminal, type Invocation } from '#model';
import { Journal } from '#trigger';
import { agentView, attachedWorker, remove, scratch, Stack, Worker } from './kit.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const start = async (options: Parameters<typeof Stack.start>[0] = {}): Promise<Stack> => {
  const stack = await Stack.start(options);
  cleanups.push(
    () => remove(stack.dir),
    () => stack[Symbol.asyncDispose](),
  );
  return stack;
};

const pending = (change: Partial<Invocation> = {}): Invocation => ({
  id: randomUUID(),
  namespace: 'default',
  agent: 'hello',
  trigger: 'HTTP',
  source: 'test',
  bodyHash: '',
  traceId: '0'.repeat(32),
  phase: 'Pending',
  reason: '',
  message: '',
  revision: '',
  worker: '',
  createdAt: Date.now(),
  ...change,
});

test('the runs of a worker that is killed end Failed/WorkerLost, and others go on', async () => {
  const stack = await start({ limits: { reattachMs: 100 } });
  const victim = await attachedWorker(stack);
  const doomed = stack.post('/default/hello');
  const { invocation } = await victim.next('assignment');
  victim.update(invocation, 'Running');
  victim.output(invocation, 'half');
  const other = new Worker(stack.workSocket, { name: 'other' });
  await stack.until({ id: invocation }, ({ phase }) => phase === 'Running');
  victim.kill();
  expect(await doomed).toMatchObject({ status: 502, json: { error: { reason: 'WorkerLost', invocation }, output: 'half' } });
  expect(await stack.invoker.get('default', invocation)).toMatchObject({ phase: 'Failed', reason: 'WorkerLost' });
  const next = stack.post('/default/hello');
  other.update((await other.next('assignment')).invocation, 'Succeeded');
  expect((await next).status).toBe(200);
  other.kill();
});

test('a worker that comes back with its run finishes it; one that comes back without it has lost it', async () => {
  const stack = await start({ limits: { reattachMs: 60_000 } });
  const before = await attachedWorker(stack, { name: 'w' });
  const first = stack.post('/default/hello', '1');
  const kept = await before.next('assignment');
  const second = stack.post('/default/hello', '2');
  const lost = await before.next('assignment');
  before.update(kept.invocation, 'Running');
  before.output(kept.invocation, 'before ');
  before.update(lost.invocation, 'Running');
  await stack.until({ id: lost.invocation }, ({ phase }) => phase === 'Running');
  before.kill();
  const after = new Worker(stack.workSocket, { name: 'w', running: [kept.invocation, 'unknown'] });
  expect(await after.next('cancel')).toMatchObject({ invocation: 'unknown' });
  expect(await second).toMatchObject({ status: 502, json: { error: { reason: 'WorkerLost' } } });
  after.output(kept.invocation, 'and after');
  after.update(kept.invocation, 'Succeeded', { exitCode: 0, outputBytes: 16 });
  expect(await first).toMatchObject({ status: 200, text: 'before and after' });
  after.kill();
});

test('after a restart runs that workers still have go on, and all others get a truthful end, once', async () => {
  const dir = scratch();
  const runs = { going: pending(), gone: pending(), orphaned: pending(), never: pending() };
  {
    await using journal = new Journal(join(dir, 'dispatch.db'), { log: silentLogger });
    for (const run of Object.values(runs)) journal.insert(run);
    const dispatch = (run: Invocation, worker: string): void =>
      void journal.move(run.id, 'Dispatched', { worker, dispatchedAt: Date.now() }, Date.now() + 60_000);
    dispatch(runs.going, 'w');
    dispatch(runs.gone, 'w');
    dispatch(runs.orphaned, 'away');
    journal.move(runs.going.id, 'Running', { startedAt: Date.now() });
    await journal.committed();
  }
  const stack = await start({ dir, limits: { recoverMs: 300 } });
  stack.agents.set('hello', agentView('hello', { maxConcurrent: 3 }));
  expect(await stack.invoker.get('default', runs.never.id)).toMatchObject({ phase: 'Rejected', reason: 'DispatcherLost' });
  const worker = new Worker(stack.workSocket, { name: 'w', running: [runs.going.id] });
  expect(await worker.next('credit')).toMatchObject({ invocation: runs.going.id });
  expect(await stack.until({ id: runs.gone.id }, ({ phase }) => isTerminal(phase))).toMatchObject({ phase: 'Failed', reason: 'DispatcherLost' });
  const repeat = stack.post('/default/hello', '', { 'x-clrk-invocation-id': runs.going.id });
  expect(await repeat).toMatchObject({ status: 409 }); // another body

  const phases: string[] = [];
  const watching = (async () => {
    for await (const { phase } of stack.invoker.watch({ id: runs.going.id }, AbortSignal.timeout(500))) phases.push(phase);
  })();
  worker.output(runs.going.id, Buffer.alloc(1024 * 1024));
  expect(await worker.next('credit')).toMatchObject({ bytes: 1024 * 1024 });
  worker.update(runs.going.id, 'Succeeded', { exitCode: 0, outputBytes: 5_000_000 });
  worker.update(runs.going.id, 'Failed', { exitCode: 1 });
  expect(await stack.until({ id: runs.orphaned.id }, ({ phase }) => isTerminal(phase))).toMatchObject({ phase: 'Failed', reason: 'DispatcherLost' });
  await watching;
  expect(phases).toEqual(['Running', 'Succeeded']);
  expect(await stack.invoker.get('default', runs.going.id)).toMatchObject({ phase: 'Succeeded', exitCode: 0, outputBytes: 5_000_000 });
  expect(stack.journal.unfinished()).toEqual([]);
  worker.kill();
});

test('a dispatcher that stops refuses triggers, cancels what runs and leaves no invocation without an end', async () => {
  const stack = await Stack.start();
  cleanups.push(() => remove(stack.dir));
  const worker = await attachedWorker(stack);
  const first = stack.post('/default/hello');
  const polite = await worker.next('assignment');
  const second = stack.post('/default/hello');
  await worker.next('assignment');
  const stopping = stack[Symbol.asyncDispose]();
  expect(await stack.post('/default/hello')).toMatchObject({ status: 503, json: { error: { reason: 'Shutdown' } } });
  expect(await worker.next('cancel')).toMatchObject({ invocation: polite.invocation, reason: 'Shutdown' });
  worker.update(polite.invocation, 'Failed', { reason: 'Shutdown', message: 'cancelled', exitCode: 143 });
  expect(await first).toMatchObject({ status: 502, json: { error: { reason: 'Shutdown', exitCode: 143 } } });
  expect(await second).toMatchObject({ status: 502, json: { error: { reason: 'Shutdown' } } });
  await stopping;
  worker.kill();
  await using journal = new Journal(join(stack.dir, 'dispatch.db'), { log: silentLogger });
  expect(journal.unfinished()).toEqual([]);
  expect(journal.list({}).map(({ phase }) => phase)).toEqual(['Failed', 'Failed']);
});
