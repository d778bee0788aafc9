import { afterAll, beforeAll, expect, test } from 'vitest';
import { agent, configMap, ROOT, startServer, type Answer, type TestClient, type TestServer } from './harness.ts';

/** What kubectl needs beyond reading and writing whole objects: JSON patches, scale, questions about oneself, cascades, protobuf. */

let server: TestServer;
let admin: TestClient;
let viewer: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
  viewer = await server.client('CN=viewer, O=clrk:viewers');
});
afterAll(() => server[Symbol.asyncDispose]());

const MAPS = '/api/v1/namespaces/default/configmaps';
const JSON_PATCH = { type: 'application/json-patch+json' };
const patch = (path: string, operations: unknown): Promise<Answer> => admin.call('PATCH', path, operations, JSON_PATCH);

test('a JSON patch changes what it names, and nothing when one of its tests fails', async () => {
  await admin.call('POST', MAPS, configMap('patched', { a: '1', b: '2' }));
  const done = await patch(`${MAPS}/patched`, [
    { op: 'test', path: '/data/a', value: '1' },
    { op: 'replace', path: '/data/a', value: '3' },
    { op: 'remove', path: '/data/b' },
    { op: 'add', path: '/metadata/labels', value: { x: 'y' } },
  ]);
  expect(done.body).toMatchObject({ data: { a: '3' }, metadata: { labels: { x: 'y' } } });
  expect(done.body.data.b).toBeUndefined();
  const failed = await patch(`${MAPS}/patched`, [
    { op: 'replace', path: '/data/a', value: '4' },
    { op: 'test', path: '/data/a', value: 'other' },
  ]);
  expect(failed.body).toMatchObject({ code: 422, reason: 'Invalid', message: 'the server rejected our request due to an error in our request' });
  expect((await admin.call('GET', `${MAPS}/patched`)).body.data).toEqual({ a: '3' });
});

test('a JSON patch is validated like any write', async () => {
  await admin.call('POST', `${ROOT}/taskagents`, agent('jp'));
  const { status, body } = await patch(`${ROOT}/taskagents/jp`, [{ op: 'add', path: '/spec/maxConcurrent', value: -1 }]);
  expect([status, body.details.causes[0].field]).toEqual([422, 'spec.maxConcurrent']);
  const stale = await patch(`${ROOT}/taskagents/jp`, [{ op: 'replace', path: '/metadata/resourceVersion', value: '1' }]);
  expect(stale.status).toBe(409);
});

test.each<[string, unknown, number]>([
  ['no list', { op: 'add' }, 400],
  ['no objects', ['add'], 400],
  ['an unknown operation', [{ op: 'swap', path: '/data' }], 422],
  ['a path that is none', [{ op: 'add', path: 'data/a', value: '1' }], 422],
  ['a place that is not there', [{ op: 'remove', path: '/data/nowhere' }], 422],
  ['no value', [{ op: 'add', path: '/data/a' }], 422],
  ['a prototype', [{ op: 'add', path: '/__proto__/polluted', value: '1' }], 422],
  ['a constructor', [{ op: 'add', path: '/constructor/prototype/polluted', value: '1' }], 422],
  ['the whole object gone', [{ op: 'replace', path: '', value: null }], 422],
  ['too many operations', Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'ConfigMap' })), 413],
  [
    'copies of copies',
    Array.from({ length: 40 }, (_, index) => ({ op: 'copy', from: '/data', path: `/metadata/annotations/a${index}` })).flatMap((copy) => [
      copy,
      { op: 'copy', from: '/metadata/annotations', path: `${copy.path}/again` },
    ]),
    413,
  ],
])('a JSON patch with %s is refused', async (name, operations, expected) => {
  await admin.call('POST', MAPS, configMap('odd', { a: 'x'.repeat(1000) }, { annotations: { a: 'b' } }));
  const { status } = await patch(`${MAPS}/odd`, operations);
  expect(status, name).toBe(expected);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

test('fields can be handed from one manager to another, as kubectl does when it begins to apply on the server', async () => {
  await admin.call('POST', `${MAPS}?fieldManager=kubectl-client-side-apply`, configMap('handed', { a: '1' }));
  const { metadata } = (await admin.call('GET', `${MAPS}/handed`)).body;
  const moved = metadata.managedFields.map((entry: object) => ({ ...entry, manager: 'kubectl', operation: 'Apply' }));
  const handed = await patch(`${MAPS}/handed?fieldManager=kubectl`, [
    { op: 'replace', path: '/metadata/managedFields', value: moved },
    { op: 'replace', path: '/metadata/resourceVersion', value: metadata.resourceVersion },
  ]);
  expect(handed.body.metadata.managedFields).toMatchObject([{ manager: 'kubectl', operation: 'Apply' }]);
  // What it owns now goes when it does not apply it any more.
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'handed' }, data: { b: '2' } };
  const after = await admin.call('PATCH', `${MAPS}/handed?fieldManager=kubectl`, applied, { type: 'application/apply-patch+yaml' });
  expect(after.body.data).toEqual({ b: '2' });
  const reset = await patch(`${MAPS}/handed?fieldManager=x`, [{ op: 'replace', path: '/metadata/managedFields', value: [{}] }]);
  expect(reset.body.metadata.managedFields).toBeUndefined();
});

