import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import {
  agentSandboxRevisions,
  aiProviderRoutes,
  COMPONENTS,
  credentialInjectionPolicies,
  daemonAgents,
  egressDenyPolicies,
  egressGateways,
  egressL4Routes,
  loggingPolicies,
  mcpRoutes,
  rateLimitPolicies,
  secrets,
  taskAgents,
  workerPools,
  type PolicyRule,
} from '#api';
import { silentLogger } from '#lib';
import { openDirectory } from '../../../src/cmd/dispatcher/directory.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, conditionOf, eventually, gateway, policy, route, secret } from './objects.ts';

/** The roles of processes have what their clients use, and nothing else: every request is seen at the server. */

let cluster: Cluster;
afterEach(() => cluster[Symbol.asyncDispose]());

const grants = (rules: readonly PolicyRule[]): string[] =>
  rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}${group && `.${group}`}`))),
  );
const roleOf = (user: string): readonly PolicyRule[] => COMPONENTS.find((component) => component.user === user)!.role.rules;
const meta = (name: string) => ({ namespace: 'default', name });

/** What happens too seldom to be brought about here, and where it is tested or asked for. */
const SELDOM = [
  // A revision of an agent that is gone, or one too many: revisions.test.ts.
  'delete agentsandboxrevisions.clrk.apoxy.dev',
  // Another controller made the authority at the same moment.
  'get secrets',
  // A root that runs out, and a change of one: certificates.test.ts.
  'update secrets',
  // What an apply needs besides patch when it makes the object; only Kubernetes asks for it.
  'create workerpools.clrk.apoxy.dev',
  // An Event that comes again after ten seconds: recorder.test.ts of kube.
  'patch events',
  // The runtime API asks whether an agent is there: logs.test.ts of the runtime.
  'get taskagents.clrk.apoxy.dev',
];

test('controller-manager', async () => {
  cluster = await startCluster();
  const { client, desired } = cluster;
  desired.worker('0', {});
  await client.create(egressGateways, gateway('g'));
  await client.create(aiProviderRoutes, route('r', 'g'));
  await client.create(credentialInjectionPolicies, policy('p', 'r', 's'));
  await client.create(secrets, secret('s', { token: 'x' }));
  await client.create(egressDenyPolicies, { metadata: meta('d'), spec: { targetRef: { group: 'clrk.apoxy.dev', kind: 'AIProviderRoute', name: 'r' } } });
  await client.create(rateLimitPolicies, { metadata: meta('rl'), spec: { requests: 1, window: '1s' } });
  await client.create(loggingPolicies, { metadata: meta('lo'), spec: {} });
  const parentRefs = [{ kind: 'EgressGateway', name: 'g' }];
  await client.create(mcpRoutes, { metadata: meta('m'), spec: { parentRefs, rules: [{ matches: [{ tools: ['a*'] }] }] } });
  await client.create(egressL4Routes, { metadata: meta('l'), spec: { parentRefs, rules: [{ matches: [{ destinationCIDRs: ['10.0.0.0/8'] }] }] } });
  await client.create(daemonAgents, { metadata: meta('dd'), spec: { workerPoolRef: 'default', template: { spec: { image: 'a' } } } });
  await client.create(agentSandboxRevisions, { metadata: meta('taken-00001'), spec: { image: 'x' } });
  await client.create(taskAgents, agent('taken'));
  await eventually(client, taskAgents, 'taken', (object) => conditionOf(object, 'Ready') === 'False/RevisionNameTaken');
  await client.create(taskAgents, agent('a'));
  await eventually(client, agentSandboxRevisions, 'a-00001', ({ status }) => status);
  await eventually(client, workerPools, 'default', ({ status }) => status);
  for (const [kind, name] of [
    [mcpRoutes, 'm'],
    [egressL4Routes, 'l'],
    [daemonAgents, 'dd'],
    [egressDenyPolicies, 'd'],
    [egressGateways, 'g'],
    [aiProviderRoutes, 'r'],
    [credentialInjectionPolicies, 'p'],
    [rateLimitPolicies, 'rl'],
    [loggingPolicies, 'lo'],
  ] as const)
    await eventually(client, kind as typeof mcpRoutes, name, ({ status }) => status);
  const user = 'system:clrk:controller-manager';
  await cluster.asked(user, 'create events');
  await desired.until(() => desired.egresses.get('0')?.gateways[0]);
  const used = new Set([...cluster.requests(user), ...SELDOM]);
  expect([...used].toSorted()).toEqual([...new Set(grants(roleOf(user)))].toSorted());
});

test('dispatcher', async () => {
  cluster = await startCluster({ controllers: false });
  const user = 'system:clrk:dispatcher';
  const dir = await mkdtemp(join(tmpdir(), 'clrk-directory-'));
  const directory = await openDirectory(join(dir, 'cache.db'), await cluster.as(user), silentLogger);
  for (const [kind, object] of [
    [taskAgents, agent('a')],
    [agentSandboxRevisions, { metadata: meta('a-00001'), spec: { image: 'x' } }],
    [workerPools, { metadata: meta('default'), spec: { template: { image: 'x' } } }],
  ] as const) {
    const changed = Promise.withResolvers<void>();
    directory.onChange(() => changed.resolve());
    await cluster.client.create(kind as typeof taskAgents, object);
    await changed.promise;
  }
  expect([...cluster.requests(user)].toSorted()).toEqual(grants(roleOf(user)).toSorted());
  await directory[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});
