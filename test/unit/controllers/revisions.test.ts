import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentSandboxRevisions, daemonAgents, findCondition, generationOf, LABELS, taskAgents, type Condition, type KubeObject } from '#api';
import type { ImageState, Invocation } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, conditionOf, eventually } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const digestOf = (letter: string): string => `sha256:${letter.repeat(64)}`;
const ready = (revision: string, digest = digestOf('a')): ImageState => ({ revision: `default/${revision}`, ready: true, digest, reason: '', message: '' });
const failed = (revision: string, reason: string): ImageState => ({ revision: `default/${revision}`, ready: false, digest: '', reason, message: 'told' });
const image = (of: string) => ({ spec: { template: { spec: { image: of } } } });
const messageOf = (object: KubeObject & { readonly status?: { readonly conditions?: readonly Condition[] } }, type: string): string =>
  findCondition(object.status?.conditions, type)?.message ?? '';

/** An agent whose revisions `name-00001` … are made one after the other, each ready before the next. */
const history = async (name: string, count: number, spec: object = {}): Promise<string[]> => {
  const { client, desired } = cluster;
  const names: string[] = [];
  for (let n = 1; n <= count; n++) {
    if (n === 1) await client.create(taskAgents, agent(name, { ...spec, template: { spec: { image: 'demo:1' } } }));
    else await client.patch(taskAgents, 'default', name, image(`demo:${n}`));
    const { status } = await eventually(
      client,
      taskAgents,
      name,
      (object) => object.status?.observedGeneration === n && object.status.latestCreatedRevisionName,
    );
    names.push(status!.latestCreatedRevisionName!);
    desired.worker('0', { images: names.map((revision) => ready(revision)) });
    await eventually(client, taskAgents, name, (object) => object.status?.latestReadyRevisionName === names.at(-1));
  }
  return names;
};
const revisionsOf = async (name: string): Promise<string[]> => {
  const { items } = await cluster.client.list(agentSandboxRevisions);
  return items.filter(({ metadata }) => metadata.labels?.[LABELS.agent] === name).map(({ metadata }) => metadata.name);
};

test('the content a revision was first ready with is kept: workers get it, and one that has other content is not ready', async () => {
  const { client, desired } = cluster;
  await client.create(taskAgents, agent('a'));
  await desired.until(() => desired.workers.get('default/default')?.revisions[0]);
  desired.worker('0', { images: [ready('a-00001', digestOf('a'))] });
  const first = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => conditionOf(object, 'Ready') === 'True/SandboxStarts');
  expect(first.status!.imageDigest).toBe(digestOf('a'));
  const sent = await desired.until(() => desired.workers.get('default/default')?.revisions.find(({ proven }) => proven));
  expect(sent.template.image).toBe(`demo:1@${digestOf('a')}`);
  // The tag was moved before the second worker looked at it.
  desired.worker('1', { images: [ready('a-00001', digestOf('b'))] });
  const second = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => object.status?.workers?.length === 2);
  expect(second.status).toMatchObject({ imageDigest: digestOf('a'), readyWorkers: 1 });
  desired.worker('0', undefined);
  const gone = await eventually(client, agentSandboxRevisions, 'a-00001', (object) => object.status?.workers?.length === 1);
  expect(gone.status).toMatchObject({ imageDigest: digestOf('a'), readyWorkers: 0 });
});

test('what does not start is not ready, and the revision before it serves; its reason is in both statuses', async () => {
  const { client, desired } = cluster;
  await history('s', 1);
  await client.patch(taskAgents, 'default', 's', { spec: { template: { spec: { command: ['/nothing'] } } } });
  await eventually(client, agentSandboxRevisions, 's-00002', () => true);
  desired.worker('0', { images: [ready('s-00001'), { ...failed('s-00002', 'StartFailed'), digest: digestOf('a') }] });
  const bad = await eventually(client, agentSandboxRevisions, 's-00002', (object) => conditionOf(object, 'Ready') === 'False/StartFailed');
  expect(conditionOf(bad, 'Active')).toBe('False/Pending');
  expect(bad.status).toMatchObject({ readyWorkers: 0, workers: [{ imagePulled: true }] });
  expect(bad.status!.imageDigest).toBeUndefined();
  const told = await eventually(client, taskAgents, 's', (object) => messageOf(object, 'Ready').includes('StartFailed: told'));
  expect(messageOf(told, 'Ready')).toContain('s-00001 serves meanwhile');
  expect(told.status!.latestReadyRevisionName).toBe('s-00001');
});

