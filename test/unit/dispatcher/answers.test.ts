import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { sleep } from '#lib';
import { agentView, attachedWorker, remove, send, Stack, type Worker } from './kit.ts';

let stack: Stack;
let worker: Worker;
beforeAll(async () => {
  stack = await Stack.start({ limits: { timeoutSlackMs: 200, cancelMs: 300 } });
});
beforeEach(async () => {
  worker = await attachedWorker(stack);
});
afterEach(() => worker.kill());
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  remove(stack.dir);
});

test('a run that succeeds answers 200 with its stdout, and is journalled before its worker gets it', async () => {
  const answering = stack.post('/default/hello', '{"n":12345678901234567890}', {
    'content-type': 'application/json',
    traceparent: '00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01',
    'ce-tenant': 'a%20b',
    'x-clrk-trigger': 'cron',
  });
  const run = await worker.next('assignment');
  expect(await stack.invoker.get('default', run.invocation)).toMatchObject({
    phase: 'Dispatched',
    worker: worker.name,
    revision: 'hello-00001',
    trigger: 'HTTP',
  });
  expect(run).toMatchObject({
    namespace: 'default',
    agent: 'hello',
    revision: 'hello-00001',
    image: 'hello:1',
    command: ['/agent'],
    timeoutMs: 100_000,
    traceId: '0123456789abcdef0123456789abcdef',
    gateways: [],
  });
  expect(run.env).toMatchObject([{ name: 'A', value: '1' }]);
  const text = Buffer.from(run.event).toString();
  expect(text).toContain('"data":{"n":12345678901234567890}');
  expect(JSON.parse(text)).toMatchObject({
    specversion: '1.0',
    id: run.invocation,
    source: 'clrk://default/hello',
    type: 'dev.apoxy.clrk.taskagent.invoke',
    subject: 'http',
    datacontenttype: 'application/json',
    tenant: 'a b',
  });
  worker.update(run.invocation, 'Running');
  worker.output(run.invocation, '{"answer":');
  worker.output(run.invocation, '42}\n');
  worker.update(run.invocation, 'Succeeded', { exitCode: 0, outputBytes: 14 });
  const answer = await answering;
  expect(answer).toMatchObject({ status: 200, text: '{"answer":42}\n', complete: true });
  expect(answer.headers).toMatchObject({ 'x-clrk-invocation-id': run.invocation, 'content-type': 'application/json', 'content-length': '14' });
  const kept = await stack.invoker.get('default', run.invocation);
  expect(kept).toMatchObject({ phase: 'Succeeded', exitCode: 0, outputBytes: 14, source: '127.0.0.1' });
  expect(kept!.firstByteMs).toBeGreaterThan(0);
  expect(kept!.startedAt).toBeGreaterThanOrEqual(kept!.dispatchedAt!);
  expect(kept!.finishedAt).toBeGreaterThanOrEqual(kept!.startedAt!);
});

test.each([
  ['plain text\n', 'text/plain; charset=utf-8'],
  [Buffer.from([0xff, 0xfe, 0x00]), 'application/octet-stream'],
  ['', 'text/plain; charset=utf-8'],
])('the type of the answer follows the output (%#)', async (output, type) => {
  const answering = stack.post('/default/hello');
  const run = await worker.next('assignment');
  if (output.length > 0) worker.output(run.invocation, output);
  worker.update(run.invocation, 'Succeeded');
  const answer = await answering;
  expect(answer.status).toBe(200);
  expect(answer.headers['content-type']).toBe(type);
});

test('a run that fails answers 502 with reason, exit code and at most 64 KiB of its output', async () => {
  const answering = stack.post('/default/hello');
  const run = await worker.next('assignment');
  worker.update(run.invocation, 'Running');
  worker.output(run.invocation, 'x'.repeat(100_000));
  worker.update(run.invocation, 'Failed', { reason: 'ExitCode', message: 'The process ended with exit code 3.', exitCode: 3 });
  const answer = await answering;
  expect(answer.status).toBe(502);
  expect(answer.json.error).toEqual({
    code: 'RunFailed',
    message: `Invocation ${run.invocation} ended Failed: The process ended with exit code 3.`,
    reason: 'ExitCode',
    invocation: run.invocation,
    exitCode: 3,
  });
  expect(answer.json.output).toBe('x'.repeat(65_536));
  expect(answer.headers['x-clrk-invocation-id']).toBe(run.invocation);
});

