import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { invocations, type ExtraGroup, type ExtraRequest, type ExtraResponse, type ExtraWatchEvent, type KubeObject } from '#api';
import { startServer, type TestClient, type TestServer } from './harness.ts';

/** Resources that a handler answers: what it is asked, and what becomes of its answers. */

let server: TestServer;
let admin: TestClient;
let asked: ExtraRequest[] = [];
let answer: (request: ExtraRequest) => Promise<ExtraResponse> = () => Promise.reject(new Error('not set'));

const handle = (request: ExtraRequest): Promise<ExtraResponse> => {
  asked.push(request);
  return answer(request);
};
const resource = {
  name: 'invocations',
  singular: 'invocation',
  kind: 'Invocation',
  namespaced: true,
  shortNames: ['inv'],
  verbs: ['get', 'list', 'watch'] as const,
  columns: invocations.columns,
  schema: invocations.schema,
  handle,
};
const groups: ExtraGroup[] = [
  {
    group: 'runtime.clrk.apoxy.dev',
    version: 'v1alpha1',
    resources: [
      resource,
      {
        name: 'taskagents',
        singular: 'taskagent',
        kind: 'TaskAgent',
        namespaced: true,
        shortNames: [],
        verbs: [],
        subresources: [{ name: 'invoke', kind: 'Invocation', verbs: ['create'], maxBodyBytes: 10 }],
        handle,
      },
    ],
  },
  { group: 'clrk.apoxy.dev', version: 'v1alpha1', resources: [resource] },
];

const RUNTIME = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default';
const ALIAS = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default';
const run = (name: string, version: number, labels = {}): KubeObject =>
  ({
    apiVersion: 'runtime.clrk.apoxy.dev/v1alpha1',
    kind: 'Invocation',
    metadata: { name, namespace: 'default', labels, resourceVersion: String(version), creationTimestamp: new Date().toISOString() },
    spec: { parentRef: { kind: 'TaskAgent', name: 'a' }, trigger: { type: 'HTTP' } },
    status: { phase: 'Running' },
  }) as unknown as KubeObject;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeAll(async () => {
  server = await startServer({ extraGroups: groups });
  admin = await server.client();
});
beforeEach(() => {
  asked = [];
});
afterAll(() => server[Symbol.asyncDispose]());

test('a handler is told who asks for what', async () => {
  answer = () => Promise.resolve({ object: run('i1', 5) });
  const { status, body } = await admin.call('GET', `${RUNTIME}/invocations/i1?x=y`);
  expect(status).toBe(200);
  expect(body.apiVersion).toBe('runtime.clrk.apoxy.dev/v1alpha1');
  expect(asked[0]).toMatchObject({ verb: 'get', namespace: 'default', name: 'i1', subresource: '', principal: { name: 'admin', groups: ['system:masters'] } });
  expect(asked[0]!.query.get('x')).toBe('y');
});

test('an alias in another group has that apiVersion', async () => {
  answer = () => Promise.resolve({ list: [run('i1', 5), run('i2', 7, { a: 'b' })] });
  const { body } = await admin.call('GET', `${ALIAS}/invocations`);
  expect(body).toMatchObject({ apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'InvocationList', metadata: { resourceVersion: '7' } });
  expect(body.items[0]).toMatchObject({ apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'Invocation' });
  const selected = await admin.call('GET', `${ALIAS}/invocations?labelSelector=a%3Db`);
  expect(selected.body.items.map(({ metadata }: KubeObject) => metadata.name)).toEqual(['i2']);
  await admin.call('GET', `${ALIAS}/invocations?fieldSelector=metadata.name%3Di1`);
  expect(asked.at(-1)).toMatchObject({ verb: 'list', name: 'i1' });
  expect((await admin.call('POST', `${ALIAS}/invocations`, {})).status).toBe(405);
  expect((await admin.call('DELETE', `${ALIAS}/invocations/i1`)).status).toBe(405);
});

test('a list becomes a Table', async () => {
  answer = () => Promise.resolve({ list: [run('i1', 5)] });
  const { body } = await admin.call('GET', `${ALIAS}/invocations`, undefined, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } });
  expect(body.kind).toBe('Table');
  expect(body.rows[0].cells.slice(0, 4)).toEqual(['i1', 'a', 'Running', 'HTTP']);
});