test('the scale of a pool is read and written by itself', async () => {
  const pools = `${ROOT}/workerpools`;
  const pool = { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'WorkerPool', metadata: { name: 'wp' }, spec: { template: { image: 'i' }, replicas: 2 } };
  await admin.call('POST', pools, pool);
  const { body } = await admin.call('GET', `${pools}/wp/scale`);
  expect(body).toMatchObject({
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name: 'wp', namespace: 'default' },
    spec: { replicas: 2 },
    status: { replicas: 0 },
  });
  const scaled = await admin.call('PATCH', `${pools}/wp/scale`, { spec: { replicas: 5 } }, { type: 'application/merge-patch+json' });
  expect(scaled.body).toMatchObject({ kind: 'Scale', spec: { replicas: 5 } });
  expect((await admin.call('GET', `${pools}/wp`)).body).toMatchObject({ spec: { replicas: 5 }, metadata: { generation: 2 } });
  expect((await admin.call('PUT', `${pools}/wp/scale`, body)).status).toBe(409);
  expect((await admin.call('PUT', `${pools}/wp/scale`, { ...body, metadata: { name: 'wp' }, spec: { replicas: 0 } })).body.spec.replicas).toBe(0);
  expect((await patch(`${pools}/wp/scale`, [{ op: 'replace', path: '/spec/replicas', value: 1 }])).body.spec.replicas).toBe(1);
  const bad = await admin.call('PATCH', `${pools}/wp/scale`, { spec: { replicas: -1 } }, { type: 'application/merge-patch+json' });
  expect([bad.status, bad.body.details.causes[0].field]).toEqual([422, 'spec.replicas']);
  expect((await admin.call('PATCH', `${pools}/wp/scale`, { spec: { replicas: 'x' } }, { type: 'application/merge-patch+json' })).status).toBe(400);
  expect((await admin.call('GET', `${ROOT}/taskagents/jp/scale`)).status).toBe(404);
});

const ask = (client: TestClient, resourceAttributes: object): Promise<Answer> =>
  client.call('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes },
  });

test('anybody may ask what it may do, and the answer is what then holds', async () => {
  const create = { verb: 'create', group: 'clrk.apoxy.dev', resource: 'taskagents', namespace: 'default' };
  expect((await ask(admin, create)).body.status).toEqual({ allowed: true });
  expect((await ask(viewer, create)).body.status).toEqual({ allowed: false });
  expect((await ask(viewer, { ...create, verb: 'list' })).body.status).toEqual({ allowed: true });
  expect((await ask(viewer, { verb: 'get', group: '', resource: 'secrets' })).body.status).toEqual({ allowed: false });
  const self = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const who = await viewer.call('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', self);
  expect(who.body.status).toEqual({ userInfo: { username: 'viewer', groups: ['clrk:viewers', 'system:authenticated'] } });
  const rules = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectRulesReview', spec: { namespace: 'default' } };
  const list = await viewer.call('POST', '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', rules);
  expect(list.body.status.resourceRules).toContainEqual(
    expect.objectContaining({ verbs: ['get', 'list', 'watch'], resources: expect.arrayContaining(['taskagents']) as unknown }),
  );
  expect((await ask(admin, create)).status).toBe(201);
  expect((await admin.call('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', self)).status).toBe(400);
});

const owned = (name: string, uid: string, blockOwnerDeletion: boolean, finalizers?: readonly string[]): object =>
  configMap(
    name,
    {},
    { ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid, blockOwnerDeletion }], ...(finalizers && { finalizers }) },
  );
