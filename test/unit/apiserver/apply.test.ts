import { afterAll, beforeAll, expect, test } from 'vitest';
import { workerPools } from '#api';
import { FieldSet } from '../../../src/apiserver/field-set.ts';
import { apply, trackUpdate, type Writer } from '../../../src/apiserver/managed-fields.ts';
import { objectSchema } from '../../../src/admission/meta.ts';
import { agent, ROOT, startServer, type TestClient, type TestServer } from './harness.ts';

/** Expectations follow https://kubernetes.io/docs/reference/using-api/server-side-apply/ */

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const TASKS = `${ROOT}/taskagents`;
const APPLY = { type: 'application/apply-patch+yaml' };
const MERGE = { type: 'application/merge-patch+json' };
const send = (name: string, manager: string, spec: object, metadata: object = {}, query = '') =>
  admin.call('PATCH', `${TASKS}/${name}?fieldManager=${manager}${query}`, { ...agent(name, {}, metadata), spec }, APPLY);
const base = { workerPoolRef: 'default', template: { spec: { image: 'a' } } };
const managers = (body: { metadata: { managedFields?: { manager: string; operation: string; fieldsV1: object }[] } }) =>
  Object.fromEntries((body.metadata.managedFields ?? []).map(({ manager, operation, fieldsV1 }) => [`${manager} ${operation}`, fieldsV1]));

test('applying makes the object, and the applier owns what it named', async () => {
  const { status, body } = await send(
    'made',
    'me',
    { ...base, template: { spec: { image: 'a', env: [{ name: 'A', value: '1' }], args: ['x'] } } },
    { labels: { l: 'v' } },
  );
  expect(status).toBe(201);
  expect(managers(body)).toEqual({
    'me Apply': {
      'f:metadata': { 'f:labels': { 'f:l': {} } },
      'f:spec': {
        'f:workerPoolRef': {},
        'f:template': { 'f:spec': { 'f:image': {}, 'f:args': {}, 'f:env': { 'k:{"name":"A"}': { '.': {}, 'f:name': {}, 'f:value': {} } } } },
      },
    },
  });
  expect(body.spec.timeout).toBe('100s');
});

test('applying the same again changes nothing', async () => {
  const first = await send('idem', 'me', base);
  const second = await send('idem', 'me', base);
  expect(second.status).toBe(200);
  expect(second.body).toEqual(first.body);
});

test('what an applier no longer names goes, unless somebody else owns it', async () => {
  await send('drop', 'me', { ...base, maxConcurrent: 3, egressRefs: [{ gatewayRef: 'g' }] }, { labels: { mine: '1', shared: '1' } });
  await send('drop', 'other', { ...base, maxConcurrent: 3 }, { labels: { shared: '1' } });
  const { body } = await send('drop', 'me', base);
  expect(body.spec.egressRefs).toBeUndefined();
  expect(body.spec.maxConcurrent).toBe(3);
  expect(body.metadata.labels).toEqual({ shared: '1' });
  expect((await send('drop', 'other', base)).body.spec.maxConcurrent).toBeUndefined();
});

