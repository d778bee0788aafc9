import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { events, type Kind } from '#api';
import { silentLogger } from '#lib';
import { Expirer } from '../../../src/apiserver/expirer.ts';
import { Objects } from '../../../src/apiserver/objects.ts';
import { Store } from '../../../src/apiserver/store.ts';
import { startServer, type TestClient, type TestServer } from './harness.ts';

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const CORE = '/api/v1/namespaces/default/events';
const NEW = '/apis/events.k8s.io/v1/namespaces/default/events';
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
const MERGE = { type: 'application/merge-patch+json' };
/** As a Go program writes it, with the times it does not set as null. */
const event = (name: string, involved: string, fields: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Event',
  metadata: { name, creationTimestamp: null },
  involvedObject: { kind: 'TaskAgent', namespace: 'default', name: involved, uid: `uid-${involved}`, apiVersion: 'clrk.apoxy.dev/v1alpha1' },
  reason: 'Timeout',
  message: `about ${involved}`,
  type: 'Warning',
  source: { component: 'test' },
  firstTimestamp: '2026-01-01T00:00:00Z',
  lastTimestamp: '2026-01-01T00:00:00Z',
  count: 1,
  eventTime: null,
  reportingComponent: '',
  reportingInstance: '',
  ...fields,
});
const names = (body: { items: { metadata: { name: string } }[] }): string[] => body.items.map(({ metadata }) => metadata.name);
const list = async (path: string): Promise<string[]> => names((await admin.call('GET', path)).body);
const select = (path: string, selector: string): string => `${path}?fieldSelector=${encodeURIComponent(selector)}`;

test('an Event is the same object in both groups, each with its own names', async () => {
  expect((await admin.call('POST', CORE, event('one', 'a'))).status).toBe(201);
  const now = (await admin.call('GET', `${NEW}/one`)).body;
  expect(now).toMatchObject({
    apiVersion: 'events.k8s.io/v1',
    regarding: { name: 'a' },
    note: 'about a',
    deprecatedCount: 1,
    deprecatedSource: { component: 'test' },
    deprecatedLastTimestamp: '2026-01-01T00:00:00Z',
  });
  for (const field of ['involvedObject', 'message', 'count', 'source']) expect(now).not.toHaveProperty(field);

  const made = await admin.call('POST', NEW, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'two' },
    regarding: { kind: 'TaskAgent', namespace: 'default', name: 'b' },
    note: 'hello',
    reason: 'Started',
    type: 'Normal',
    action: 'Start',
    eventTime: '2026-01-01T00:00:00.000001Z',
    reportingController: 'test',
    reportingInstance: 'test-1',
  });
  expect(made.status).toBe(201);
  expect(made.body).toMatchObject({ apiVersion: 'events.k8s.io/v1', regarding: { name: 'b' }, note: 'hello' });
  expect((await admin.call('GET', `${CORE}/two`)).body).toMatchObject({
    apiVersion: 'v1',
    involvedObject: { name: 'b' },
    message: 'hello',
    reportingComponent: 'test',
  });
  await admin.call('PATCH', `${NEW}/two`, { note: 'bye' }, MERGE);
  expect((await admin.call('GET', `${CORE}/two`)).body.message).toBe('bye');
  expect(await list(NEW)).toEqual(['one', 'two']);
  expect((await admin.call('GET', NEW)).body).toMatchObject({
    apiVersion: 'events.k8s.io/v1',
    kind: 'EventList',
    items: [{ apiVersion: 'events.k8s.io/v1' }, {}],
  });
  expect((await admin.call('DELETE', `${NEW}/two`)).body).toMatchObject({ status: 'Success', details: { group: 'events.k8s.io', kind: 'events' } });
  expect(await list(CORE)).toEqual(['one']);
});