const exists = async (name: string): Promise<boolean> => (await admin.call('GET', `${MAPS}/${name}`)).status === 200;

test('foreground: dependents go first, and the owner stays until the last that holds it is gone', async () => {
  const { uid } = (await admin.call('POST', MAPS, configMap('owner'))).body.metadata;
  await admin.call('POST', MAPS, owned('plain', uid, true));
  await admin.call('POST', MAPS, owned('held', uid, true, ['test/hold']));
  const deleted = await admin.call('DELETE', `${MAPS}/owner`, { propagationPolicy: 'Foreground' });
  expect(deleted.body.metadata).toMatchObject({ finalizers: ['foregroundDeletion'], deletionTimestamp: expect.any(String) as string });
  await expect.poll(() => exists('plain')).toBe(false);
  expect((await admin.call('GET', `${MAPS}/held`)).body.metadata.deletionTimestamp).toBeDefined();
  expect(await exists('owner')).toBe(true);
  await patch(`${MAPS}/held`, [{ op: 'remove', path: '/metadata/finalizers' }]);
  await expect.poll(() => exists('owner')).toBe(false);
  expect(await exists('held')).toBe(false);
});

test('foreground without dependents, or with one that does not hold it, is over at once', async () => {
  await admin.call('POST', MAPS, configMap('alone'));
  expect((await admin.call('DELETE', `${MAPS}/alone`, { propagationPolicy: 'Foreground' })).body.status).toBe('Success');
  const { uid } = (await admin.call('POST', MAPS, configMap('owner'))).body.metadata;
  await admin.call('POST', MAPS, owned('loose', uid, false, ['test/hold']));
  await admin.call('DELETE', `${MAPS}/owner`, { propagationPolicy: 'Foreground' });
  await expect.poll(() => exists('owner')).toBe(false);
  expect(await exists('loose')).toBe(true);
  await patch(`${MAPS}/loose`, [{ op: 'remove', path: '/metadata/finalizers' }]);
});

/** Fields of protobuf messages, written by hand. */
const field = (number: number, content: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
};
const protobuf = (apiVersion: string, kind: string, object: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from('k8s\0'), field(1, Buffer.concat([field(1, apiVersion), field(2, kind)])), field(2, object)]);
const PROTOBUF = { type: 'application/vnd.kubernetes.protobuf' };

test('built-in kinds may be sent as protobuf', async () => {
  const map = (key: string, value: string): Buffer => Buffer.concat([field(1, key), field(2, value)]);
  const secret = Buffer.concat([field(1, Buffer.concat([field(1, 'pb'), field(11, map('l', 'v'))])), field(2, map('token', 's3cret')), field(3, 'Opaque')]);
  const made = await admin.call('POST', '/api/v1/namespaces/default/secrets', protobuf('v1', 'Secret', secret), PROTOBUF);
  expect(made.body).toMatchObject({ kind: 'Secret', metadata: { name: 'pb', labels: { l: 'v' } }, type: 'Opaque', data: { token: 'czNjcmV0' } });
  const gone = await admin.call('DELETE', '/api/v1/namespaces/default/secrets/pb', protobuf('v1', 'DeleteOptions', field(4, 'Background')), PROTOBUF);
  expect(gone.status).toBe(200);
});

test.each<[string, Uint8Array]>([
  ['nothing', Buffer.from('')],
  ['no magic', Buffer.from('abcd')],
  ['only magic', Buffer.from('k8s\0')],
  ['a cut message', protobuf('v1', 'ConfigMap', Buffer.from([0x0a, 0x7f]))],
  ['a number without end', protobuf('v1', 'ConfigMap', Buffer.alloc(12, 0xff))],
  ['another kind', protobuf('apps/v1', 'Deployment', field(1, ''))],
  ['a wire type that is none', protobuf('v1', 'ConfigMap', Buffer.from([0x0f]))],
  ['a string that is not UTF-8', protobuf('v1', 'ConfigMap', field(1, field(1, Buffer.from([0xff, 0xfe]))))],
  ['a prototype', protobuf('v1', 'ConfigMap', field(2, Buffer.concat([field(1, '__proto__'), field(2, 'x')])))],
])('a protobuf body with %s is a bad request', async (_, body) => {
  const { status } = await admin.call('POST', MAPS, body, PROTOBUF);
  expect([400, 422]).toContain(status);
  expect((await admin.call('GET', MAPS)).status).toBe(200);
});