test('a failure is a Status', async () => {
  answer = () => Promise.resolve({ failure: { code: 404, reason: 'NotFound', message: 'no such run' } });
  expect((await admin.call('GET', `${RUNTIME}/invocations/x`)).body).toMatchObject({ kind: 'Status', code: 404, reason: 'NotFound', message: 'no such run' });
  answer = () => Promise.reject(new Error('the dispatcher is away'));
  expect((await admin.call('GET', `${RUNTIME}/invocations/x`)).body).toMatchObject({ code: 500, reason: 'InternalError' });
});

test('a stream is passed on as it is, headers and status too', async () => {
  answer = (request) =>
    Promise.resolve({
      stream: {
        status: 502,
        headers: { 'content-type': 'text/plain', 'x-clrk-invocation-id': 'i9' },
        body: (async function* () {
          yield request.body;
          yield bytes(' back');
        })(),
      },
    });
  const { status, headers, body } = await admin.call('POST', `${RUNTIME}/taskagents/a/invoke`, 'hello', {
    type: 'text/plain',
    headers: { accept: 'text/weird' },
  });
  expect([status, headers['x-clrk-invocation-id'], body]).toEqual([502, 'i9', 'hello back']);
  expect(asked[0]).toMatchObject({ verb: 'create', name: 'a', subresource: 'invoke' });
  expect(asked[0]!.headers['content-type']).toBe('text/plain');
  expect((await admin.call('POST', `${RUNTIME}/taskagents/a/invoke`, 'x'.repeat(11))).status).toBe(413);
  expect((await admin.call('GET', `${RUNTIME}/taskagents/a/invoke`)).status).toBe(405);
  expect((await admin.call('GET', `${RUNTIME}/taskagents`)).status).toBe(405);
});

test('a stream that breaks does not look complete', async () => {
  answer = () =>
    Promise.resolve({
      stream: {
        status: 200,
        headers: {},
        body: (async function* () {
          yield bytes('part');
          await Promise.resolve();
          throw new Error('broken');
        })(),
      },
    });
  await expect(admin.call('POST', `${RUNTIME}/taskagents/a/invoke`, '')).rejects.toThrow();
});

test('a viewer may look, not invoke', async () => {
  const viewer = await server.client('CN=v, O=clrk:viewers');
  answer = () => Promise.resolve({ list: [] });
  expect((await viewer.call('GET', `${ALIAS}/invocations`)).status).toBe(200);
  const { body } = await viewer.call('POST', `${RUNTIME}/taskagents/a/invoke`, '');
  expect(body.message).toContain('User "v" cannot create resource "taskagents/invoke" in API group "runtime.clrk.apoxy.dev" in the namespace "default"');
  expect(asked).toHaveLength(1);
});

test('a watch leaves out what the caller has seen, and ends for the handler when the caller goes', async () => {
  let ended: () => void;
  const end = new Promise<void>((resolve) => (ended = resolve));
  answer = ({ signal }) =>
    Promise.resolve({
      watch: (async function* (): AsyncGenerator<ExtraWatchEvent> {
        yield { type: 'ADDED', object: run('old', 5) };
        yield { type: 'MODIFIED', object: run('new', 6) };
        await once(signal, 'abort');
        ended();
      })(),
    });
  const abort = new AbortController();
  const events = admin.watch(`${ALIAS}/invocations?watch=true&resourceVersion=5`, abort.signal);
  const { value } = await events.next();
  expect(value).toMatchObject({ type: 'MODIFIED', object: { apiVersion: 'clrk.apoxy.dev/v1alpha1', metadata: { name: 'new' } } });
  abort.abort();
  await end;
});

test('discovery does not offer a parent of subresources as a resource', async () => {
  const list = await admin.call('GET', '/apis/runtime.clrk.apoxy.dev/v1alpha1');
  expect(list.body.resources.map(({ name }: { name: string }) => name)).toEqual(['invocations', 'taskagents/invoke']);
  const aggregated = await admin.call('GET', '/apis', undefined, {
    headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
  });
  expect(aggregated.headers['content-type']).toBe('application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList');
  const runtime = aggregated.body.items.find(({ metadata }: KubeObject) => metadata.name === 'runtime.clrk.apoxy.dev');
  expect(runtime.versions[0].resources[1].responseKind).toBeUndefined();
  const again = await admin.call('GET', '/apis', undefined, { headers: { 'if-none-match': String((await admin.call('GET', '/apis')).headers['etag']) } });
  expect(again.status).toBe(304);
});
