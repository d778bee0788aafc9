import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentSandboxRevisions, egressGateways, LABELS, taskAgents, workerPools } from '#api';
import type { Invocation } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, conditionOf, eventually, gateway } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const ready = (revision: string) => ({ revision: `default/${revision}`, ready: true, digest: 'sha256:x', reason: '', message: '' });
const missing = (revision: string) => ({ revision: `default/${revision}`, ready: false, digest: '', reason: 'ImageNotFound', message: 'no such image' });

test('the default pool is made, wanted, and its status is what workers report', async () => {
  const { client, desired } = cluster;
  await eventually(client, workerPools, 'default', (pool) => conditionOf(pool, 'Available') === 'False/NoWorker');
  expect(desired.wanted).toEqual({ pools: [{ pool: 'default/default', replicas: 1 }] });
  desired.worker('0', { maxExecutions: 4, activeExecutions: 3 });
  const up = await eventually(client, workerPools, 'default', (pool) => conditionOf(pool, 'Available') === 'True/WorkersReady');
  expect(up.status).toMatchObject({ readyReplicas: 1, activeExecutions: 3, capacity: { maxExecutions: 4, availableExecutions: 1 } });
  expect(conditionOf(up, 'Enforced')).toMatch(/^(True|False)/);
  expect(conditionOf(up, 'Placement')).toBe('False/OneMachine');
  desired.worker('0', undefined);
  await eventually(client, workerPools, 'default', (pool) => pool.status?.readyReplicas === 0 && conditionOf(pool, 'Available') === 'False/NoWorker');
});

test('the status of a pool counts the slots it gives, tells which workers drain, and that zero is none', async () => {
  const { client, desired } = cluster;
  await eventually(client, workerPools, 'default', (pool) => pool.status);
  desired.worker('0', { maxExecutions: 0, activeExecutions: 3 });
  desired.worker('1', { maxExecutions: 0, activeExecutions: 2 });
  const most = await eventually(client, workerPools, 'default', (pool) => pool.status?.readyReplicas === 2);
  expect(most.status).toMatchObject({ capacity: { maxExecutions: 32, availableExecutions: 27 } });
  await client.patch(workerPools, 'default', 'default', { spec: { maxExecutionsPerWorker: 2 } });
  const few = await eventually(client, workerPools, 'default', (pool) => pool.status?.capacity?.maxExecutions === 4);
  expect(few.status).toMatchObject({ activeExecutions: 5, capacity: { availableExecutions: 0 } });

  desired.worker('1', { maxExecutions: 0, activeExecutions: 2, draining: true });
  const draining = await eventually(client, workerPools, 'default', (pool) => conditionOf(pool, 'Progressing') === 'True/WorkersDraining');
  expect(draining.status).toMatchObject({ readyReplicas: 1, activeExecutions: 5, capacity: { maxExecutions: 2 } });
  expect(draining.status!.conditions!.find(({ type }) => type === 'Progressing')!.message).toContain('1 more end when their 2 runs have ended');
  desired.worker('1', undefined);
  await eventually(client, workerPools, 'default', (pool) => conditionOf(pool, 'Progressing') === 'False/Complete');

  await client.patch(workerPools, 'default', 'default', { spec: { replicas: 0 } });
  const none = await eventually(client, workerPools, 'default', (pool) => conditionOf(pool, 'Available') === 'False/ScaledToZero');
  expect(none.status!.conditions!.find(({ type }) => type === 'Available')!.message).toContain('spec.replicas');
});

test('a default pool that was applied before stays as it is; its fields without effect are named', async () => {
  const { client, desired } = cluster;
  await eventually(client, workerPools, 'default', (pool) => pool.status);
  const spec = { replicas: 3, imageCache: {}, template: { image: 'w', nodeSelector: { a: 'b' } } };
  await client.apply(workerPools, { metadata: { namespace: 'default', name: 'default' }, spec }, { fieldManager: 'clrk' });
  const pool = await eventually(client, workerPools, 'default', (object) => conditionOf(object, 'Enforced') === 'False/NotBuilt');
  expect(pool.status!.conditions!.find(({ type }) => type === 'Enforced')!.message).toContain('spec.imageCache');
  expect(pool.status!.conditions!.find(({ type }) => type === 'Placement')!.message).toContain('spec.template.nodeSelector');
  await desired.until(() => desired.wanted?.pools.some(({ replicas }) => replicas === 3) || undefined);
  const again = await cluster.restart();
  await again.until(() => again.wanted);
  expect(again.wanted).toEqual({ pools: [{ pool: 'default/default', replicas: 3 }] });
});

