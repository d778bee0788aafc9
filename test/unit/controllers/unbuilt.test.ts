import { afterEach, beforeEach, expect, test } from 'vitest';
import { aiProviderRoutes, daemonAgents, egressDenyPolicies, egressGateways, type Condition } from '#api';
import type { PolicySet } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { conditionOf, eventually, gateway, route } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const states = (conditions: readonly Condition[] | undefined): string[] => (conditions ?? []).map(({ type, status, reason }) => `${type}=${status}/${reason}`);
const meta = (name: string) => ({ namespace: 'default', name });

test('a DaemonAgent says that nothing runs', async () => {
  const { client } = cluster;
  await client.create(daemonAgents, { metadata: meta('d'), spec: { workerPoolRef: 'default', template: { spec: { image: 'a' } } } });
  const told = await eventually(client, daemonAgents, 'd', (object) => conditionOf(object, 'Ready') === 'False/NotBuilt');
  expect(conditionOf(told, 'Enforced')).toBe('False/NotBuilt');
  expect(told.status).toMatchObject({ phase: 'Stopped', observedGeneration: 1 });
});

test('an EgressDenyPolicy is in what every egress gets, until it is deleted, and tells its state', async () => {
  const { client, desired } = cluster;
  await client.create(egressDenyPolicies, {
    metadata: meta('freeze'),
    spec: { targetRef: { group: 'clrk.apoxy.dev', kind: 'AIProviderRoute', name: 'openai' }, denyResponse: { statusCode: 451 } },
  });
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  await eventually(client, egressDenyPolicies, 'freeze', ({ status }) => states(status?.ancestors?.[0]?.conditions).includes('Accepted=False/TargetNotFound'));
  await client.create(aiProviderRoutes, route('openai', 'gw'));
  await eventually(client, egressDenyPolicies, 'freeze', ({ status }) => states(status?.ancestors?.[0]?.conditions).includes('Accepted=True/Accepted'));
  const deniedIn = (): unknown => {
    const entry = desired.egresses.get('0')?.gateways[0];
    return entry && (JSON.parse(entry.policySet) as PolicySet).aiRoutes[0];
  };
  await desired.until(() => ((deniedIn() as { denied?: unknown } | undefined)?.denied ? true : undefined));
  expect(deniedIn()).toMatchObject({ denied: { policy: 'default/freeze', status: 451, message: '' } });
  await client.delete(egressDenyPolicies, 'default', 'freeze');
  await desired.until(() => ((deniedIn() as { denied?: unknown }).denied === undefined ? true : undefined));
});
