import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createApiServer } from '#apiserver';
import { GROUP, RUNTIME_GROUP, type Invocation as InvocationObject, type KubeObject } from '#api';
import { createClient, type Client } from '#kube';
import { AsyncQueue, silentLogger } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type {
  BudgetCap,
  BudgetCounter,
  ExchangeQuery,
  ExchangeRecord,
  ExplainAnswer,
  ExplainQuestion,
  Explanation,
  InvocationFilter,
  InvokeAnswer,
  InvokeRequest,
  Invocation,
  LogQuery,
  Runs,
  StoredLog,
} from '#model';
import { runtimeGroups } from '#runtime';
import { otlpLogs } from '#telemetry';
import { connect, createRpcServer, exchangeBatch, Runs as RunsService, Store as StoreService } from '#wire';
import { remoteCounters, remoteRuns, remoteStore } from '../../../src/cmd/controller-manager/remote.ts';
import { runsService } from '../../../src/cmd/dispatcher/services.ts';

/** A journal and a store in memory, reached the real way: kube client, API server, handlers, gRPC. */
class Journal implements Runs {
  readonly items: Invocation[] = [];
  readonly filters: InvocationFilter[] = [];
  readonly invoked: InvokeRequest[] = [];
  readonly changes = new AsyncQueue<Invocation>();
  answer: InvokeAnswer = { status: 200, headers: {}, body: (async function* () {})() };
  async invoke(request: InvokeRequest): Promise<InvokeAnswer> {
    this.invoked.push(request);
    return this.answer;
  }
  get = async (namespace: string, id: string) => this.items.find((item) => item.namespace === namespace && item.id === id);
  list = async (filter: InvocationFilter) => {
    this.filters.push(filter);
    return this.items.filter((item) => filter.namespace === undefined || item.namespace === filter.namespace);
  };
  async *watch() {
    yield* this.items.toReversed();
    yield* this.changes;
  }
}

const stack = { current: new AsyncDisposableStack() };
afterEach(async () => {
  await stack.current.disposeAsync();
  stack.current = new AsyncDisposableStack();
});

const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 3_600_000) };

interface StartOptions {
  readonly dispatcher?: boolean;
  readonly store?: boolean;
  readonly logs?: (query: LogQuery) => readonly StoredLog[];
}

const explanation: Explanation = {
  agent: 'default/summarizer',
  asked: 'GET https://example.com/',
  verdict: 'Denied',
  reason: 'NoRoute',
  message: 'No route.',
  status: 403,
  sees: 'HTTP 403',
  gateway: 'default/default',
  listener: 'tls',
  handling: 'terminate',
  route: '',
  rule: -1,
  policies: [],
  ranges: [],
  revision: 'abcdef012345',
  inForce: true,
  warnings: [],
  steps: [],
  misses: [],
};

