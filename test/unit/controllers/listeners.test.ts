import { afterEach, beforeEach, expect, test } from 'vitest';
import { egressGateways, egressL4Routes, namespaces, taskAgents, type Condition, type EgressGateway } from '#api';
import type { PolicySet } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, eventually, gateway } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const served = (): PolicySet | undefined => {
  const entry = cluster.desired.egresses.get('0')?.gateways.find(({ gateway: name }) => name === 'default/gw');
  return entry && (JSON.parse(entry.policySet) as PolicySet);
};
const states = (conditions: readonly Condition[] | undefined): string[] => (conditions ?? []).map(({ type, status, reason }) => `${type}=${status}/${reason}`);

test('listeners: routes attached, in force or not, and which of them never takes anything', async () => {
  const { client, desired } = cluster;
  const listeners = [
    { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } },
    { name: 'pass', protocol: 'TLS' },
    { name: 'db', protocol: 'TCP', port: 5432 },
  ];
  await client.create(egressGateways, gateway('gw', { listeners }));
  const l4 = (spec: object) => ({ metadata: { namespace: 'default', name: 'l4' }, spec: { rules: [{ matches: [{}] }], ...spec } });
  await client.create(egressL4Routes, l4({ parentRefs: [{ kind: 'EgressGateway', name: 'gw' }] }));
  desired.worker('0', {});
  const of = (object: EgressGateway, name: string) => {
    const { attachedRoutes, conditions } = object.status!.listeners!.find((listener) => listener.name === name)!;
    return { attachedRoutes, states: states(conditions), message: conditions?.find(({ type }) => type === 'Conflicted')?.message ?? '' };
  };
  const attached = await eventually(client, egressGateways, 'gw', ({ status }) => status?.listeners?.[2]?.attachedRoutes === 1);
  expect(of(attached, 'term')).toMatchObject({
    attachedRoutes: 1,
    states: ['Accepted=True/Accepted', 'Programmed=False/Pending', 'ResolvedRefs=True/ResolvedRefs', 'Conflicted=False/NoConflicts'],
  });
  expect(of(attached, 'pass')).toMatchObject({ attachedRoutes: 1, states: expect.arrayContaining(['Conflicted=True/Conflicted']) });
  expect(of(attached, 'pass').message).toContain('listener term goes first on every port');

  const { revision } = (await desired.until(served))!;
  desired.egress('0', [{ gateway: 'default/gw', revision, since: 1_000, error: '' }]);
  await eventually(client, egressGateways, 'gw', (object) => of(object, 'db').states.includes('Programmed=True/Programmed'));

  const parentRefs = [{ kind: 'EgressGateway', name: 'gw', sectionName: 'pass' }];
  await client.patch(egressL4Routes, 'default', 'l4', { spec: { parentRefs } });
  const apart = await eventually(client, egressGateways, 'gw', (object) => of(object, 'pass').states.includes('Conflicted=False/NoConflicts'));
  expect(['term', 'pass', 'db'].map((name) => of(apart, name).attachedRoutes)).toEqual([0, 1, 0]);
});

test('labels of agents and namespaces, and routes of another namespace, change what is served', async () => {
  const { client, desired } = cluster;
  await client.create(namespaces, { metadata: { name: 'team' } });
  const from = { namespaces: { from: 'Selector', selector: { matchLabels: { egress: 'shared' } } } };
  await client.create(egressGateways, gateway('gw', { listeners: [{ name: 'db', protocol: 'TCP', allowedRoutes: from }] }));
  await client.create(taskAgents, agent('a'));
  desired.worker('0', {});
  const rules = [{ matches: [{ destinationHostnames: ['db.test'], sourceAgents: { matchLabels: { team: 'x' } } }] }];
  await client.create(egressL4Routes, {
    metadata: { namespace: 'team', name: 'l4' },
    spec: { parentRefs: [{ kind: 'EgressGateway', name: 'gw', namespace: 'default' }], rules },
  });
  const refused = await eventually(
    client,
    egressL4Routes,
    'l4',
    ({ status }) => states(status?.parents?.[0]?.conditions).includes('Accepted=False/NotAllowedByListeners'),
    'team',
  );
  expect(refused.status!.parents![0]!.conditions.find(({ type }) => type === 'Accepted')!.message).toContain('allowedRoutes.namespaces.selector');

  await client.patch(namespaces, '', 'team', { metadata: { labels: { egress: 'shared' } } });
  const agents = (): readonly string[] | undefined => {
    return served()?.l4Routes[0]?.rules[0]?.matches[0]?.agents;
  };
  await desired.until(agents);
  expect(agents()).toEqual([]);
  await eventually(client, egressL4Routes, 'l4', ({ status }) => states(status?.parents?.[0]?.conditions).includes('Accepted=True/Accepted'), 'team');
  await client.patch(taskAgents, 'default', 'a', { metadata: { labels: { team: 'x' } } });
  await desired.until(() => (agents()?.includes('default/a') ? true : undefined));
  await client.delete(egressL4Routes, 'team', 'l4');
  await desired.until(() => (agents() === undefined ? true : undefined));
});