test('a value another manager owns is a conflict, until it is forced', async () => {
  await send('fight', 'one', { ...base, maxConcurrent: 1, timeout: '5s' });
  const refused = await send('fight', 'two', { ...base, maxConcurrent: 2, timeout: '6s' });
  expect(refused.status).toBe(409);
  expect(refused.body).toMatchObject({
    reason: 'Conflict',
    message: 'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.maxConcurrent\n- .spec.timeout',
    details: {
      causes: [
        { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.spec.maxConcurrent' },
        { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.spec.timeout' },
      ],
    },
  });
  expect((await admin.call('GET', `${TASKS}/fight`)).body.spec.maxConcurrent).toBe(1);
  const forced = await send('fight', 'two', { ...base, maxConcurrent: 2, timeout: '6s' }, {}, '&force=true');
  expect(forced.body.spec).toMatchObject({ maxConcurrent: 2, timeout: '6s' });
  expect(JSON.stringify(managers(forced.body)['one Apply'])).not.toContain('maxConcurrent');
});

test('an update takes ownership of what it changes, and of nothing else', async () => {
  await send('taken', 'me', { ...base, maxConcurrent: 1 });
  const updated = await admin.call('PATCH', `${TASKS}/taken?fieldManager=hand`, { spec: { maxConcurrent: 5 } }, MERGE);
  expect(managers(updated.body)['hand Update']).toEqual({ 'f:spec': { 'f:maxConcurrent': {} } });
  const refused = await send('taken', 'me', { ...base, maxConcurrent: 1 });
  expect(refused.body.message).toBe('Apply failed with 1 conflict: conflict with "hand" using clrk.apoxy.dev/v1alpha1: .spec.maxConcurrent');
  const agreed = await send('taken', 'me', { ...base, maxConcurrent: 5 });
  expect(agreed.status).toBe(200);
});

test('items of a map list have owners of their own', async () => {
  await send('items', 'one', { ...base, template: { spec: { image: 'a', env: [{ name: 'ONE', value: '1' }] } } });
  const both = await send('items', 'two', { workerPoolRef: 'default', template: { spec: { image: 'a', env: [{ name: 'TWO', value: '2' }] } } });
  expect(both.body.spec.template.spec.env).toEqual([
    { name: 'ONE', value: '1' },
    { name: 'TWO', value: '2' },
  ]);
  const left = await send('items', 'one', base);
  expect(left.body.spec.template.spec.env).toEqual([{ name: 'TWO', value: '2' }]);
});

test('the status endpoint owns status, the main one does not', async () => {
  await send('status', 'me', base);
  const body = { ...agent('status'), spec: { workerPoolRef: 'ignored' }, status: { activeExecutions: 1 } };
  const applied = await admin.call('PATCH', `${TASKS}/status/status?fieldManager=ctl`, body, APPLY);
  expect(applied.body).toMatchObject({ spec: { workerPoolRef: 'default' }, status: { activeExecutions: 1 } });
  const entry = applied.body.metadata.managedFields.find(({ manager }: { manager: string }) => manager === 'ctl');
  expect(entry).toMatchObject({ subresource: 'status', fieldsV1: { 'f:status': { 'f:activeExecutions': {} } } });
  const again = await admin.call('PATCH', `${TASKS}/status?fieldManager=me`, { ...agent('status', base), status: { activeExecutions: 9 } }, APPLY);
  expect(again.body.status).toEqual({ activeExecutions: 1 });
});

test('what apply needs', async () => {
  const noManager = await admin.call('PATCH', `${TASKS}/x`, agent('x'), APPLY);
  expect(noManager.body.message).toBe('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch');
  const managed = await send('x', 'me', base, { managedFields: [{ manager: 'me', operation: 'Apply', fieldsV1: {} }] });
  expect(managed.body.message).toBe('metadata.managedFields must be nil');
  const strict = await send('x', 'me', { ...base, nope: 1 }, {}, '&fieldValidation=Strict');
  expect(strict.body.message).toContain('unknown field "spec.nope"');
  expect((await send('x', 'me', { ...base, timeout: '0s' })).status).toBe(422);
  expect((await admin.call('GET', `${TASKS}/x`)).status).toBe(404);
});

test('fieldsV1 is read as it is written', () => {
  const fields = { 'f:spec': { '.': {}, 'f:a': {}, 'f:list': { 'k:{"name":"x"}': { '.': {}, 'f:name': {} }, 'v:"y"': {} } } };
  expect(FieldSet.fromFieldsV1(fields).toFieldsV1()).toEqual(fields);
});

test('ownership is a function of objects: an emptied entry goes', () => {
  const writer: Writer = { manager: 'm', apiVersion: 'clrk.apoxy.dev/v1alpha1', subresource: '', time: '2026-01-01T00:00:00Z' };
  const schema = objectSchema(workerPools);
  const live = apply(schema, undefined, { metadata: { name: 'p' }, spec: { replicas: 1 } }, writer, false);
  const updated = trackUpdate(schema, live, { ...live, spec: { replicas: 2 } }, { ...writer, manager: 'n' });
  expect(managers(updated as never)).toEqual({ 'n Update': { 'f:spec': { 'f:replicas': {} } } });
});
