import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '#lib';
import { Journal } from '#trigger';
import { join } from 'node:path';
import { agentView, attachedWorker, remove, send, Stack, type Worker } from './kit.ts';

let stack: Stack;
let worker: Worker;
beforeAll(async () => {
  stack = await Stack.start({ limits: { reattachMs: 100, queuedPerAgent: 2 } });
});
beforeEach(async () => {
  worker = await attachedWorker(stack);
});
afterEach(() => worker.kill());
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  remove(stack.dir);
});

const queued = (agent: string) => stack.until({ agent }, ({ phase, reason }) => phase === 'Pending' && reason === 'Queued');
const ended = (id: string, phase: string) => stack.until({ id }, (invocation) => invocation.phase === phase);

test('a run beyond maxConcurrent waits where one can see it, and runs when there is a slot', async () => {
  stack.agents.set('narrow', agentView('narrow', { maxConcurrent: 1 }));
  const first = stack.post('/default/narrow');
  const running = await worker.next('assignment');
  const second = stack.post('/default/narrow');
  const waiting = await queued('narrow');
  expect(waiting).toMatchObject({ message: 'default/narrow already has 1 runs; its maxConcurrent is 1.', worker: '' });
  expect(waiting.queuedMs).toBeUndefined();
  // Others are not held up.
  const other = stack.post('/default/hello');
  worker.update((await worker.next('assignment')).invocation, 'Succeeded');
  expect((await other).status).toBe(200);
  worker.update(running.invocation, 'Succeeded');
  expect((await first).status).toBe(200);
  const next = await worker.next('assignment');
  expect(next.invocation).toBe(waiting.id);
  worker.update(next.invocation, 'Succeeded');
  expect((await second).status).toBe(200);
  const kept = await stack.invoker.get('default', waiting.id);
  expect(kept).toMatchObject({ phase: 'Succeeded', reason: '', message: '', worker: worker.name });
  expect(kept!.queuedMs).toBeGreaterThan(0);
  expect(await stack.invoker.get('default', running.invocation)).not.toHaveProperty('queuedMs');
});

test('beyond the bound a caller is told when to come again', async () => {
  stack.agents.set('popular', agentView('popular', { maxConcurrent: 1 }));
  const answers = Array.from({ length: 3 }, () => stack.post('/default/popular'));
  const first = await worker.next('assignment');
  await stack.until({ agent: 'popular' }, () => stack.journal.list({ agent: 'popular' }).filter(({ reason }) => reason === 'Queued').length === 2);
  const full = await stack.post('/default/popular');
  expect(full).toMatchObject({ status: 429, json: { error: { code: 'AgentBusy', reason: 'AgentFull' } } });
  expect(full.json.error.message).toContain('2 more of this agent');
  expect(Number(full.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  expect(await stack.invoker.get('default', full.json.error.invocation)).toMatchObject({ phase: 'Rejected', reason: 'AgentFull' });
  worker.update(first.invocation, 'Succeeded');
  for (let i = 0; i < 2; i++) worker.update((await worker.next('assignment')).invocation, 'Succeeded');
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200]);
});

test('a caller who goes away while his run waits ends it, and it never runs', async () => {
  stack.agents.set('left', agentView('left', { maxConcurrent: 1 }));
  const first = stack.post('/default/left');
  const running = await worker.next('assignment');
  const abort = new AbortController();
  const gone = send(stack.port, { method: 'POST', path: '/default/left', signal: abort.signal });
  const { id } = await queued('left');
  abort.abort();
  await expect(gone).rejects.toThrow();
  const end = await ended(id, 'Rejected');
  expect(end).toMatchObject({ reason: 'CallerGone' });
  expect(end.queuedMs).toBeGreaterThan(0);
  worker.update(running.invocation, 'Succeeded');
  expect((await first).status).toBe(200);
  const next = stack.post('/default/left');
  const third = await worker.next('assignment');
  expect(third.invocation).not.toBe(id);
  worker.update(third.invocation, 'Succeeded');
  expect((await next).status).toBe(200);
});

test('a run waits no longer than its agent’s timeout', async () => {
  stack.agents.set('hasty', agentView('hasty', { maxConcurrent: 1, timeout: '1s' }));
  const first = stack.post('/default/hasty');
  const running = await worker.next('assignment');
  const late = await stack.post('/default/hasty');
  expect(late).toMatchObject({ status: 429, json: { error: { reason: 'QueueTimeout' } } });
  worker.update(running.invocation, 'Succeeded');
  expect((await first).status).toBe(200);
});

test('a run that waited runs as its agent is then, or not at all', async () => {
  stack.agents.set('changing', agentView('changing', { maxConcurrent: 1 }));
  const answers = Array.from({ length: 3 }, () => stack.post('/default/changing'));
  const first = await worker.next('assignment');
  await queued('changing');
  const view = agentView('changing', { maxConcurrent: 1 });
  stack.agents.set('changing', { ...view, revision: { ...view.revision, spec: { ...view.revision.spec, image: 'hello:2' } } });
  worker.update(first.invocation, 'Succeeded');
  const second = await worker.next('assignment');
  expect(second.image).toBe('hello:2');
  stack.agents.delete('changing');
  stack.scheduler.review();
  worker.update(second.invocation, 'Succeeded');
  const ends = await Promise.all(answers);
  expect(ends.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 404]);
  expect(ends.find(({ status }) => status === 404)).toMatchObject({ json: { error: { reason: 'AgentNotFound' } } });
});

test('runs that wait when their worker dies go to others', async () => {
  stack.agents.set('steady', agentView('steady', {}, { maxExecutionsPerWorker: 1 }));
  const first = stack.post('/default/steady');
  const lost = await worker.next('assignment');
  const second = stack.post('/default/steady');
  const { id } = await queued('steady');
  worker.kill();
  expect(await first).toMatchObject({ status: 502, json: { error: { reason: 'WorkerLost', invocation: lost.invocation } } });
  worker = await attachedWorker(stack);
  const next = await worker.next('assignment');
  expect(next.invocation).toBe(id);
  worker.update(id, 'Succeeded');
  expect((await second).status).toBe(200);
});

test('a dispatcher that stops or dies leaves no waiting run without an end', async () => {
  const own = await Stack.start();
  try {
    own.agents.set('narrow', agentView('narrow', { maxConcurrent: 1 }));
    const only = await attachedWorker(own);
    const first = own.post('/default/narrow');
    await only.next('assignment');
    const second = own.post('/default/narrow');
    const { id } = await own.until({ agent: 'narrow' }, ({ reason }) => reason === 'Queued');
    {
      // What a killed one leaves behind.
      await own.journal.committed();
      await using seen = new Journal(join(own.dir, 'dispatch.db'), { log: silentLogger });
      expect(seen.get(id)).toMatchObject({ phase: 'Pending', reason: 'Queued' });
    }
    const stopping = own[Symbol.asyncDispose]();
    expect(await second).toMatchObject({ status: 503, json: { error: { reason: 'Shutdown', invocation: id } } });
    only.kill();
    await Promise.all([first, stopping]);
    await using journal = new Journal(join(own.dir, 'dispatch.db'), { log: silentLogger });
    expect(journal.get(id)).toMatchObject({ phase: 'Rejected', reason: 'Shutdown' });
    expect(journal.unfinished()).toEqual([]);
  } finally {
    remove(own.dir);
  }
});