const start = async ({ dispatcher = true, store = true, logs = (): readonly StoredLog[] => [] }: StartOptions = {}) => {
  const use = stack.current;
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  use.defer(() => rm(dir, { recursive: true, force: true }));
  const journal = new Journal();
  use.defer(() => journal.changes.end());
  const queries: ExchangeQuery[] = [];
  const records: ExchangeRecord[] = [];
  const questions: ExplainQuestion[] = [];
  const answers: { explain: ExplainAnswer; caps?: readonly BudgetCap[]; counters: readonly BudgetCounter[] } = { explain: { explanation }, counters: [] };
  if (dispatcher)
    await use
      .use(
        createRpcServer().add(
          RunsService,
          runsService(journal, { counters: (namespace) => answers.counters.filter(({ key }) => namespace === '' || key.split('/')[1] === namespace) }),
        ),
      )
      .listen(join(dir, 'runs.sock'));
  const storeService = createRpcServer().add(StoreService, {
    insertExchanges: () => ({}),
    exchanges: (query) => {
      queries.push(query as ExchangeQuery);
      return exchangeBatch(records);
    },
    insertLogs: () => ({}),
    logs: (query) => ({ records: [...logs(query as LogQuery)] }),
  });
  if (store) await use.use(storeService).listen(join(dir, 'store.sock'));
  const runsClient = connect(RunsService, join(dir, 'runs.sock'));
  const storeClient = connect(StoreService, join(dir, 'store.sock'));
  use.defer(() => [runsClient, storeClient].forEach((client) => client.close()));

  const authority = await createAuthority({ subject: 'CN=test', ca: { pathLength: 0 }, ...valid });
  const signer = await loadSigner(authority);
  const server = await signer.issue({ subject: 'CN=server', usage: 'server', ips: ['127.0.0.1'], ...valid });
  const api = use.use(
    createApiServer({
      database: join(dir, 'api.db'),
      tls: { ca: authority.certPem, cert: server.certPem, key: server.keyPem },
      extraGroups: runtimeGroups({
        runs: remoteRuns(runsClient),
        store: remoteStore(storeClient),
        agents: { exists: async (namespace, name) => namespace === 'default' && name === 'summarizer' },
        encodeLogs: otlpLogs,
        explain: {
          explain: async (question) => {
            questions.push(question);
            return answers.explain;
          },
        },
        caps: { caps: (namespace) => answers.caps?.filter(({ key }) => namespace === '' || key.split('/')[1] === namespace) },
        counters: remoteCounters(runsClient),
        now: () => Date.parse('2026-01-15T12:00:00Z'),
        followMs: 300,
        quietMs: 50,
      }),
      log: silentLogger,
    }),
  );
  const url = `https://127.0.0.1:${await api.listen(0)}`;
  const clientOf = async (subject: string): Promise<Client> => {
    const own = await signer.issue({ subject, usage: 'client', ...valid });
    return use.use(createClient({ server: url, ca: authority.certPem, cert: own.certPem, key: own.keyPem }));
  };
  return {
    journal,
    queries,
    records,
    questions,
    answers,
    admin: await clientOf('CN=alice, O=system:masters'),
    viewer: await clientOf('CN=bob, O=clrk:viewers'),
  };
};