test('a timeout told by the worker answers 504, and so does one the worker is silent about', async () => {
  const told = stack.post('/default/hello');
  const first = await worker.next('assignment');
  worker.update(first.invocation, 'Running');
  worker.update(first.invocation, 'Timeout', { reason: 'Timeout', message: 'over' });
  expect(await told).toMatchObject({ status: 504, json: { error: { code: 'RunTimeout', reason: 'Timeout' } } });

  stack.agents.set('slow', agentView('slow', { timeout: '50ms' }));
  const silent = stack.post('/default/slow');
  const second = await worker.next('assignment');
  worker.update(second.invocation, 'Running');
  expect(await worker.next('cancel')).toMatchObject({ invocation: second.invocation, reason: 'Timeout' });
  expect(await silent).toMatchObject({ status: 504 });
  expect(await stack.invoker.get('default', second.invocation)).toMatchObject({ phase: 'Timeout' });
});

test('beyond 1 MiB output is streamed, and no faster than the caller reads', async () => {
  const chunk = Buffer.alloc(64 * 1024, 'a');
  const request = httpRequest({ host: '127.0.0.1', port: stack.port, method: 'POST', path: '/default/hello', agent: false });
  request.end();
  const { invocation } = await worker.next('assignment');
  worker.update(invocation, 'Running');
  for (let sent = 0; sent < 1024 * 1024; sent += chunk.length) worker.output(invocation, chunk);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  expect(response.headers['content-type']).toBe('text/plain; charset=utf-8');
  expect(response.headers['content-length']).toBeUndefined();

  // The caller reads nothing: credit comes for what fits into socket buffers and then no more.
  let credit = 0;
  let sent = 1024 * 1024;
  const total = 64 * 1024 * 1024;
  let stalled = false;
  while (!stalled) {
    const more = worker.next('credit');
    const idle = sleep(300);
    const answer = await Promise.race([more, idle]);
    if (!answer) {
      stalled = true;
      response.resume();
      credit += (await more).bytes;
    } else credit += answer.bytes;
    for (; credit >= chunk.length; credit -= chunk.length) {
      worker.output(invocation, chunk);
      sent += chunk.length;
    }
  }
  expect(sent).toBeLessThan(total / 2);
  let received = 0;
  response.on('data', (data: Buffer) => (received += data.length));
  const ended = once(response, 'end');
  while (sent < total) {
    credit += (await worker.next('credit')).bytes;
    for (; credit >= chunk.length && sent < total; credit -= chunk.length) {
      worker.output(invocation, chunk);
      sent += chunk.length;
    }
  }
  worker.update(invocation, 'Succeeded', { exitCode: 0, outputBytes: sent });
  await ended;
  expect(response.complete).toBe(true);
  expect(received).toBeGreaterThan(total / 2);
  expect((await stack.invoker.get('default', invocation))!.outputBytes).toBe(total);
});

test('a run that fails after its output began to be sent ends the connection without the last chunk', async () => {
  const answering = stack.post('/default/hello');
  const { invocation } = await worker.next('assignment');
  worker.update(invocation, 'Running');
  worker.output(invocation, Buffer.alloc(1024 * 1024, 'a'));
  await worker.next('credit');
  worker.output(invocation, 'the end');
  worker.update(invocation, 'Failed', { reason: 'OOMKilled', message: 'out of memory' });
  const answer = await answering;
  expect(answer).toMatchObject({ status: 200, complete: false });
  expect(await stack.invoker.get('default', invocation)).toMatchObject({ phase: 'Failed', reason: 'OOMKilled' });
});

test('output that was lost on the way does not pass for complete', async () => {
  const answering = stack.post('/default/hello');
  const { invocation } = await worker.next('assignment');
  worker.update(invocation, 'Running');
  worker.output(invocation, 'half of it');
  worker.update(invocation, 'Succeeded', { exitCode: 0, outputBytes: 20 });
  expect(await answering).toMatchObject({ status: 502, json: { error: { reason: 'OutputLost' } } });
});

test('a worker that sends more than its credit loses the run', async () => {
  const request = httpRequest({ host: '127.0.0.1', port: stack.port, method: 'POST', path: '/default/hello', agent: false });
  request.on('error', () => {});
  request.end();
  const { invocation } = await worker.next('assignment');
  worker.output(invocation, Buffer.alloc(1024 * 1024, 'a'));
  worker.output(invocation, Buffer.alloc(32 * 1024 * 1024, 'a'));
  expect(await stack.until({ id: invocation }, ({ phase }) => phase === 'Failed')).toMatchObject({ reason: 'CreditExceeded' });
  request.destroy();
});

