import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  aiProviderRoutes,
  credentialInjectionPolicies,
  daemonAgents,
  egressDenyPolicies,
  egressGateways,
  events,
  mcpRoutes,
  secrets,
  taskAgents,
  workerPools,
  type Event,
} from '#api';
import type { Invocation } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, conditionOf, eventually, gateway, policy, route } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const short = ({ type, reason, involvedObject, message }: Event): string => `${type} ${reason} ${involvedObject.kind}/${involvedObject.name}: ${message}`;
/** The first Event that matches, from a list and then a watch. */
const told = async (pattern: RegExp): Promise<Event> => {
  const { items, metadata } = await cluster.client.list(events, { namespace: 'default' });
  const there = items.find((event) => pattern.test(short(event)));
  if (there) return there;
  const seen = items.map(short);
  const signal = AbortSignal.timeout(8_000);
  try {
    for await (const { type, object } of cluster.client.watch(events, { namespace: 'default', resourceVersion: metadata.resourceVersion!, signal })) {
      if (type === 'BOOKMARK') continue;
      seen.push(short(object));
      if (pattern.test(short(object))) return object;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  throw new Error(`no Event ${String(pattern)}; seen:\n${seen.join('\n')}`);
};
const image = (ready: boolean) => ({
  revision: 'default/a-00001',
  ready,
  digest: '',
  reason: ready ? '' : 'ImageNotFound',
  message: ready ? '' : 'no such image',
});

test('an agent is told which of its revisions is ready, or why not', async () => {
  const { client, desired } = cluster;
  await client.create(taskAgents, agent('a'));
  await eventually(client, taskAgents, 'a', (object) => conditionOf(object, 'Ready') === 'False/RevisionNotReady');
  await told(/^Normal RevisionCreated TaskAgent\/a: Revision a-00001 was made of the template\.$/);
  desired.worker('0', { images: [image(false)] });
  await told(/^Warning ImageNotFound TaskAgent\/a: Revision a-00001 is not ready: no such image$/);
  await told(/^Warning ImageNotFound AgentSandboxRevision\/a-00001: no such image$/);
  desired.worker('0', { images: [image(true)] });
  await told(/^Normal RevisionReady TaskAgent\/a: Revision a-00001 is ready: /);
  // Each revision is told of by itself, however soon the next one comes.
  await client.patch(taskAgents, 'default', 'a', { spec: { template: { spec: { image: 'demo:2' } } } });
  await told(/^Normal RevisionCreated TaskAgent\/a: Revision a-00002 /);
  desired.worker('0', { images: [image(true), { ...image(true), revision: 'default/a-00002' }] });
  await told(/^Normal RevisionReady TaskAgent\/a: Revision a-00002 is ready: /);
  await client.patch(taskAgents, 'default', 'a', { spec: { revisionName: 'a-00007' } });
  await told(/^Warning RevisionNotFound TaskAgent\/a: .*a-00007/);
  await client.patch(taskAgents, 'default', 'a', { spec: { revisionName: null, revisionHistoryLimit: 0 } });
  await told(/^Normal RevisionDeleted TaskAgent\/a: Revision a-00001 /);
  await client.create(taskAgents, agent('b', { workerPoolRef: 'nowhere' }));
  await told(/^Warning WorkerPoolNotFound TaskAgent\/b: WorkerPool nowhere \(spec\.workerPoolRef\) does not exist/);
});

test('a gateway is told what is in force, a policy that its Secret is missing', async () => {
  const { client, desired } = cluster;
  await eventually(client, workerPools, 'default', (pool) => pool.status);
  desired.worker('0', {});
  await client.create(egressGateways, gateway('g'));
  await client.create(aiProviderRoutes, route('r', 'g'));
  await client.create(credentialInjectionPolicies, policy('p', 'r', 'key'));
  await told(/^Warning \w+ CredentialInjectionPolicy\/p: .*key/);
  await client.create(secrets, { metadata: { namespace: 'default', name: 'key' }, stringData: { token: 'x' } });
  const { policySet } = await desired.until(() => desired.egresses.get('0')?.gateways.find(({ credentials }) => credentials.length === 1));
  const { revision } = JSON.parse(policySet) as { revision: string };
  desired.egress('0', [{ gateway: 'default/g', revision, error: '', since: Date.now() }]);
  await told(new RegExp(`^Normal Programmed EgressGateway/g: Revision ${revision} is in force`));
});

test('what attaches is told of what it names that is not there, and of what was first', async () => {
  const { client } = cluster;
  const meta = (name: string) => ({ namespace: 'default', name });
  await client.create(daemonAgents, agent('d', { workerPoolRef: 'nowhere' }));
  await told(/^Warning WorkerPoolNotFound DaemonAgent\/d: /);
  await client.create(aiProviderRoutes, route('r', 'gone'));
  await told(/^Warning NoMatchingParent AIProviderRoute\/r: .*gone/);
  const extensionRef = { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'slow' };
  await client.create(egressGateways, gateway('g'));
  await client.create(mcpRoutes, {
    metadata: meta('m'),
    spec: { parentRefs: [{ kind: 'EgressGateway', name: 'g' }], rules: [{ filters: [{ type: 'ExtensionRef', extensionRef }] }] },
  });
  await told(/^Warning ExtensionNotFound MCPRoute\/m: .*RateLimitPolicy slow/);
  const deny = (name: string) => ({ metadata: meta(name), spec: { targetRef: { group: 'clrk.apoxy.dev', kind: 'AIProviderRoute', name: 'r' } } });
  await client.create(egressDenyPolicies, deny('a'));
  await client.create(egressDenyPolicies, deny('b'));
  await told(/^Warning Conflicted EgressDenyPolicy\/b: EgressDenyPolicy a already/);
  await client.patch(workerPools, 'default', 'default', { spec: { replicas: 0 } });
  await told(/^Warning ScaledToZero WorkerPool\/default: /);
});

test('a pool is told of workers that come and are lost', async () => {
  const { client, desired } = cluster;
  await eventually(client, workerPools, 'default', (pool) => pool.status);
  desired.worker('0', {});
  await told(/^Normal WorkerConnected WorkerPool\/default: Worker 0 is connected\.$/);
  desired.worker('0', undefined);
  await told(/^Warning WorkerLost WorkerPool\/default: Worker 0 ended/);
});

test('runs that fail are counted by reason; those that succeed are not told', async () => {
  const { client, runs } = cluster;
  await client.create(taskAgents, agent('a'));
  await eventually(client, taskAgents, 'a', (object) => object.status);
  const run = (phase: Invocation['phase'], reason: string, message: string): void =>
    runs.push({ id: randomUUID(), namespace: 'default', agent: 'a', phase, reason, message } as Invocation);
  run('Succeeded', '', '');
  run('Failed', 'OOMKilled', 'the sandbox used more than 128 MiB');
  expect((await told(/OOMKilled/)).message).toMatch(/^Invocation [0-9a-f-]{36} ended Failed: the sandbox used more/);
  run('Timeout', '', 'it took longer than 60 s');
  const event = await told(/^Warning Timeout TaskAgent\/a: .*longer than 60 s$/);
  expect(event.count).toBe(1);
  expect(
    (await client.list(events, { namespace: 'default' })).items.filter(({ involvedObject, type }) => involvedObject.kind === 'TaskAgent' && type === 'Warning'),
  ).toHaveLength(2);
});
