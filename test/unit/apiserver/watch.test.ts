import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agent, configMap, ROOT, startServer, type TestClient, type TestServer, type WatchEvent } from './harness.ts';

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer({ keepChanges: 50 });
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const TASKS = `${ROOT}/taskagents`;
const MAPS = '/api/v1/namespaces/default/configmaps';
const MERGE = { type: 'application/merge-patch+json' };
const version = async (): Promise<string> => (await admin.call('GET', MAPS)).body.metadata.resourceVersion;
const short = ({ type, object }: WatchEvent): string => `${type} ${object.metadata?.name ?? object.kind}`;

const take = async (events: AsyncGenerator<WatchEvent>, count: number): Promise<WatchEvent[]> => {
  const out: WatchEvent[] = [];
  for (let index = 0; index < count; index++) {
    const next = await events.next();
    if (next.done) break;
    out.push(next.value);
  }
  return out;
};

test('without a version a watch starts with what is there', async () => {
  await admin.call('POST', TASKS, agent('there'));
  const abort = new AbortController();
  const events = admin.watch(`${TASKS}?watch=true&resourceVersion=0`, abort.signal);
  expect((await take(events, 1)).map(short)).toEqual(['ADDED there']);
  await admin.call('POST', TASKS, agent('new'));
  await admin.call('PATCH', `${TASKS}/new`, { spec: { maxConcurrent: 1 } }, MERGE);
  await admin.call('DELETE', `${TASKS}/new`);
  const seen = await take(events, 3);
  expect(seen.map(short)).toEqual(['ADDED new', 'MODIFIED new', 'DELETED new']);
  const versions = seen.map(({ object }) => Number(object.metadata.resourceVersion));
  expect(versions).toEqual([...versions].sort((a, b) => a - b));
  expect(new Set(versions).size).toBe(3);
  abort.abort();
});

test('from a version a watch has everything since, and nothing of others', async () => {
  const from = await version();
  await admin.call('POST', MAPS, configMap('one'));
  await admin.call('POST', MAPS.replace('default', 'clrk'), configMap('elsewhere'));
  await admin.call('POST', TASKS, agent('other-kind'));
  await admin.call('DELETE', `${MAPS}/one`);
  const events = admin.watch(`${MAPS}?watch=1&resourceVersion=${from}&timeoutSeconds=1`);
  const seen: string[] = [];
  for await (const event of events) seen.push(short(event));
  expect(seen).toEqual(['ADDED one', 'DELETED one']);
  const everywhere: string[] = [];
  for await (const event of admin.watch(`/api/v1/configmaps?watch=1&resourceVersion=${from}&timeoutSeconds=1`)) everywhere.push(short(event));
  expect(everywhere).toEqual(['ADDED one', 'ADDED elsewhere', 'DELETED one']);
});

test('a selector sees objects come and go', async () => {
  const from = await version();
  const abort = new AbortController();
  const live = admin.watch(`${MAPS}?watch=1&resourceVersion=${from}&labelSelector=in%3Dyes`, abort.signal);
  const first = live.next();
  await admin.call('POST', MAPS, configMap('sel'));
  await admin.call('PATCH', `${MAPS}/sel`, { metadata: { labels: { in: 'yes' } } }, MERGE);
  await admin.call('PATCH', `${MAPS}/sel`, { data: { a: 'b' } }, MERGE);
  await admin.call('PATCH', `${MAPS}/sel`, { metadata: { labels: { in: 'no' } } }, MERGE);
  await admin.call('DELETE', `${MAPS}/sel`);
  const expected = ['ADDED sel', 'MODIFIED sel', 'DELETED sel'];
  expect([short((await first).value as WatchEvent), ...(await take(live, 2)).map(short)]).toEqual(expected);
  abort.abort();
  // The same from the log of changes.
  const replayed: string[] = [];
  for await (const event of admin.watch(`${MAPS}?watch=1&resourceVersion=${from}&labelSelector=in%3Dyes&timeoutSeconds=1`)) replayed.push(short(event));
  expect(replayed).toEqual(expected);
});