test('a repeated id is the same run for the same agent and body, and a conflict for others', async () => {
  const id = randomUUID();
  const headers = { 'x-clrk-invocation-id': id };
  const first = stack.post('/default/hello', 'same', headers);
  const { invocation } = await worker.next('assignment');
  expect(invocation).toBe(id);
  const second = stack.post('/default/hello', 'same', { 'x-clrk-execution-id': id });
  expect(await stack.post('/default/hello', 'other', headers)).toMatchObject({ status: 409, json: { error: { reason: 'InvocationIdInUse', invocation: id } } });
  stack.agents.set('twin', agentView('twin'));
  expect(await stack.post('/default/twin', 'same', headers)).toMatchObject({ status: 409 });
  worker.output(id, 'once');
  worker.update(id, 'Succeeded', { exitCode: 0 });
  expect(await first).toMatchObject({ status: 200, text: 'once' });
  expect(await second).toMatchObject({ status: 200, text: 'once' });
  expect(await stack.post('/default/hello', 'same', headers)).toMatchObject({ status: 409, json: { error: { reason: 'OutputNotKept', invocation: id } } });
  expect(await stack.invoker.list({ id })).toHaveLength(1);
});

test('a chosen id that is no canonical UUID is refused', async () => {
  const answer = await stack.post('/default/hello', '', { 'x-clrk-invocation-id': randomUUID().toUpperCase() });
  expect(answer).toMatchObject({ status: 400, json: { error: { code: 'BadTrigger', reason: 'InvocationIdInvalid' } } });
  expect(answer.headers['x-clrk-invocation-id']).toBeUndefined();
});

test('the run of a caller who goes away is cancelled', async () => {
  const abort = new AbortController();
  const request = send(stack.port, { method: 'POST', path: '/default/hello', signal: abort.signal });
  const { invocation } = await worker.next('assignment');
  worker.update(invocation, 'Running');
  abort.abort();
  await expect(request).rejects.toThrow();
  expect(await worker.next('cancel')).toMatchObject({ invocation, reason: 'CallerGone' });
  worker.update(invocation, 'Failed', { reason: 'CallerGone', message: 'cancelled', exitCode: 137 });
  expect(await stack.until({ id: invocation }, ({ phase }) => phase === 'Failed')).toMatchObject({ reason: 'CallerGone', exitCode: 137 });
});

test('a cancel that the worker does not confirm ends the run all the same', async () => {
  const abort = new AbortController();
  const request = send(stack.port, { method: 'POST', path: '/default/hello', signal: abort.signal });
  const { invocation } = await worker.next('assignment');
  abort.abort();
  await expect(request).rejects.toThrow();
  expect(await stack.until({ id: invocation }, ({ phase }) => phase === 'Failed')).toMatchObject({ reason: 'CallerGone' });
});

