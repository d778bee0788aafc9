import { afterAll, beforeAll, expect, test } from 'vitest';
import { agent, configMap, ROOT, startServer, type TestClient, type TestServer } from './harness.ts';

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const MERGE = { type: 'application/merge-patch+json' };
const TASKS = `${ROOT}/taskagents`;
const MAPS = '/api/v1/namespaces/default/configmaps';
const make = async (name: string, spec: object = {}, metadata: object = {}) => (await admin.call('POST', TASKS, agent(name, spec, metadata))).body;

/** Repeats a read until it satisfies: garbage collection has no event of its own to wait for. */
const eventually = async (path: string, status: number): Promise<void> => {
  for (let attempt = 0; attempt < 200; attempt++) {
    if ((await admin.call('GET', path)).status === status) return;
    await new Promise(setImmediate);
  }
  expect((await admin.call('GET', path)).status).toBe(status);
};

test('create stamps identity, and ignores what only the server sets', async () => {
  const { status, body } = await admin.call('POST', TASKS, {
    ...agent('stamped', {}, { uid: 'mine', generation: 9, creationTimestamp: null, deletionTimestamp: '2020-01-01T00:00:00Z', selfLink: '/x' }),
    status: { activeExecutions: 7 },
  });
  expect(status).toBe(201);
  expect(body.metadata).toMatchObject({ name: 'stamped', namespace: 'default', generation: 1 });
  expect(body.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
  expect(body.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(body.metadata.deletionTimestamp).toBeUndefined();
  expect(body.status).toBeUndefined();
});

test('generateName makes different names', async () => {
  const body = { ...agent('x'), metadata: { generateName: 'gen-' } };
  const names = await Promise.all([1, 2, 3].map(async () => (await admin.call('POST', TASKS, body)).body.metadata.name));
  expect(new Set(names).size).toBe(3);
  for (const name of names) expect(name).toMatch(/^gen-[a-z0-9]{5}$/);
  expect((await admin.call('POST', TASKS, { ...body, metadata: {} })).body.message).toContain('name or generateName is required');
});

test('errors name the object as Kubernetes does', async () => {
  await make('twice');
  expect((await admin.call('POST', TASKS, agent('twice'))).body).toEqual({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'taskagents.clrk.apoxy.dev "twice" already exists',
    reason: 'AlreadyExists',
    details: { name: 'twice', group: 'clrk.apoxy.dev', kind: 'taskagents' },
    code: 409,
  });
  expect((await admin.call('GET', `${TASKS}/none`)).body).toMatchObject({
    message: 'taskagents.clrk.apoxy.dev "none" not found',
    reason: 'NotFound',
    code: 404,
  });
  const absent = await admin.call('POST', TASKS.replace('default', 'zz'), agent('a'));
  expect(absent.body).toMatchObject({ message: 'namespaces "zz" not found', details: { name: 'zz', kind: 'namespaces' }, code: 404 });
  expect((await admin.call('PUT', TASKS, agent('a'))).body).toMatchObject({ code: 400, message: 'name must be provided' });
  expect((await admin.call('PATCH', TASKS, {}, MERGE)).body).toMatchObject({ code: 400, message: 'name must be provided' });
});

test('update needs the version it was read at, and loses against a newer one', async () => {
  const first = await make('put');
  const noVersion = await admin.call('PUT', `${TASKS}/put`, agent('put'));
  expect(noVersion.body).toMatchObject({
    code: 422,
    message: 'taskagents.clrk.apoxy.dev "put" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update',
  });
  const second = await admin.call('PUT', `${TASKS}/put`, { ...first, spec: { ...first.spec, maxConcurrent: 1 } });
  expect(second.body.metadata.generation).toBe(2);
  expect(Number(second.body.metadata.resourceVersion)).toBeGreaterThan(Number(first.metadata.resourceVersion));
  const stale = await admin.call('PUT', `${TASKS}/put`, first);
  expect(stale.body).toMatchObject({ code: 409, reason: 'Conflict' });
  expect(stale.body.message).toBe(
    'Operation cannot be fulfilled on taskagents.clrk.apoxy.dev "put": the object has been modified; please apply your changes to the latest version and try again',
  );
  const other = await admin.call('PUT', `${TASKS}/put`, { ...second.body, metadata: { ...second.body.metadata, uid: 'other' } });
  expect(other.body.message).toContain('Precondition failed: UID');
  expect((await admin.call('PUT', `${TASKS}/absent`, { ...first, metadata: { ...first.metadata, name: 'absent' } })).status).toBe(404);
});

test('a write that changes nothing keeps the version', async () => {
  const made = await make('same');
  const again = await admin.call('PATCH', `${TASKS}/same`, { spec: { workerPoolRef: 'default' } }, MERGE);
  expect(again.body.metadata.resourceVersion).toBe(made.metadata.resourceVersion);
});

test('the two halves of an object have an endpoint each', async () => {
  await make('halves', { maxConcurrent: 1 });
  const viaMain = await admin.call('PATCH', `${TASKS}/halves`, { spec: { maxConcurrent: 2 }, status: { activeExecutions: 5 } }, MERGE);
  expect(viaMain.body).toMatchObject({ spec: { maxConcurrent: 2 }, metadata: { generation: 2 } });
  expect(viaMain.body.status).toBeUndefined();
  const viaStatus = await admin.call('PATCH', `${TASKS}/halves/status`, { spec: { maxConcurrent: 3 }, status: { activeExecutions: 5 } }, MERGE);
  expect(viaStatus.body).toMatchObject({ spec: { maxConcurrent: 2 }, status: { activeExecutions: 5 }, metadata: { generation: 2 } });
  const replaced = await admin.call('PUT', `${TASKS}/halves`, { ...viaStatus.body, status: undefined });
  expect(replaced.body.status).toEqual({ activeExecutions: 5 });
  expect((await admin.call('GET', `${TASKS}/halves/status`)).body.status).toEqual({ activeExecutions: 5 });
  expect((await admin.call('PATCH', `${TASKS}/halves/status`, { status: { activeExecutions: 'many' } }, MERGE)).status).toBe(422);
  expect((await admin.call('GET', `${TASKS}/halves/nothing`)).status).toBe(404);
});

test('a merge patch removes with null', async () => {
  await make('patch', { maxConcurrent: 1, delivery: { mode: 'Stdin' } }, { labels: { a: 'b', c: 'd' } });
  const { body } = await admin.call('PATCH', `${TASKS}/patch`, { metadata: { labels: { a: null } }, spec: { maxConcurrent: null, timeout: null } }, MERGE);
  expect(body.metadata.labels).toEqual({ c: 'd' });
  expect(body.spec).toEqual({ workerPoolRef: 'default', template: { spec: { image: 'a/b:1' } }, timeout: '100s', delivery: { mode: 'Stdin' } });
  const stale = await admin.call('PATCH', `${TASKS}/patch`, { metadata: { resourceVersion: '1' } }, MERGE);
  expect(stale.status).toBe(409);
});

test('dryRun changes nothing', async () => {
  expect((await admin.call('POST', `${TASKS}?dryRun=All`, agent('dry'))).status).toBe(201);
  expect((await admin.call('GET', `${TASKS}/dry`)).status).toBe(404);
  await make('wet');
  expect((await admin.call('PATCH', `${TASKS}/wet?dryRun=All`, { spec: { maxConcurrent: 9 } }, MERGE)).body.spec.maxConcurrent).toBe(9);
  expect((await admin.call('DELETE', `${TASKS}/wet?dryRun=All`)).status).toBe(200);
  expect((await admin.call('GET', `${TASKS}/wet`)).body.spec.maxConcurrent).toBeUndefined();
  expect((await admin.call('POST', `${TASKS}?dryRun=Yes`, agent('dry'))).body.message).toBe(
    'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Yes"]: supported values: "All"',
  );
});

test('delete answers with the uid, and checks preconditions', async () => {
  const made = await make('gone');
  const wrong = await admin.call('DELETE', `${TASKS}/gone`, { preconditions: { uid: 'other' } });
  expect(wrong.status).toBe(409);
  expect((await admin.call('DELETE', `${TASKS}/gone`, { propagationPolicy: 'Sideways' })).status).toBe(422);
  const { body } = await admin.call('DELETE', `${TASKS}/gone`, { preconditions: { uid: made.metadata.uid }, propagationPolicy: 'Background' });
  expect(body).toEqual({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name: 'gone', group: 'clrk.apoxy.dev', kind: 'taskagents', uid: made.metadata.uid },
  });
  expect((await admin.call('DELETE', `${TASKS}/gone`)).status).toBe(404);
});

test('finalizers hold an object until the last is removed', async () => {
  await make('held', {}, { finalizers: ['clrk.apoxy.dev/a', 'clrk.apoxy.dev/b'] });
  const marked = await admin.call('DELETE', `${TASKS}/held`);
  expect(marked.body.metadata).toMatchObject({ deletionGracePeriodSeconds: 0, generation: 2 });
  expect(marked.body.metadata.deletionTimestamp).toBeDefined();
  const added = await admin.call('PATCH', `${TASKS}/held`, { metadata: { finalizers: ['clrk.apoxy.dev/a', 'new'] } }, MERGE);
  expect(added.body.message).toContain('no new finalizers can be added if the object is being deleted');
  const undone = await admin.call('PATCH', `${TASKS}/held`, { metadata: { deletionTimestamp: null, finalizers: ['clrk.apoxy.dev/a'] } }, MERGE);
  expect(undone.body.metadata.deletionTimestamp).toBeDefined();
  expect((await admin.call('GET', `${TASKS}/held`)).status).toBe(200);
  await admin.call('PATCH', `${TASKS}/held`, { metadata: { finalizers: null } }, MERGE);
  expect((await admin.call('GET', `${TASKS}/held`)).status).toBe(404);
});

test('dependents go with their last owner; orphans stay', async () => {
  const [one, two, three] = [await make('owner-1'), await make('owner-2'), await make('owner-3')];
  const ref = (owner: typeof one, controller = false) => ({
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller,
  });
  await admin.call('POST', MAPS, configMap('both', {}, { ownerReferences: [ref(one, true), ref(two)] }));
  await admin.call('POST', MAPS, configMap('single', {}, { ownerReferences: [ref(one, true)] }));
  await admin.call('POST', MAPS, configMap('orphan', {}, { ownerReferences: [ref(three, true)] }));
  await admin.call('DELETE', `${TASKS}/owner-1`);
  await eventually(`${MAPS}/single`, 404);
  expect((await admin.call('GET', `${MAPS}/both`)).body.metadata.ownerReferences).toEqual([ref(two)]);
  await admin.call('DELETE', `${TASKS}/owner-2`);
  await eventually(`${MAPS}/both`, 404);
  await admin.call('DELETE', `${TASKS}/owner-3`, { propagationPolicy: 'Orphan' });
  expect((await admin.call('GET', `${MAPS}/orphan`)).body.metadata.ownerReferences).toBeUndefined();
  const twoControllers = await admin.call('POST', MAPS, configMap('two', {}, { ownerReferences: [ref(one, true), ref(two, true)] }));
  expect(twoControllers.status).toBe(422);
});

test('a namespace takes everything in it along; the permanent ones stay', async () => {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } };
  expect((await admin.call('POST', '/api/v1/namespaces', namespace)).body.status).toEqual({ phase: 'Active' });
  const inside = TASKS.replace('default', 'team');
  await admin.call('POST', inside, agent('a'));
  await admin.call('POST', inside, agent('held', {}, { finalizers: ['x/y'] }));
  expect((await admin.call('DELETE', '/api/v1/namespaces/team')).body.status.phase).toBe('Terminating');
  await eventually(`${inside}/a`, 404);
  expect((await admin.call('POST', inside, agent('late'))).body).toMatchObject({ code: 403, reason: 'Forbidden' });
  await admin.call('PATCH', `${inside}/held`, { metadata: { finalizers: null } }, MERGE);
  await eventually('/api/v1/namespaces/team', 404);
  expect((await admin.call('DELETE', '/api/v1/namespaces/default')).status).toBe(403);
  expect((await admin.call('DELETE', '/api/v1/namespaces/clrk')).status).toBe(403);
});