test('a template of before makes a new revision; labels of the template are part of it, names in it are not', async () => {
  const { client } = cluster;
  await history('t', 2);
  await client.patch(taskAgents, 'default', 't', image('demo:1'));
  expect((await eventually(client, agentSandboxRevisions, 't-00003', () => true)).spec.image).toBe('demo:1');
  await client.patch(taskAgents, 'default', 't', { spec: { template: { metadata: { labels: { team: 'blue' }, annotations: { note: 'x' } } } } });
  const labelled = await eventually(client, agentSandboxRevisions, 't-00004', () => true);
  expect(labelled.metadata).toMatchObject({ labels: { team: 'blue', [LABELS.agent]: 't' }, annotations: { note: 'x' } });
  await client.patch(taskAgents, 'default', 't', { spec: { template: { metadata: { name: 'ignored' } } } });
  await eventually(client, taskAgents, 't', (object) => object.status?.observedGeneration === 5);
  expect(await revisionsOf('t')).toEqual(['t-00001', 't-00002', 't-00003', 't-00004']);
});

test('a pin is what serves, also when a newer revision is ready, until it is taken away', async () => {
  const { client, desired } = cluster;
  await history('p', 3);
  // Workers keep ready what serves and what a rollback would take, and do not look at the others.
  await desired.until(() =>
    desired.workers
      .get('default/default')
      ?.revisions.map(({ template }) => template.revision)
      .join() === 'p-00002,p-00003'
      ? true
      : undefined,
  );
  const old = await eventually(client, agentSandboxRevisions, 'p-00001', (object) => conditionOf(object, 'Ready') === 'Unknown/Retired');
  expect(old.status!.imageDigest).toBe(digestOf('a'));
  await client.patch(taskAgents, 'default', 'p', { spec: { revisionName: 'p-00001', warmPoolSize: 1 } });
  const pinned = await eventually(client, taskAgents, 'p', (object) => conditionOf(object, 'Ready') === 'True/RevisionPinned');
  expect(messageOf(pinned, 'Ready')).toContain('p-00001 serves');
  expect(messageOf(pinned, 'Ready')).toContain('The newest is p-00003');
  expect(pinned.status).toMatchObject({ latestReadyRevisionName: 'p-00003', latestCreatedRevisionName: 'p-00003' });
  await eventually(client, agentSandboxRevisions, 'p-00001', (object) => conditionOf(object, 'Active') === 'True/Serving');
  await eventually(client, agentSandboxRevisions, 'p-00002', (object) => conditionOf(object, 'Ready') === 'Unknown/Retired');
  await eventually(client, agentSandboxRevisions, 'p-00003', (object) => conditionOf(object, 'Active') === 'False/NotPinned');
  expect((await desired.until(() => desired.workers.get('default/default')?.warm[0])).template.revision).toBe('p-00001');

  await client.patch(taskAgents, 'default', 'p', { spec: { revisionName: null } });
  await eventually(client, taskAgents, 'p', (object) => conditionOf(object, 'Ready') === 'True/RevisionReady');
  await eventually(client, agentSandboxRevisions, 'p-00003', (object) => conditionOf(object, 'Active') === 'True/Serving');
  await desired.until(() => (desired.workers.get('default/default')?.warm[0]?.template.revision === 'p-00003' ? true : undefined));
});

test('a pin to a revision that is missing, of another agent or was never ready is said, and nothing is kept warm', async () => {
  const { client, desired } = cluster;
  await history('q', 1, { warmPoolSize: 1 });
  await history('other', 1);
  desired.worker('0', { images: [ready('q-00001'), ready('other-00001'), failed('q-00002', 'ImageNotFound')] });
  await client.patch(taskAgents, 'default', 'q', image('none:1'));
  await eventually(client, agentSandboxRevisions, 'q-00002', (object) => conditionOf(object, 'Ready') === 'False/ImageNotFound');
  for (const [revisionName, reason, text] of [
    ['q-00009', 'RevisionNotFound', 'does not exist'],
    ['other-00001', 'RevisionNotOwned', 'belongs to another agent'],
    ['q-00002', 'RevisionNotReady', 'ImageNotFound: told'],
  ] as const) {
    await client.patch(taskAgents, 'default', 'q', { spec: { revisionName } });
    const told = await eventually(client, taskAgents, 'q', (object) => messageOf(object, 'Ready').includes(revisionName));
    expect(conditionOf(told, 'Ready')).toBe(`False/${reason}`);
    expect(messageOf(told, 'Ready')).toContain(text);
    await desired.until(() => desired.workers.get('default/default')?.warm.every(({ template }) => template.agent !== 'q') || undefined);
  }
  await eventually(client, agentSandboxRevisions, 'q-00001', (object) => conditionOf(object, 'Active') === 'False/NotPinned');
});