test('an unknown agent is 404, and one without a worker, pool or ready revision 503 with the reason', async () => {
  expect(await stack.post('/default/nobody')).toMatchObject({ status: 404, json: { error: { code: 'AgentNotFound' } } });
  expect(await stack.post('/other/hello')).toMatchObject({ status: 404 });

  const view = agentView('broken');
  const elsewhere = { ...view.pool, metadata: { ...view.pool.metadata, name: 'elsewhere' } };
  stack.agents.set('broken', { ...view, pool: elsewhere });
  expect(await stack.post('/default/broken')).toMatchObject({ status: 503, json: { error: { code: 'AgentNotReady', reason: 'NoWorker' } } });
  for (const [reason, fix, spec] of [
    ['PoolScaledToZero', 'spec.replicas', { replicas: 0 }],
    ['PoolAdmitsNothing', 'spec.maxExecutionsPerWorker', { maxExecutionsPerWorker: 0 }],
  ] as const) {
    stack.agents.set('broken', agentView('broken', {}, spec));
    const refused = await stack.post('/default/broken');
    expect(refused).toMatchObject({ status: 503, json: { error: { reason } } });
    expect(refused.json.error.message).toContain(`raise its ${fix}`);
  }
  stack.agents.set('broken', { agent: view.agent, revision: view.revision });
  expect(await stack.post('/default/broken')).toMatchObject({ status: 503, json: { error: { reason: 'WorkerPoolNotFound' } } });
  const conditions = [{ type: 'Ready', status: 'False' as const, reason: 'ImageNotFound', message: 'no such image', lastTransitionTime: '' }];
  stack.agents.set('broken', { ...view, agent: { ...view.agent, status: { conditions } }, revision: undefined as never });
  const answer = await stack.post('/default/broken');
  expect(answer).toMatchObject({ status: 503, json: { error: { reason: 'ImageNotFound' } } });
  expect(answer.json.error.message).toContain('no such image');
  expect(await stack.invoker.get('default', answer.json.error.invocation)).toMatchObject({
    phase: 'Rejected',
    reason: 'ImageNotFound',
    bodyHash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

test.each([
  ['delivery', { delivery: { mode: 'Metadata' as const } }],
  ['state', { state: { backend: 'sqlite' as const } }],
  ['ingress', { ingress: { auth: { bearer: { secretRef: { name: 'callers' } } } } }],
])('an agent that sets %s, which is not built, does not run', async (field, spec) => {
  stack.agents.set('future', agentView('future', spec));
  const answer = await stack.post('/default/future');
  expect(answer).toMatchObject({ status: 503, json: { error: { reason: 'NotBuilt' } } });
  expect(answer.json.error.message).toContain(`spec.${field}`);
});

/** A view whose agent pins a revision of that name; `owner` is the uid of the agent it belongs to. */
const pinned = (revisionName: string, { owner, digest }: { owner?: string; digest?: string } = {}) => {
  const view = agentView('pinned', { revisionName });
  const ownerReferences = [{ apiVersion: 'v1', kind: 'TaskAgent', name: 'x', uid: owner ?? view.agent.metadata.uid!, controller: true }];
  const metadata = { ...view.revision.metadata, name: revisionName, ownerReferences };
  const conditions = [{ type: 'Ready', status: 'False' as const, reason: 'ImageNotFound', message: 'no such image', lastTransitionTime: '' }];
  return { ...view, revision: { ...view.revision, metadata, status: { conditions, ...(digest && { imageDigest: digest }) } } };
};
const DIGEST = `sha256:${'a'.repeat(64)}`;

test('a pinned revision runs with the content it was first ready with, whatever the latest ready one is', async () => {
  stack.agents.set('pinned', pinned('pinned-00007', { digest: DIGEST }));
  const answer = stack.post('/default/pinned');
  const run = await worker.next('assignment');
  expect(run).toMatchObject({ revision: 'pinned-00007', image: `hello:1@${DIGEST}` });
  worker.update(run.invocation, 'Succeeded');
  expect((await answer).status).toBe(200);
});

test.each([
  ['does not exist', { ...pinned('pinned-00007'), revision: undefined as never }, 'RevisionNotFound', 'pinned-00007, which does not exist'],
  ['belongs to another agent', pinned('other-00001', { owner: 'other', digest: DIGEST }), 'RevisionNotOwned', 'belongs to another agent'],
  ['was never ready', pinned('pinned-00009'), 'RevisionNotReady', 'ImageNotFound: no such image'],
])('a pinned revision that %s runs nothing, although the status says that another one serves', async (_, view, reason, text) => {
  const conditions = [{ type: 'Ready', status: 'True' as const, reason: 'RevisionReady', message: '', lastTransitionTime: '' }];
  stack.agents.set('pinned', { ...view, agent: { ...view.agent, status: { ...view.agent.status, conditions } } });
  const answer = await stack.post('/default/pinned');
  expect(answer).toMatchObject({ status: 503, json: { error: { reason } } });
  expect(answer.json.error.message).toContain(text);
});

test.each(['RevisionNotFound', 'RevisionNotOwned', 'RevisionNotReady', 'RevisionNameTaken', 'RevisionInvalid', 'WorkerPoolNotFound', 'PoolScaledToZero'])(
  'a condition %s does not stop a revision that can run: it is of before, or of a newer one',
  async (reason) => {
    const view = pinned('pinned-00007', { digest: DIGEST });
    const conditions = [{ type: 'Ready', status: 'False' as const, reason, message: 'of before', lastTransitionTime: '' }];
    stack.agents.set('pinned', { ...view, agent: { ...view.agent, status: { ...view.agent.status, conditions } } });
    const answer = stack.post('/default/pinned');
    worker.update((await worker.next('assignment')).invocation, 'Succeeded');
    expect((await answer).status).toBe(200);
  },
);

test('an environment value from elsewhere is not built, so the agent does not run', async () => {
  const view = agentView('secretive');
  const env = [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }];
  stack.agents.set('secretive', { ...view, revision: { ...view.revision, spec: { ...view.revision.spec, env } } });
  expect(await stack.post('/default/secretive')).toMatchObject({ status: 503, json: { error: { reason: 'NotBuilt' } } });
});

test('a body over 10 MiB is refused with 413 and journalled; one of 10 MiB is taken', async () => {
  const large = await stack.post('/default/hello', Buffer.alloc(10 * 1024 * 1024 + 1));
  expect(large).toMatchObject({ status: 413, json: { error: { code: 'BodyTooLarge' } } });
  expect(await stack.invoker.get('default', large.json.error.invocation)).toMatchObject({ phase: 'Rejected', reason: 'BodyTooLarge' });
  const waiting = await stack.post('/default/hello', '', { expect: '100-continue', 'content-length': String(2 ** 40) }).catch(() => undefined);
  expect(waiting === undefined || waiting.status === 413).toBe(true);
  const fits = stack.post('/default/hello', Buffer.alloc(10 * 1024 * 1024, 'a'), { 'content-type': 'text/plain' });
  const run = await worker.next('assignment');
  expect(run.event.byteLength).toBeGreaterThan(10 * 1024 * 1024);
  worker.update(run.invocation, 'Succeeded');
  expect((await fits).status).toBe(200);
});