const base: Invocation = {
  id: '5f0c2b1e-8a51-4d0c-9f0e-3b6a7d2c4e10',
  namespace: 'default',
  agent: 'summarizer',
  trigger: 'HTTP',
  source: '127.0.0.1',
  bodyHash: 'h',
  traceId: 'a'.repeat(32),
  phase: 'Pending',
  reason: '',
  message: '',
  revision: '',
  worker: '',
  createdAt: Date.parse('2026-01-01T00:00:00Z'),
};
const ended: Invocation = {
  ...base,
  phase: 'Failed',
  reason: 'NonZeroExit',
  message: 'The process failed.',
  revision: 'summarizer-00001',
  worker: '0',
  dispatchedAt: base.createdAt + 1_000,
  startedAt: base.createdAt + 2_000,
  finishedAt: base.createdAt + 3_000,
  firstByteMs: 12.5,
  exitCode: 3,
  outputBytes: 10,
};
const invocations = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default/invocations`;

test('an invocation of the journal is an object with its facts as status and conditions', async () => {
  const { admin, viewer, journal } = await start();
  journal.items.push(ended);
  const object = await viewer.json<InvocationObject>('GET', `${invocations}/${ended.id}`);
  expect(object).toMatchObject({
    apiVersion: `${RUNTIME_GROUP}/v1alpha1`,
    kind: 'Invocation',
    metadata: { name: ended.id, uid: ended.id, namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { parentRef: { kind: 'TaskAgent', name: 'summarizer' }, trigger: { type: 'HTTP', source: '127.0.0.1' } },
    status: { phase: 'Failed', reason: 'NonZeroExit', exitCode: 3, revision: 'summarizer-00001', worker: '0', finishedAt: '2026-01-01T00:00:03Z' },
  });
  expect(object.status!.conditions!.map(({ type, reason, lastTransitionTime }) => [type, reason, lastTransitionTime])).toEqual([
    ['Dispatched', 'Dispatched', '2026-01-01T00:00:01Z'],
    ['Started', 'Started', '2026-01-01T00:00:02Z'],
    ['Finished', 'NonZeroExit', '2026-01-01T00:00:03Z'],
  ]);
  expect(object.status!.conditions![2]!.message).toBe('The process failed. Exit code 3. 10 bytes of output.');
  await expect(admin.json('GET', `${invocations}/none`)).rejects.toMatchObject({ code: 404, reason: 'NotFound' });
  await expect(admin.json('POST', invocations, { body: '{}' })).rejects.toMatchObject({ code: 405 });
  const alias = await admin.json<{ items: KubeObject[] }>('GET', `/apis/${GROUP}/v1alpha1/namespaces/default/invocations`);
  expect(alias.items[0]).toMatchObject({ apiVersion: `${GROUP}/v1alpha1`, kind: 'Invocation' });
});

test('kubectl sees NAME, AGENT, PHASE, TRIGGER, AGE; a list is narrowed by agent and label', async () => {
  const { admin, journal } = await start();
  journal.items.push(ended, { ...base, id: 'x', agent: 'other' });
  const table = await admin.json<{ columnDefinitions: { name: string; priority: number }[]; rows: { cells: unknown[] }[] }>('GET', invocations, {
    headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' },
  });
  expect(table.columnDefinitions.filter(({ priority }) => priority === 0).map(({ name }) => name)).toEqual(['Name', 'Agent', 'Phase', 'Trigger', 'Age']);
  expect(table.rows[0]!.cells.slice(0, 4)).toEqual([ended.id, 'summarizer', 'Failed', 'HTTP']);
  const selected = await admin.json<{ items: KubeObject[] }>('GET', `${invocations}?labelSelector=clrk.apoxy.dev%2Fagent%3Dother`);
  expect(selected.items.map(({ metadata }) => metadata.name)).toEqual(['x']);
  await admin.json('GET', `${invocations}?agent=summarizer`);
  expect(journal.filters.at(-1)).toMatchObject({ namespace: 'default', agent: 'summarizer' });
});

test('a watch from a list misses no change, not even one of the same millisecond', async () => {
  const { admin, journal } = await start();
  journal.items.push(ended);
  const { metadata } = await admin.json<{ metadata: { resourceVersion: string } }>('GET', invocations);
  const kind = { group: RUNTIME_GROUP, version: 'v1alpha1', kind: 'Invocation', plural: 'invocations', namespaced: true };
  const seen: string[] = [];
  journal.changes.push({ ...ended, id: 'twin' });
  journal.changes.push({ ...base, id: 'later', createdAt: ended.finishedAt! + 1 });
  journal.changes.push({ ...base, id: 'later', createdAt: ended.finishedAt! + 1, phase: 'Rejected', finishedAt: ended.finishedAt! + 1 });
  for await (const { type, object } of admin.watch<InvocationObject>(kind, { namespace: 'default', resourceVersion: metadata.resourceVersion })) {
    seen.push(`${type} ${object.metadata.name} ${object.status?.phase}`);
    if (object.status?.phase === 'Rejected') break;
  }
  expect(seen).toEqual([`ADDED ${ended.id} Failed`, 'ADDED twin Failed', 'ADDED later Pending', 'MODIFIED later Rejected']);
});

test('invoke passes what means something to a run, tells who called, and streams the answer as it is', async () => {
  const { admin, viewer, journal } = await start();
  const path = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default/taskagents/summarizer/invoke`;
  const body = async function* () {
    yield Buffer.from('one ');
    yield Buffer.from('two');
  };
  journal.answer = { status: 502, headers: { 'content-type': 'text/plain', 'x-clrk-invocation-id': 'i' }, body: body() };
  const headers = { 'content-type': 'text/markdown', 'ce-type': 't', 'x-clrk-invocation-id': 'i', 'x-clrk-trigger': 'cron', cookie: 'c', traceparent: 'p' };
  const response = await admin.request('POST', path, { headers, body: Buffer.from([0, 255, 10]) });
  expect(response.status).toBe(502);
  expect(response.headers).toMatchObject({ 'content-type': 'text/plain', 'x-clrk-invocation-id': 'i' });
  expect(await response.body.text()).toBe('one two');
  expect(journal.invoked).toMatchObject([{ namespace: 'default', agent: 'summarizer', trigger: 'CLI', source: 'alice' }]);
  expect({ ...journal.invoked[0]!.headers }).toEqual({ 'content-type': 'text/markdown', 'ce-type': 't', 'x-clrk-invocation-id': 'i', traceparent: 'p' });
  expect([...journal.invoked[0]!.body]).toEqual([0, 255, 10]);

  const refused = await viewer.request('POST', path, { body: '{}' });
  expect(refused.status).toBe(403);
  await refused.body.dump();
  expect(journal.invoked).toHaveLength(1);

  const cut = async function* () {
    yield Buffer.from('part');
    throw new Error('the run failed');
  };
  journal.answer = { status: 200, headers: {}, body: cut() };
  await expect((await admin.request('POST', path)).body.text()).rejects.toThrow();
});