test('lists select, page, and go over all namespaces', async () => {
  for (const index of [1, 2, 3, 4, 5])
    await admin.call('POST', MAPS, configMap(`page-${index}`, {}, { labels: { odd: String(index % 2 === 1), n: `${index}` } }));
  await admin.call('POST', MAPS.replace('default', 'clrk'), configMap('page-6', {}, { labels: { odd: 'false' } }));
  const names = async (query: string, path = MAPS): Promise<string[]> =>
    (await admin.call('GET', `${path}?${query}`)).body.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name);
  expect(await names('labelSelector=odd%3Dtrue')).toEqual(['page-1', 'page-3', 'page-5']);
  expect(await names('labelSelector=odd,n%20notin%20(1,2),n!%3D4')).toEqual(['page-3', 'page-5']);
  expect(await names('labelSelector=odd,!n', '/api/v1/configmaps')).toEqual(['page-6']);
  expect(await names('labelSelector=n%20in%20(1,5),odd')).toEqual(['page-1', 'page-5']);
  expect(await names('fieldSelector=metadata.name%3Dpage-2')).toEqual(['page-2']);
  expect(await names('fieldSelector=metadata.namespace!%3Ddefault&labelSelector=odd', '/api/v1/configmaps')).toEqual(['page-6']);

  const first = await admin.call('GET', `${MAPS}?labelSelector=odd&limit=2`);
  expect(first.body.items).toHaveLength(2);
  const token = encodeURIComponent(first.body.metadata.continue);
  const second = await admin.call('GET', `${MAPS}?labelSelector=odd&limit=10&continue=${token}`);
  expect(second.body.items).toHaveLength(3);
  expect(second.body.metadata).toEqual({ resourceVersion: first.body.metadata.resourceVersion });
  expect((await admin.call('GET', `${MAPS}?limit=2`)).body.metadata.remainingItemCount).toBeGreaterThan(0);

  expect((await admin.call('GET', `${MAPS}?fieldSelector=spec.x%3D1`)).body).toMatchObject({ code: 400, message: 'field label not supported: spec.x' });
  expect((await admin.call('GET', `${MAPS}?labelSelector=a%3D%3D%3Db`)).status).toBe(400);
  expect((await admin.call('GET', `${MAPS}?continue=nonsense`)).body.message).toContain('invalid continue token');
  expect((await admin.call('GET', `${MAPS}?resourceVersion=99999999`)).body).toMatchObject({
    code: 504,
    details: { causes: [{ reason: 'ResourceVersionTooLarge' }] },
  });

  expect((await admin.call('DELETE', `${MAPS}?labelSelector=odd`)).body.items).toHaveLength(5);
  expect(await names('labelSelector=odd')).toEqual([]);
});

test('tables have the columns of the kind', async () => {
  await make('table');
  await admin.call('PATCH', `${TASKS}/table/status`, { status: { activeExecutions: 2 } }, MERGE);
  const { body } = await admin.call('GET', `${TASKS}/table`, undefined, {
    headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' },
  });
  expect(body.kind).toBe('Table');
  expect(body.columnDefinitions.map(({ name }: { name: string }) => name)).toEqual([
    'Name',
    'Pool',
    'Latest Ready',
    'Active',
    'Warm',
    'Image',
    'Ready',
    'Pinned',
    'Age',
  ]);
  expect(body.rows[0].cells.slice(0, 6)).toEqual(['table', 'default', null, 2, null, 'a/b:1']);
  expect(body.rows[0].cells[8]).toMatch(/^\d+s$/);
  expect(body.rows[0].object).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: 'table' } });
});

test('YAML goes in and out', async () => {
  const yaml = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata:\n  a: "1"\n';
  expect((await admin.call('POST', MAPS, yaml, { type: 'application/yaml' })).status).toBe(201);
  const { body } = await admin.call('GET', `${MAPS}/yaml`, undefined, { headers: { accept: 'application/yaml' } });
  expect(body).toContain('a: "1"');
});
