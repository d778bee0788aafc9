import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agentSandboxRevisions, namespaces, taskAgents, workerPools } from '#api';
import { createApiServer, type ApiServer } from '#apiserver';
import { createLedgerClient } from '#egress';
import { createClient, type Client } from '#kube';
import { exited, poll, READY_STDIO, readyReport, silentLogger, spawnChild } from '#lib';
import { isTerminal, layout } from '#model';
import { ensurePki } from '#supervisor';
import { connect, Ledger, Runs } from '#wire';
import { agentView, remove, scratch, send, Worker, type HttpAnswer } from './kit.ts';

/** The real program, over a real API server. */
const dir = scratch();
const state = join(dir, 'state');
const run = join(dir, 'run');
const at = layout(state, run);
const program = join(import.meta.dirname, '../../../src/cmd/dispatcher.ts');
const pem = (file: string): string => readFileSync(join(at.pki, file), 'utf8');

let api: ApiServer;
let apiRuns = true;
let client: Client;
let url: string;

beforeAll(async () => {
  for (const own of [at.api, at.dispatch]) mkdirSync(own, { recursive: true });
  mkdirSync(run);
  await ensurePki(at.pki);
  api = createApiServer({ database: at.apiDb, tls: { ca: pem('ca.crt'), cert: pem('server.crt'), key: pem('server.key') }, log: silentLogger });
  url = `https://127.0.0.1:${await api.listen(0)}`;
  client = createClient({ server: url, ca: pem('ca.crt'), cert: pem('admin.crt'), key: pem('admin.key') });
  if (!(await client.get(namespaces, '', 'default'))) await client.create(namespaces, { metadata: { name: 'default' } });
  const { agent, revision, pool } = agentView('hello', {}, { maxExecutionsPerWorker: 10_000 });
  const meta = ({ name, namespace }: { name: string; namespace?: string }) => ({ metadata: { name, namespace } });
  await client.create(workerPools, { spec: pool.spec, ...meta(pool.metadata) });
  await client.create(agentSandboxRevisions, { spec: revision.spec, ...meta(revision.metadata) });
  await client.create(taskAgents, { spec: agent.spec, ...meta(agent.metadata) });
  await client.patchStatus(taskAgents, 'default', 'hello', agent.status!);
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  if (apiRuns) await api[Symbol.asyncDispose]();
  remove(dir);
});

const startDispatcher = async (): Promise<{ child: ChildProcess; port: number }> => {
  const child = spawnChild(process.execPath, [program, '--state', state, '--run', run, '--tools', dir, '--api', url], {
    stdio: READY_STDIO,
    env: { ...process.env, CLRK_LOG_LEVEL: 'warn' },
  });
  child.stderr!.pipe(process.stderr);
  const report = await Promise.race([readyReport(child), exited(child).then(() => Promise.reject(new Error('the dispatcher ended')))]);
  return { child, port: (report['ports'] as { ingress: number }).ingress };
};

const kill = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
  child.kill(signal);
  await exited(child);
};

/** A worker that answers every run with its own id after 5 ms, so that some are always under way. `assigned` hears of each run. */
const echoWorker = (assigned: (invocation: string) => void = () => {}): Worker => {
  const worker = new Worker(at.workSocket, { name: '0' });
  void worker
    .serve(({ invocation }) => {
      assigned(invocation);
      worker.update(invocation, 'Running');
      setTimeout(() => {
        worker.output(invocation, invocation);
        worker.update(invocation, 'Succeeded', { exitCode: 0, outputBytes: invocation.length });
      }, 5);
    })
    .catch(() => {});
  worker.ended.catch(() => {});
  return worker;
};

/** The answer of an agent whose worker is on its way. */
const untilServed = (port: number): Promise<HttpAnswer> =>
  poll(
    async () => {
      const answer = await send(port, { method: 'POST', path: '/default/hello' });
      return answer.json?.error?.reason === 'NoWorker' ? undefined : answer;
    },
    10,
    AbortSignal.timeout(5_000),
  );