test('exchanges are asked of the store by namespace, and come flat', async () => {
  const { viewer, queries, records } = await start();
  const record: ExchangeRecord = {
    decisionId: 'd1',
    time: '2026-01-01T00:00:00.123Z',
    namespace: 'default',
    agent: 'summarizer',
    invocation: 'i',
    traceId: 't',
    spanId: 's',
    worker: '0',
    gateway: 'default/gw',
    route: 'AIProviderRoute/default/openai',
    revision: 'r',
    protocol: 'https',
    method: 'POST',
    host: 'api.openai.com',
    path: '/v1/chat/completions',
    destination: '198.18.0.1:443',
    status: 200,
    verdict: 'Allowed',
    reason: 'Allowed',
    provider: 'openai',
    model: 'm',
    operation: 'chat',
    stream: true,
    routeMatched: true,
    responseModel: 'm-1',
    responseId: 'r',
    finishReasons: ['stop'],
    inputTokens: 3,
    costUsd: 0.000_003,
    costEstimated: true,
    budgetOverrun: false,
    providerFetches: [],
    mcpMethod: '',
    mcpSession: '',
    mcpProtocol: '',
    tool: '',
    mcpResource: '',
    credentialsReplaced: [],
    credentialsEchoed: ['header'],
    durationMs: 1.5,
    requestBytes: 1,
    responseBytes: 2,
  };
  records.push(record);
  const path = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default/exchanges`;
  const list = await viewer.json<{ kind: string; items: object[] }>('GET', `${path}?invocation=i&agent=summarizer&since=2026-01-01T00:00:00Z&limit=99999`);
  expect(list.kind).toBe('ExchangeList');
  expect(list.items[0]).toMatchObject(record);
  expect(list.items[0]).not.toHaveProperty('outputTokens');
  expect(queries[0]).toMatchObject({ namespace: 'default', invocation: 'i', agent: 'summarizer', since: Date.parse('2026-01-01T00:00:00Z'), limit: 10_000 });
  await viewer.json('GET', path);
  expect(queries[1]).toMatchObject({ namespace: 'default', protocols: [], limit: 1_000 });
  await viewer.json('GET', `${path}?verdict=Denied&protocol=tcp,udp&host=*.example.com`);
  expect(queries[2]).toMatchObject({ verdict: 'Denied', protocols: ['tcp', 'udp'], host: '*.example.com' });
  await expect(viewer.json('GET', `${path}?verdict=maybe`)).rejects.toMatchObject({ code: 400 });
  await expect(viewer.json('GET', `${path}?since=yesterday`)).rejects.toMatchObject({ code: 400 });
  await expect(viewer.json('GET', `${path}?limit=many`)).rejects.toMatchObject({ code: 400 });
  await expect(viewer.json('GET', `/apis/${RUNTIME_GROUP}/v1alpha1/exchanges`)).rejects.toMatchObject({ code: 400 });
});

test('a dispatcher or store that is away is a 503 that names it', async () => {
  const { admin } = await start({ dispatcher: false, store: false });
  const root = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default`;
  for (const [method, path, service] of [
    ['GET', `${root}/invocations`, 'dispatcher'],
    ['GET', `${root}/invocations/x`, 'dispatcher'],
    ['POST', `${root}/taskagents/a/invoke`, 'dispatcher'],
    ['GET', `${root}/exchanges`, 'store'],
  ] as const) {
    await expect(admin.json(method, path)).rejects.toMatchObject({ code: 503, reason: 'ServiceUnavailable', message: expect.stringContaining(service) });
  }
});

