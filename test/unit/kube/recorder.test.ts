import { afterEach, beforeEach, expect, test } from 'vitest';
import { events, taskAgents, type Event } from '#api';
import { createEventRecorder, type EventRecorder } from '#kube';
import { silentLogger, systemClock } from '#lib';
import { startCluster, type Cluster } from '../controllers/cluster.ts';
import { agent, eventually } from '../controllers/objects.ts';

/** Against a real API server, which here has no controllers. */
let cluster: Cluster;
let recorder: EventRecorder;
const all = async (): Promise<readonly Event[]> => (await cluster.client.list(events, { namespace: 'default' })).items;
const record = (options: object = {}) => createEventRecorder({ client: cluster.client, component: 'test', clock: systemClock, log: silentLogger, ...options });
beforeEach(async () => {
  cluster = await startCluster({ controllers: false });
});
afterEach(async () => {
  await recorder[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});
const seen = async (test: (event: Event) => boolean): Promise<Event> => {
  const { items, metadata } = await cluster.client.list(events, { namespace: 'default' });
  const there = items.find(test);
  if (there) return there;
  for await (const { object } of cluster.client.watch(events, {
    namespace: 'default',
    resourceVersion: metadata.resourceVersion!,
    signal: AbortSignal.timeout(8_000),
  }))
    if (object.involvedObject && test(object)) return object;
  throw new Error('the watch ended');
};

test('what happens again is counted on the same Event, with the newest message', async () => {
  const about = await cluster.client.create(taskAgents, agent('a'));
  recorder = record({ everyMs: 50 });
  recorder.record(taskAgents, about, { type: 'Warning', reason: 'Timeout', message: 'run 1' });
  const first = await seen(({ count }) => count === 1);
  expect(first).toMatchObject({
    type: 'Warning',
    reason: 'Timeout',
    message: 'run 1',
    source: { component: 'test' },
    involvedObject: { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', namespace: 'default', name: 'a', uid: about.metadata.uid },
  });
  for (let run = 2; run <= 40; run++) recorder.record(taskAgents, about, { type: 'Warning', reason: 'Timeout', message: `run ${run}` });
  const last = await seen(({ count }) => count === 40);
  expect(last).toMatchObject({ metadata: { name: first.metadata.name, uid: first.metadata.uid }, message: 'run 40' });
  recorder.record(taskAgents, about, { type: 'Normal', reason: 'Ready', message: 'fine' });
  await seen(({ reason }) => reason === 'Ready');
  expect(await all()).toHaveLength(2);
});

test('an Event that has expired is made anew', async () => {
  const about = await cluster.client.create(taskAgents, agent('a'));
  recorder = record({ everyMs: 50 });
  const happening = { type: 'Warning', reason: 'Timeout', message: 'again' } as const;
  recorder.record(taskAgents, about, happening);
  const { metadata } = await seen(({ count }) => count === 1);
  await cluster.client.delete(events, 'default', metadata.name);
  recorder.record(taskAgents, about, happening);
  expect((await seen(({ count }) => count === 2)).metadata.uid).not.toBe(metadata.uid);
});

test('a flood of different happenings is held to its rate', async () => {
  const about = await cluster.client.create(taskAgents, agent('a'));
  recorder = record({ perMinute: 5 });
  for (let n = 0; n < 50; n++) recorder.record(taskAgents, about, { type: 'Warning', reason: `Reason${n}`, message: '' });
  await seen(({ reason }) => reason === 'Reason4');
  await eventually(cluster.client, taskAgents, 'a', () => true);
  expect(await all()).toHaveLength(5);
});