test('a kill -9 in the middle of 1,000 triggers loses no acknowledged invocation and leaves none without an end', async () => {
  const first = await startDispatcher();
  const assigned: string[] = [];
  const before = echoWorker((invocation) => assigned.push(invocation));
  expect((await untilServed(first.port)).status).toBe(200);

  const acknowledged: string[] = [];
  const ids = Array.from({ length: 1_000 }, () => randomUUID());
  let next = 0;
  let failed = 0;
  const caller = async (): Promise<void> => {
    while (next < ids.length) {
      const id = ids[next++]!;
      const headers = { 'x-clrk-invocation-id': id };
      const answer = await send(first.port, { method: 'POST', path: '/default/hello', headers }).catch(() => undefined);
      if (!answer?.complete) failed++;
      else {
        expect(answer).toMatchObject({ status: 200, text: id });
        acknowledged.push(id);
        if (acknowledged.length === 500) first.child.kill('SIGKILL');
      }
    }
  };
  await Promise.all(Array.from({ length: 40 }, caller));
  await exited(first.child);
  before.kill();
  expect(acknowledged.length).toBeGreaterThanOrEqual(500);
  expect(failed).toBeGreaterThan(0);

  const second = await startDispatcher();
  expect(second.port).toBe(first.port);
  const after = echoWorker();
  const runs = connect(Runs, at.runsSocket);
  const settled = await poll(
    async () => {
      const { items } = await runs.list({ limit: 10_000 });
      return items.every(({ phase }) => isTerminal(phase as 'Failed')) ? items : undefined;
    },
    20,
    AbortSignal.timeout(5_000),
  );
  const phases = new Map(settled.map(({ id, phase }) => [id, phase]));
  for (const id of acknowledged) expect(phases.get(id), id).toBe('Succeeded');
  // Nothing ran that the journal does not know.
  for (const id of assigned) expect(phases.has(id), id).toBe(true);
  const unknown = settled.filter(({ reason }) => reason === 'DispatcherLost');
  expect(unknown.length).toBeGreaterThan(0);
  expect(unknown.every(({ phase }) => phase === 'Failed')).toBe(true);
  // A trigger whose answer was lost can be sent again: it runs, or it tells how its run ended.
  for (const id of ids.filter((one) => !acknowledged.includes(one)).slice(0, 20)) {
    const answer = await send(second.port, { method: 'POST', path: '/default/hello', headers: { 'x-clrk-invocation-id': id } });
    const known = phases.get(id);
    expect(answer.status).toBe(known === undefined ? 200 : known === 'Succeeded' ? 409 : 502);
  }
  runs.close();
  after.kill();
  await kill(second.child, 'SIGTERM');
  expect(second.child.exitCode).toBe(0);
}, 60_000);

test('the services of the dispatcher answer: Runs carries the answer of the ingress, Ledger counts', async () => {
  const { child, port } = await startDispatcher();
  const worker = echoWorker();
  await untilServed(port);
  const runs = connect(Runs, at.runsSocket);
  const parts: unknown[] = [];
  let text = '';
  for await (const { part } of runs.invoke({ namespace: 'default', agent: 'hello', trigger: 'HTTP', source: 'alice' })) {
    if (part.case === 'head') parts.push(part.value);
    else if (part.case === 'body') text += Buffer.from(part.value).toString();
  }
  expect(parts).toMatchObject([{ status: 200, headers: { 'x-clrk-invocation-id': text } }]);
  const { invocation } = await runs.get({ namespace: 'default', id: text });
  expect(invocation).toMatchObject({ phase: 'Succeeded', trigger: 'CLI', source: 'alice', agent: 'hello' });
  expect((await runs.get({ namespace: 'other', id: text })).invocation).toBeUndefined();

  const counters = connect(Ledger, at.ledgerSocket);
  const ledger = createLedgerClient(counters, { timeoutMs: 5_000 });
  const reserve = (id: string) =>
    ledger.reserve({
      id,
      execution: '',
      entries: [{ key: 'budget/default/b/g', unit: 'tokens', window: 'day', cap: 10, amount: 6 }],
      deadline: Date.now() + 60_000,
    });
  expect(await reserve('1')).toMatchObject({ granted: true });
  expect(await reserve('2')).toMatchObject({ granted: false, entry: 0, reserved: 6 });
  await ledger.settle({ id: '1', tokens: 2, microdollars: 0 });
  expect(await reserve('3')).toMatchObject({ granted: true });
  expect((await runs.budgets({ namespace: 'default' })).items).toMatchObject([
    { key: 'budget/default/b/g', unit: 'tokens', window: 'day', cap: 10, used: 2, reserved: 6 },
  ]);
  expect((await runs.budgets({ namespace: 'other' })).items).toEqual([]);
  for (const open of [runs, counters]) open.close();
  worker.kill();
  await kill(child, 'SIGTERM');
});

test('changes of an agent are seen at once, and without the API server the last state is used', async () => {
  const one = await startDispatcher();
  const condition = { type: 'Ready', status: 'False', reason: 'EgressGatewayNotFound', message: 'gone', lastTransitionTime: '2026-01-01T00:00:00Z' };
  await client.patchStatus(taskAgents, 'default', 'hello', { conditions: [condition] });
  const post = async (port: number): Promise<string> => (await send(port, { method: 'POST', path: '/default/hello' })).json?.error?.reason;
  await poll(async () => ((await post(one.port)) === 'EgressGatewayNotFound' ? true : undefined), 10, AbortSignal.timeout(5_000));
  await kill(one.child, 'SIGTERM');
  await api[Symbol.asyncDispose]();
  apiRuns = false;
  const two = await startDispatcher();
  expect(await post(two.port)).toBe('EgressGatewayNotFound');
  expect((await send(two.port, { method: 'POST', path: '/default/nobody' })).status).toBe(404);
  await kill(two.child, 'SIGTERM');
});