test('fields select Events, in lists and watches, by the names of each group; other fields are refused', async () => {
  await admin.call('POST', CORE, event('three', 'c', { type: 'Normal' }));
  expect(await list(select(CORE, 'involvedObject.name=c,involvedObject.kind=TaskAgent,involvedObject.uid=uid-c'))).toEqual(['three']);
  expect(await list(select(CORE, 'type!=Normal'))).toEqual(['one']);
  expect(await list(select(NEW, 'regarding.name=a'))).toEqual(['one']);
  expect(await list(select(CORE, 'involvedObject.name=nobody'))).toEqual([]);
  expect((await admin.call('GET', select(CORE, 'message=x'))).body.message).toContain('field label not supported: message');
  expect((await admin.call('GET', select('/api/v1/namespaces/default/configmaps', 'type=x'))).status).toBe(400);

  const abort = new AbortController();
  const watch = admin.watch(`${select(NEW, 'regarding.name=d')}&watch=true&resourceVersion=0`, abort.signal);
  const seen = watch.next();
  await admin.call('POST', CORE, event('not-this', 'e'));
  await admin.call('POST', CORE, event('four', 'd'));
  expect((await seen).value).toMatchObject({ type: 'ADDED', object: { apiVersion: 'events.k8s.io/v1', metadata: { name: 'four' }, regarding: { name: 'd' } } });
  await admin.call('DELETE', `${CORE}/four`);
  expect((await watch.next()).value).toMatchObject({ type: 'DELETED' });
  abort.abort();
  await admin.call('DELETE', select(CORE, 'involvedObject.name=e'));
  expect(await list(CORE)).toEqual(['one', 'three']);
});

test('an Event is about an object of its own namespace, and Normal or a Warning', async () => {
  const elsewhere = await admin.call('POST', CORE, event('bad', 'a', { involvedObject: { namespace: 'clrk', name: 'a' } }));
  expect(elsewhere.body.message).toContain('does not match event.namespace');
  expect((await admin.call('POST', CORE, event('bad', 'a', { type: 'Bad' }))).body.message).toContain('type: Invalid value: "Bad"');
  expect((await admin.call('POST', CORE, { apiVersion: 'v1', kind: 'Event', metadata: { name: 'bad' } })).body.message).toContain('involvedObject: Required');
});

test('Events go an hour after they were last written', () => {
  const dir = mkdtempSync(join(tmpdir(), 'clrk-events-'));
  const store = new Store(join(dir, 'api.db'));
  let now = Date.parse('2026-01-01T00:00:00Z');
  const clock = { now: () => now, monotonic: () => now };
  const kind = events as unknown as Kind;
  const objects = new Objects(store, clock);
  store.put({ resource: 'namespaces', namespace: '', name: 'default' }, { metadata: { name: 'default', uid: 'x' } });
  const options = { manager: 'test', fieldValidation: 'Strict', dryRun: false, warn: () => {} } as const;
  const target = (name: string) => ({ kind, namespace: 'default', name, subresource: '' });
  // What the writer says of the time does not count.
  for (const name of ['old', 'renewed'])
    objects.create(target(''), { value: event(name, 'a', { lastTimestamp: '2999-01-01T00:00:00Z' }), duplicates: [] }, options);
  const expirer = new Expirer(objects, [kind], clock, silentLogger);
  const left = (): string[] => store.list('events').map(({ metadata }) => metadata.name);
  now += 3_000_000;
  objects.mergePatch(target('renewed'), { value: { count: 2 }, duplicates: [] }, options);
  expirer.expire();
  expect(left()).toEqual(['old', 'renewed']);
  now += 700_000;
  expirer.expire();
  expect(left()).toEqual(['renewed']);
  now += 3_600_000;
  expirer.expire();
  expect(left()).toEqual([]);
  expirer.close();
  store.close();
  rmSync(dir, { recursive: true });
});

test('a Lease is taken, renewed by who has its newest version, and given back', async () => {
  const lease = {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name: 'l' },
    spec: { holderIdentity: 'a', leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000001Z' },
  };
  const { body } = await admin.call('POST', LEASES, lease);
  expect(body.spec).toEqual(lease.spec);
  expect((await admin.call('PUT', `${LEASES}/l`, { ...body, spec: { ...body.spec, holderIdentity: 'b' } })).status).toBe(200);
  expect((await admin.call('PUT', `${LEASES}/l`, { ...body, spec: { ...body.spec, holderIdentity: 'c' } })).status).toBe(409);
  expect((await admin.call('PATCH', `${LEASES}/l`, { spec: { leaseDurationSeconds: 0 } }, MERGE)).body.message).toContain('must be greater than 0');
  expect((await admin.call('GET', `${LEASES}/l`)).body.spec.holderIdentity).toBe('b');
  expect((await admin.call('DELETE', `${LEASES}/l`)).status).toBe(200);
});