describe('logs', () => {
  const path = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default/taskagents/summarizer/logs`;
  const line = (position: number, over: Partial<StoredLog> = {}): StoredLog => ({
    id: `i-a-${position}`,
    time: `2026-01-01T00:00:00.${String(position).padStart(9, '0')}Z`,
    namespace: 'default',
    agent: 'summarizer',
    revision: 'summarizer-00001',
    invocation: base.id,
    traceId: '',
    spanId: '',
    worker: '0',
    component: 'worker',
    iostream: 'stdout',
    event: '',
    body: `line ${position}`,
    position,
    ...over,
  });
  /** A store that has these lines and waits for none. */
  const keeping = (...lines: readonly StoredLog[]) => {
    const asked: LogQuery[] = [];
    const logs = (query: LogQuery): readonly StoredLog[] => {
      asked.push(query);
      const found = lines.filter(
        ({ position, invocation, iostream }) =>
          position > (query.after ?? 0) && (!query.invocation || invocation === query.invocation) && (!query.iostream || iostream === query.iostream),
      );
      return query.after === undefined ? found.slice(-query.limit) : found.slice(0, query.limit);
    };
    return { asked, logs };
  };
  const bodiesOf = (data: unknown): string[] => [...JSON.stringify(data).matchAll(/"body":\{"stringValue":"([^"]*)"/g)].map((match) => match[1]!);
  const chunksOf = async (client: Client, query: string): Promise<unknown[]> => {
    const response = await client.request('GET', `${path}?${query}`);
    expect(response.status).toBe(200);
    return (await response.body.text())
      .split('\n')
      .filter(Boolean)
      .map((text) => JSON.parse(text) as unknown);
  };

  test('answers OTLP/JSON; what is asked for reaches the store; nonsense is refused', async () => {
    const { asked, logs } = keeping(line(1), line(2));
    const { viewer } = await start({ logs });
    const data = await viewer.json(
      'GET',
      `${path}?component=worker,egress&invocation=${base.id}&iostream=stdout&since=2026-01-01T01:00:00.5%2B01:00&limit=99999`,
    );
    expect(bodiesOf(data)).toEqual(['line 1', 'line 2']);
    expect(asked[0]).toMatchObject({
      namespace: 'default',
      agent: 'summarizer',
      invocation: base.id,
      components: ['worker', 'egress'],
      iostream: 'stdout',
      since: '2026-01-01T00:00:00.500000000Z',
      limit: 1_000,
    });
    expect(bodiesOf(await viewer.json('GET', `${path}?after=1&limit=1`))).toEqual(['line 2']);
    for (const query of ['since=yesterday', 'since=2026-01-01T00:00:00', 'since=9999-01-01T00:00:00Z', 'iostream=stdin', 'limit=many', 'after=-1'])
      await expect(viewer.json('GET', `${path}?${query}`)).rejects.toMatchObject({ code: 400 });
    await expect(viewer.json('POST', path, { body: '{}' })).rejects.toMatchObject({ code: 403 });
  });

  test('an unknown agent or invocation is a 404, one without lines is empty, a deleted one can be read', async () => {
    const { admin, journal } = await start();
    journal.items.push(ended, { ...ended, id: 'other', agent: 'other' });
    expect(await admin.json('GET', path)).toEqual({ resourceLogs: [] });
    expect(await admin.json('GET', `${path}?invocation=${ended.id}`)).toEqual({ resourceLogs: [] });
    await expect(admin.json('GET', `${path}?invocation=other`)).rejects.toMatchObject({ code: 404, message: expect.stringContaining('other') });
    for (const follow of ['', '?follow=true']) {
      const unknown = admin.json('GET', `${path.replace('summarizer', 'nobody')}${follow}`);
      await expect(unknown).rejects.toMatchObject({ code: 404, message: expect.stringContaining('nobody') });
    }
    const { logs } = keeping(line(1, { agent: 'nobody' }));
    const again = await start({ logs });
    expect(bodiesOf(await again.admin.json('GET', path.replace('summarizer', 'nobody')))).toEqual(['line 1']);
  });

  test('follow goes on after a position or time, else from now, for about a minute', async () => {
    const { asked, logs } = keeping(line(1), line(2), line(3));
    const { admin } = await start({ logs });
    expect((await chunksOf(admin, 'follow=true&after=1')).map(bodiesOf)).toEqual([['line 2', 'line 3']]);
    expect(await chunksOf(admin, 'follow=true')).toEqual([]);
    asked.length = 0;
    expect((await chunksOf(admin, 'follow=true&limit=2&since=2026-01-01T00:00:00Z')).map(bodiesOf)).toEqual([['line 1', 'line 2'], ['line 3']]);
    expect(asked[1]).toMatchObject({ after: 0, since: '2026-01-01T00:00:00.000000000Z' });
  });

  test('following one run ends with it, whatever is filtered out, and says that it is complete', async () => {
    const complete = { resourceLogs: [], complete: true };
    const { logs } = keeping(line(1), line(2, { iostream: 'stderr' }), line(3, { iostream: '', event: 'ended' }), line(4, { invocation: 'x' }));
    const { admin } = await start({ logs });
    const [lines, end, ...more] = await chunksOf(admin, `follow=true&after=0&invocation=${base.id}&iostream=stderr`);
    expect([bodiesOf(lines), end, more]).toEqual([['line 2'], complete, []]);
    expect(await chunksOf(admin, `follow=true&after=3&invocation=${base.id}`)).toEqual([complete]); // it had been seen
  });

  test('a run whose worker died has no last line: following it ends when it is known to have ended and no line comes', async () => {
    const { logs } = keeping(line(1));
    const { admin, journal } = await start({ logs });
    journal.items.push({ ...base, phase: 'Running' });
    expect((await chunksOf(admin, `follow=true&after=0&invocation=${base.id}`)).map(bodiesOf)).toEqual([['line 1']]); // come again
    journal.items[0] = { ...ended, reason: 'WorkerLost' };
    expect(await chunksOf(admin, `follow=true&after=1&invocation=${base.id}`)).toEqual([{ resourceLogs: [], complete: true }]);
  });

  test('while the store is away it says so, and a follow that loses it does not look complete', async () => {
    const { admin } = await start({ store: false });
    for (const query of ['', '?follow=true'])
      await expect(admin.json('GET', `${path}${query}`)).rejects.toMatchObject({ code: 503, message: expect.stringContaining('store') });
    let calls = 0;
    const logs = (): readonly StoredLog[] => {
      if (++calls > 2) throw new Error('gone');
      return [line(calls)];
    };
    const losing = await start({ logs });
    const response = await losing.admin.request('GET', `${path}?follow=true&after=0`);
    await expect(response.body.text()).rejects.toThrow();
  });
});

describe('explain', () => {
  const path = `/apis/${RUNTIME_GROUP}/v1alpha1/namespaces/default/explain/summarizer`;

  test('a viewer may ask about a request or a connection; the question comes as it was asked', async () => {
    const { viewer, questions } = await start();
    const url = 'https://example.com/?a=b&c';
    const answer = await viewer.json('GET', `${path}?${new URLSearchParams({ method: 'GET', url, sni: '', model: 'm' }).toString()}`);
    expect(answer).toMatchObject({ kind: 'Explanation', metadata: { name: 'summarizer', namespace: 'default' }, ...explanation });
    await viewer.json('GET', `${path}?protocol=tcp&destination=db.example.com:5432`);
    expect(questions).toEqual([
      { namespace: 'default', agent: 'summarizer', method: 'GET', url, sni: '', model: 'm' },
      { namespace: 'default', agent: 'summarizer', protocol: 'tcp', destination: 'db.example.com:5432' },
    ]);
  });

  test('neither or both ways to ask, or too much, is a 400; what the other side refuses keeps its code', async () => {
    const { viewer, answers } = await start();
    for (const query of ['', '?method=GET', '?url=https://a/&destination=a:1', `?method=GET&url=https://a/${'x'.repeat(9_000)}`])
      await expect(viewer.json('GET', `${path}${query}`), query.slice(0, 40)).rejects.toMatchObject({ code: 400 });
    answers.explain = { refusal: { reason: 'NotFound', message: 'there is no agent' } };
    await expect(viewer.json('GET', `${path}?method=GET&url=https://a/`)).rejects.toMatchObject({ code: 404, message: 'there is no agent' });
    await expect(viewer.json('POST', path, { body: '{}' })).rejects.toMatchObject({ code: 403 });
  });
});