test('a watch that was away too long is told to list again', async () => {
  for (let index = 0; index < 60; index++) await admin.call('POST', MAPS, configMap(`many-${index}`));
  const [event] = await take(admin.watch(`${MAPS}?watch=1&resourceVersion=1`), 2);
  expect(event).toMatchObject({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
  expect(event!.object.message).toMatch(/^too old resource version: 1 \(\d+\)$/);
  expect((await admin.call('GET', `${MAPS}?watch=1&resourceVersion=99999999`)).body).toMatchObject({ code: 504, reason: 'Timeout' });
  expect((await admin.call('GET', `${MAPS}?watch=1&resourceVersion=abc`)).status).toBe(400);
});

test('pages of a list that is too old end with 410, and go on with what there is now', async () => {
  await using small = await startServer({ keepChanges: 5 });
  const client = await small.client();
  for (const name of ['a', 'b', 'c']) await client.call('POST', MAPS, configMap(name));
  const first = await client.call('GET', `${MAPS}?limit=1`);
  const { resourceVersion, continue: token } = first.body.metadata;
  expect((await client.call('GET', `${MAPS}?limit=1&continue=${token}`)).body.metadata.resourceVersion).toBe(resourceVersion);
  for (let index = 0; index < 10; index++) await client.call('POST', MAPS, configMap(`d${index}`));
  const late = await client.call('GET', `${MAPS}?limit=1&continue=${token}`);
  expect(late.body).toMatchObject({ code: 410, reason: 'Expired', kind: 'Status' });
  const rest = await client.call('GET', `${MAPS}?limit=2&continue=${late.body.metadata.continue}`);
  expect(rest.body.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual(['b', 'c']);
  expect(Number(rest.body.metadata.resourceVersion)).toBeGreaterThan(Number(resourceVersion));
  const exact = await client.call('GET', `${MAPS}?resourceVersionMatch=Exact&resourceVersion=${resourceVersion}`);
  expect(exact.body).toMatchObject({ code: 410, reason: 'Expired' });
  const now = rest.body.metadata.resourceVersion;
  expect((await client.call('GET', `${MAPS}?resourceVersionMatch=Exact&resourceVersion=${now}`)).body.items).toHaveLength(13);
});

test('initial events end with a bookmark, when asked for', async () => {
  await admin.call('POST', TASKS, agent('marked'));
  const abort = new AbortController();
  const events = admin.watch(
    `${TASKS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dmarked`,
    abort.signal,
  );
  const [added, bookmark] = await take(events, 2);
  expect(short(added!)).toBe('ADDED marked');
  expect(bookmark).toEqual({
    type: 'BOOKMARK',
    object: {
      kind: 'TaskAgent',
      apiVersion: 'clrk.apoxy.dev/v1alpha1',
      metadata: { resourceVersion: await version(), annotations: { 'k8s.io/initial-events-end': 'true' } },
    },
  });
  abort.abort();
});

test('a bookmark comes before the end, when something else has moved on', async () => {
  const from = await version();
  const events = admin.watch(`${TASKS}?watch=1&resourceVersion=${from}&allowWatchBookmarks=true&timeoutSeconds=3`);
  const first = events.next();
  await admin.call('POST', MAPS, configMap('moves'));
  expect((await first).value).toMatchObject({ type: 'BOOKMARK', object: { metadata: { resourceVersion: await version() } } });
});

test('a watch as Table has its columns in the first event only', async () => {
  const abort = new AbortController();
  const events = admin.watch(`${TASKS}?watch=1`, abort.signal, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' });
  const [first] = await take(events, 1);
  expect(first!.object.columnDefinitions.length).toBeGreaterThan(3);
  await admin.call('POST', TASKS, agent('zz-table'));
  let last = first!;
  while (last.object.rows[0].cells[0] !== 'zz-table') last = (await events.next()).value as WatchEvent;
  expect(last.object).toMatchObject({ kind: 'Table', columnDefinitions: null });
  abort.abort();
});

test('a server that stops ends its watches, and the next one goes on from the same log', async () => {
  await using first = await startServer();
  const client = await first.client();
  const made = await client.call('POST', MAPS, configMap('before'));
  const seen = made.body.metadata.resourceVersion;
  const events = client.watch(`${MAPS}?watch=1&resourceVersion=0`);
  expect((await take(events, 1)).map(short)).toEqual(['ADDED before']);
  const end = events.next();
  await first.stop();
  expect((await end).done).toBe(true);

  await using next = await startServer({ database: join(first.dir, 'api.db') });
  const again = await next.client();
  expect((await again.call('GET', `${MAPS}/before`)).body.metadata.uid).toBe(made.body.metadata.uid);
  const after = await again.call('POST', MAPS, configMap('after'));
  expect(Number(after.body.metadata.resourceVersion)).toBeGreaterThan(Number(seen));
  const abort = new AbortController();
  expect((await take(again.watch(`${MAPS}?watch=1&resourceVersion=${seen}`, abort.signal), 1)).map(short)).toEqual(['ADDED after']);
  abort.abort();
});