test('a template change mints a revision, another change does not; the old one serves until the new one is ready', async () => {
  const { client, desired } = cluster;
  await client.create(taskAgents, agent('a'));
  await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'Ready') === 'False/RevisionNotReady');
  const first = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => conditionOf(object, 'Ready') === 'False/NoWorker');
  expect(first.spec).toEqual({ image: 'demo:1' });
  expect(first.metadata.labels).toMatchObject({
    [LABELS.agent]: 'a',
    [LABELS.agentKind]: 'TaskAgent',
    [LABELS.generation]: '1',
    [LABELS.workerPool]: 'default',
  });
  expect(first.metadata.ownerReferences).toMatchObject([{ kind: 'TaskAgent', name: 'a', controller: true }]);
  await desired.until(() => desired.workers.get('default/default')?.revisions[0]);
  expect(desired.workers.get('default/default')!.revisions).toMatchObject([
    { template: { namespace: 'default', revision: 'a-00001', agent: 'a', image: 'demo:1', gateways: [] }, proven: false },
  ]);

  desired.worker('0', { images: [missing('a-00001')] });
  const sick = await eventually(client, taskAgents, 'a', (object) =>
    object.status?.conditions?.some(({ message }) => message.includes('ImageNotFound: no such image')),
  );
  expect(sick.status!.latestReadyRevisionName).toBeUndefined();
  desired.worker('0', { images: [ready('a-00001')] });
  const up = await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'Ready') === 'True/RevisionReady');
  expect(up.status).toMatchObject({ latestCreatedRevisionName: 'a-00001', latestReadyRevisionName: 'a-00001', observedGeneration: 1 });
  const served = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => object.status?.readyWorkers === 1);
  expect(served.status!.workers).toMatchObject([{ podName: '0', imagePulled: true }]);

  await client.patch(taskAgents, 'default', 'a', { spec: { maxConcurrent: 2 } });
  await eventually(client, taskAgents, 'a', (object) => object.status?.observedGeneration === 2);
  await client.patch(taskAgents, 'default', 'a', { spec: { template: { spec: { image: 'demo:2' } } } });
  const pending = await eventually(client, taskAgents, 'a', (object) => object.status?.latestCreatedRevisionName === 'a-00003');
  expect(pending.status!.latestReadyRevisionName).toBe('a-00001');
  expect((await client.list(agentSandboxRevisions)).items.map(({ metadata }) => metadata.name)).toEqual(['a-00001', 'a-00003']);
  await desired.until(() => desired.workers.get('default/default')?.revisions[1]);
  expect(desired.workers.get('default/default')!.revisions.map(({ template }) => template.revision)).toEqual(['a-00001', 'a-00003']);

  desired.worker('0', { images: [ready('a-00001'), ready('a-00003')] });
  await eventually(client, taskAgents, 'a', (object) => object.status?.latestReadyRevisionName === 'a-00003');
  await eventually(client, agentSandboxRevisions, 'a-00001', (object) => conditionOf(object, 'Active') === 'False/Retired');
  await desired.until(() => desired.workers.get('default/default')?.revisions.every(({ proven }) => proven) || undefined);
});

test('an agent without its pool or gateway says so, and recovers when they come', async () => {
  const { client, desired } = cluster;
  await client.create(taskAgents, agent('b', { workerPoolRef: 'big', egressRefs: [{ gatewayRef: 'gw' }] }));
  await eventually(client, taskAgents, 'b', (object) => conditionOf(object, 'Ready') === 'False/WorkerPoolNotFound');
  await client.create(workerPools, { metadata: { namespace: 'default', name: 'big' }, spec: { template: { image: 'w' } } });
  await eventually(client, taskAgents, 'b', (object) => conditionOf(object, 'Ready') === 'False/EgressGatewayNotFound');
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', { pool: 'default/big', images: [ready('b-00001')] });
  await eventually(client, taskAgents, 'b', (object) => conditionOf(object, 'Ready') === 'True/RevisionReady');
});

test('fields that are not built are named; those a run needs block it', async () => {
  const { client } = cluster;
  await client.create(taskAgents, agent('soft', { schedule: '* * * * *', streaming: { enabled: true } }));
  const soft = await eventually(client, taskAgents, 'soft', (object) => conditionOf(object, 'Enforced') === 'False/NotBuilt');
  const message = soft.status!.conditions!.find(({ type }) => type === 'Enforced')!.message;
  expect(message).toContain('spec.schedule');
  expect(message).toContain('spec.streaming');
  expect(conditionOf(soft, 'Ready')).toBe('False/RevisionNotReady');
  for (const [name, spec, field] of [
    ['m', { delivery: { mode: 'Metadata' } }, 'spec.delivery.mode'],
    ['s', { state: { backend: 'sqlite' } }, 'spec.state'],
    ['v', { template: { spec: { image: 'x', env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] } } }, 'valueFrom'],
  ] as const) {
    await client.create(taskAgents, agent(name, spec));
    const blocked = await eventually(client, taskAgents, name, (object) => conditionOf(object, 'Ready') === 'False/NotBuilt');
    expect(blocked.status!.conditions!.find(({ type }) => type === 'Ready')!.message).toContain(field);
  }
});

test('an agent made anew under its old name gets a revision of its own', async () => {
  const { client } = cluster;
  await client.create(taskAgents, agent('c'));
  const old = await eventually(client, agentSandboxRevisions, 'c-00001', () => true);
  await client.delete(taskAgents, 'default', 'c');
  await client.create(taskAgents, agent('c', { template: { spec: { image: 'demo:9' } } }));
  const fresh = await eventually(client, agentSandboxRevisions, 'c-00001', (object) => object.metadata.uid !== old.metadata.uid);
  expect(fresh.spec.image).toBe('demo:9');
});

test('active executions follow the journal', async () => {
  const { client, runs } = cluster;
  await client.create(taskAgents, agent('d'));
  const invocation = (id: string, phase: Invocation['phase']) => runs.push({ id, namespace: 'default', agent: 'd', phase } as Invocation);
  invocation('1', 'Pending');
  invocation('2', 'Running');
  invocation('3', 'Failed');
  await eventually(client, taskAgents, 'd', (object) => object.status?.activeExecutions === 2);
  invocation('1', 'Rejected');
  invocation('2', 'Succeeded');
  await eventually(client, taskAgents, 'd', (object) => object.status?.activeExecutions === 0);
});