describe('budgets', () => {
  const BUDGETS = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/budgets';
  const cap = (of: Partial<BudgetCap> = {}): BudgetCap => ({
    key: 'budget/default/openai/egress',
    unit: 'tokens',
    window: 'day',
    cap: 1_000,
    route: 'AIProviderRoute/default/openai',
    gateway: 'default/egress',
    field: 'spec.rules[0].filters[0].tokenBudget.maxTokensPerDay',
    ...of,
  });
  const counter = (of: Partial<BudgetCounter> = {}): BudgetCounter => ({
    key: 'budget/default/openai/egress',
    unit: 'tokens',
    window: 'day',
    execution: '',
    cap: 1_000,
    used: 600,
    reserved: 150,
    resetAt: Date.parse('2026-01-16T00:00:00Z'),
    ...of,
  });
  type List = { readonly items: readonly object[] };

  test('every cap with its counter: of a day, of runs, shared, and one nobody asked anything of yet', async () => {
    const { viewer, answers } = await start();
    answers.caps = [
      cap(),
      cap({ cap: 700, field: 'spec.rules[1].filters[0].tokenBudget.maxTokensPerDay' }),
      cap({ unit: 'microdollars', window: 'execution', cap: 50, field: 'f' }),
      cap({ key: 'shared/default/team', unit: 'microdollars', cap: 9, route: 'AIProviderRoute/default/a', field: 'a' }),
      cap({ key: 'shared/default/team', unit: 'microdollars', cap: 9, route: 'AIProviderRoute/default/b', field: 'b' }),
      cap({ key: 'budget/other/openai/egress' }),
    ];
    answers.counters = [
      counter(),
      counter({ unit: 'microdollars', window: 'execution', execution: 'run-1', used: 7, reserved: 0, resetAt: 0 }),
      counter({ unit: 'microdollars', window: 'execution', execution: 'run-2', used: 49, reserved: 1, resetAt: 0 }),
      counter({ key: 'budget/default/gone/egress' }),
    ];
    const { items } = await viewer.json<List>('GET', BUDGETS);
    const day = { scope: 'AIProviderRoute/default/openai', gateway: 'default/egress', unit: 'tokens', window: 'day', reset: '2026-01-16T00:00:00.000Z' };
    const run = { scope: 'AIProviderRoute/default/openai', unit: 'microdollars', window: 'execution', limit: 50 };
    expect(items).toMatchObject([
      { ...day, metadata: { name: 'openai.egress.tokens.day' }, limit: 700, used: 600, reserved: 150, left: 0 },
      { ...day, metadata: { name: 'openai.egress.tokens.day.2' }, limit: 1_000, used: 600, reserved: 150, left: 250 },
      { ...run, metadata: { name: 'openai.egress.microdollars.execution.run-1' }, invocation: 'run-1', used: 7, reserved: 0, left: 43 },
      { ...run, invocation: 'run-2', used: 49, reserved: 1, left: 0 },
      {
        scope: 'shared/default/team',
        limit: 9,
        used: 0,
        reserved: 0,
        left: 9,
        reset: day.reset,
        fields: ['AIProviderRoute/default/a a', 'AIProviderRoute/default/b b'],
      },
    ]);
    expect(items[4]).not.toHaveProperty('gateway');
    expect(items[2]).not.toHaveProperty('reset');
    const everywhere = await viewer.json<List>('GET', '/apis/runtime.clrk.apoxy.dev/v1alpha1/budgets');
    expect(everywhere.items).toHaveLength(6);
  });

  test('controllers that only begin and a dispatcher that is away are told', async () => {
    const { viewer, answers } = await start();
    await expect(viewer.json('GET', BUDGETS)).rejects.toMatchObject({ code: 503 });
    answers.caps = [];
    expect((await viewer.json<List>('GET', BUDGETS)).items).toEqual([]);
    const alone = await start({ dispatcher: false });
    alone.answers.caps = [];
    await expect(alone.viewer.json('GET', BUDGETS)).rejects.toMatchObject({ code: 503 });
  });
});