test('revisions beyond the limit go, but never one that serves, is pinned, newest, or runs', async () => {
  const { client, runs } = cluster;
  await history('r', 3, { revisionHistoryLimit: 0, revisionName: 'r-00001' });
  // 1 is pinned, 3 is newest and ready.
  await expect.poll(() => revisionsOf('r'), { timeout: 8_000 }).toEqual(['r-00001', 'r-00003']);
  runs.push({ id: '1', namespace: 'default', agent: 'r', phase: 'Running', revision: 'r-00001', worker: '0' } as Invocation);
  await eventually(client, taskAgents, 'r', (object) => object.status?.activeExecutions === 1);
  await eventually(client, agentSandboxRevisions, 'r-00001', (object) => object.status?.workers?.[0]?.activeExecutions === 1);
  await client.patch(taskAgents, 'default', 'r', { spec: { revisionName: null } });
  await eventually(client, taskAgents, 'r', (object) => conditionOf(object, 'Ready') === 'True/RevisionReady');
  expect(await revisionsOf('r')).toEqual(['r-00001', 'r-00003']);
  runs.push({ id: '1', namespace: 'default', agent: 'r', phase: 'Succeeded', revision: 'r-00001' } as Invocation);
  await expect.poll(() => revisionsOf('r'), { timeout: 8_000 }).toEqual(['r-00003']);
});

test('ten revisions are kept unless the agent says how many; while the dispatcher is away, all', async () => {
  const { client, runs } = cluster;
  runs.away = true;
  await client.create(taskAgents, agent('k'));
  for (let n = 2; n <= 13; n++) {
    await client.patch(taskAgents, 'default', 'k', image(`demo:${n}`));
    await eventually(client, taskAgents, 'k', (object) => generationOf({ metadata: { name: object.status?.latestCreatedRevisionName ?? '' } } as never) === n);
  }
  expect((await revisionsOf('k')).length).toBe(13);
  runs.away = false;
  await expect.poll(() => revisionsOf('k'), { timeout: 8_000 }).toHaveLength(10);
  await client.patch(taskAgents, 'default', 'k', { spec: { revisionHistoryLimit: 2 } });
  await expect.poll(() => revisionsOf('k'), { timeout: 8_000 }).toEqual(['k-00012', 'k-00013']);
});

test('a DaemonAgent has revisions too; a TaskAgent of the same name does not take them, and says so', async () => {
  const { client, desired } = cluster;
  await client.create(daemonAgents, agent('d'));
  const revision = await eventually(client, agentSandboxRevisions, 'd-00001', () => true);
  expect(revision.metadata).toMatchObject({ labels: { [LABELS.agentKind]: 'DaemonAgent' }, ownerReferences: [{ kind: 'DaemonAgent', name: 'd' }] });
  desired.worker('0', { images: [ready('d-00001')] });
  await eventually(client, daemonAgents, 'd', (object) => object.status?.latestReadyRevisionName === 'd-00001');
  await client.create(taskAgents, agent('d', { template: { spec: { image: 'demo:2' } } }));
  const taken = await eventually(client, taskAgents, 'd', (object) => conditionOf(object, 'Ready') === 'False/RevisionNameTaken');
  expect(messageOf(taken, 'Ready')).toContain('d-00001, and there is one of that name of DaemonAgent d');
  await client.delete(daemonAgents, 'default', 'd');
  const own = await eventually(client, agentSandboxRevisions, 'd-00001', ({ metadata }) => metadata.ownerReferences?.[0]?.kind === 'TaskAgent');
  expect(own.spec.image).toBe('demo:2');
});

test('what claims to be a newer revision of the agent than there can be does not serve', async () => {
  const { client, desired } = cluster;
  await history('f', 1);
  const { ownerReferences } = (await client.get(agentSandboxRevisions, 'default', 'f-00001'))!.metadata;
  await client.create(agentSandboxRevisions, { metadata: { namespace: 'default', name: 'f-99999', ownerReferences }, spec: { image: 'evil:1' } });
  desired.worker('0', { images: [ready('f-00001'), ready('f-99999')] });
  await client.patch(taskAgents, 'default', 'f', { spec: { maxConcurrent: 1 } });
  const told = await eventually(client, taskAgents, 'f', (object) => object.status?.observedGeneration === 2);
  expect(told.status).toMatchObject({ latestCreatedRevisionName: 'f-00001', latestReadyRevisionName: 'f-00001' });
  expect(desired.workers.get('default/default')!.revisions.map(({ template }) => template.revision)).toEqual(['f-00001']);
});

test('a revision somebody made by hand is neither used nor deleted', async () => {
  const { client } = cluster;
  await client.create(agentSandboxRevisions, {
    metadata: { namespace: 'default', name: 'h-00001', labels: { [LABELS.agent]: 'h' } },
    spec: { image: 'evil:1' },
  });
  await client.create(taskAgents, agent('h'));
  const taken = await eventually(client, taskAgents, 'h', (object) => conditionOf(object, 'Ready') === 'False/RevisionNameTaken');
  expect(taken.status!.latestCreatedRevisionName).toBeUndefined();
  await client.delete(agentSandboxRevisions, 'default', 'h-00001');
  await eventually(client, taskAgents, 'h', (object) => object.status?.latestCreatedRevisionName === 'h-00001');
});
