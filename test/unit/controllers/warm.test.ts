import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentSandboxRevisions, findCondition, taskAgents, workerPools, type TaskAgent, type WorkerPool } from '#api';
import type { WarmState } from '#model';
import { idleTtlOf, warmShares } from '../../../src/controllers/agent/warm.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, conditionOf, eventually } from './objects.ts';

const poolOf = (spec: object): WorkerPool =>
  ({ metadata: { namespace: 'n', name: 'p' }, spec: { replicas: 1, template: { image: 'w' }, ...spec } }) as WorkerPool;
const agentOf = (name: string, spec: object = {}): TaskAgent => ({ ...agent(name, spec), apiVersion: 'v', kind: 'TaskAgent' }) as unknown as TaskAgent;
const shares = (pool: object, ...agents: readonly TaskAgent[]) =>
  Object.fromEntries([...warmShares(poolOf(pool), agents)].map(([name, { asked, size }]) => [name, `${size}/${asked}`]));

test('the pool shares evenly among those that say nothing, and all stay within half of what a worker may run', () => {
  expect(shares({ warmPool: 5 }, agentOf('c'), agentOf('a'), agentOf('b'))).toEqual({ a: '2/2', b: '2/2', c: '1/1' });
  expect(shares({ warmPool: 2 }, agentOf('a', { warmPoolSize: 0 }), agentOf('b'))).toEqual({ a: '0/0', b: '2/2' });
  expect(shares({}, agentOf('a', { warmPoolSize: 3 }), agentOf('b'))).toEqual({ a: '3/3', b: '0/0' });
  expect(shares({ maxExecutionsPerWorker: 7, warmPool: 4 }, agentOf('a'), agentOf('z', { warmPoolSize: 2 }))).toEqual({ z: '2/2', a: '1/4' });
  expect(shares({}, agentOf('a', { warmPoolSize: 20 }), agentOf('b', { warmPoolSize: 1 }))).toEqual({ a: '8/20', b: '0/1' });
  expect(shares({ maxExecutionsPerWorker: 0 }, agentOf('a', { warmPoolSize: 1 }))).toEqual({ a: '0/1' });
  expect(shares({ warmPool: 2 }, agentOf('a', { state: {} }), agentOf('b'))).toEqual({ b: '2/2' });
});

test('an idle one is replaced after ten minutes, or what the agent says', () => {
  expect(idleTtlOf(agentOf('a'))).toBe(600_000);
  expect(idleTtlOf(agentOf('a', { warmPoolIdleTTL: '90s' }))).toBe(90_000);
});

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const warm = (revision: string, ready: number, wanted: number, reason = '', message = ''): WarmState => ({
  agent: 'default/a',
  revision: `default/${revision}`,
  ready,
  wanted,
  reason,
  message,
});

test('workers hear what to start ahead of the revision that serves; what they say comes back as count and condition', async () => {
  const { client, desired } = cluster;
  await client.create(taskAgents, agent('a', { warmPoolSize: 2, warmPoolIdleTTL: '1m', template: { spec: { image: 'demo:1', args: ['x'] } } }));
  const images = [{ revision: 'default/a-00001', ready: true, digest: 'sha256:x', reason: '', message: '' }];
  desired.worker('0', { images });
  const target = await desired.until(() => desired.workers.get('default/default')?.warm[0]);
  expect(target).toMatchObject({
    size: 2,
    idleTtlMs: 60_000,
    template: { agent: 'a', revision: 'a-00001', image: 'demo:1@sha256:x', args: ['x'], gateways: [] },
  });
  await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'WarmPool') === 'False/Starting');
  desired.worker('0', { images, warm: [warm('a-00001', 2, 2)] });
  const kept = await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'WarmPool') === 'True/Kept');
  expect(kept.status).toMatchObject({ warmSandboxes: 2 });
  const revision = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => object.status?.workers?.[0]?.warmCount === 2);
  expect(revision.status!.workers).toMatchObject([{ podName: '0', warmCount: 2 }]);

  // A run has taken one: that is no trouble.
  desired.worker('0', { images, warm: [warm('a-00001', 1, 2)] });
  const used = await eventually(client, taskAgents, 'a', (object) => object.status?.warmSandboxes === 1);
  expect(conditionOf(used, 'WarmPool')).toBe('True/Kept');

  desired.worker('0', { images, warm: [warm('a-00001', 0, 2, 'StartsBeforeEvent', 'It wrote.')] });
  const cold = await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'WarmPool') === 'False/StartsBeforeEvent');
  expect(findCondition(cold.status!.conditions, 'WarmPool')!.message).toContain('It wrote.');

  await client.patch(taskAgents, 'default', 'a', { spec: { warmPoolSize: 9 } });
  await client.patch(workerPools, 'default', 'default', { spec: { maxExecutionsPerWorker: 6 } });
  desired.worker('0', { images, warm: [warm('a-00001', 3, 3)] });
  const clamped = await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'WarmPool') === 'True/Clamped');
  expect(findCondition(clamped.status!.conditions, 'WarmPool')!.message).toContain('3 of 9');
  await eventually(client, workerPools, 'default', (object) => conditionOf(object, 'WarmPool') === 'False/Clamped');
  await desired.until(() => (desired.workers.get('default/default')?.warm[0]?.size === 3 ? true : undefined));

  await client.patch(taskAgents, 'default', 'a', { spec: { warmPoolSize: 0 } });
  await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'WarmPool') === 'none');
  await eventually(client, workerPools, 'default', (object) => conditionOf(object, 'WarmPool') === 'none');
  await desired.until(() => (desired.workers.get('default/default')?.warm.length === 0 ? true : undefined));
});
