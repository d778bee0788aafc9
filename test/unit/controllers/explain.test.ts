import { afterEach, beforeEach, expect, test } from 'vitest';
import { aiProviderRoutes, egressDenyPolicies, egressGateways, egressL4Routes, taskAgents } from '#api';
import type { Explanation, ExplainQuestion, PolicySet } from '#model';
import { startCluster, type Cluster } from './cluster.ts';
import { agent, gateway, route } from './objects.ts';

/** `explain` over the real API and controllers: agents, gateways and routes as they are stored, revisions as workers report them. */

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const refusalOf = async (question: Partial<ExplainQuestion>) => {
  const answer = await cluster.controllers.explain({ namespace: 'default', agent: 'a', ...question });
  if (!('refusal' in answer)) throw new Error(JSON.stringify(answer));
  return answer.refusal;
};
const explain = async (question: Partial<ExplainQuestion>): Promise<Explanation> => {
  const answer = await cluster.controllers.explain({ namespace: 'default', agent: 'a', ...question });
  if (!('explanation' in answer)) throw new Error(answer.refusal.message);
  return answer.explanation;
};
const tcp = (destination: string, more: Partial<ExplainQuestion> = {}) => explain({ protocol: 'tcp', destination, ...more });

const database = (name: string, match: object) => ({
  metadata: { namespace: 'default', name },
  spec: { parentRefs: [{ kind: 'EgressGateway', name: 'gw' }], rules: [{ matches: [match] }] },
});

/** What egress of worker 0 is told, once it satisfies `test`, and explanations are made with it. */
const published = async (test: (set: PolicySet) => boolean, asker?: string): Promise<PolicySet> => {
  const set = await cluster.desired.until(() => {
    const found = cluster.desired.egresses.get('0')?.gateways[0];
    const read = found && (JSON.parse(found.policySet) as PolicySet);
    return read && test(read) ? read : undefined;
  });
  if (asker) await expect.poll(async () => (await tcp('a.example.com:1', { agent: asker }).catch(() => undefined))?.revision).toBe(set.revision);
  return set;
};

test('who asks: an agent that is there, with gateways that are there', async () => {
  const { client } = cluster;
  await client.create(egressGateways, gateway('gw'));
  cluster.desired.worker('0', {});
  await published(() => true);
  expect(await refusalOf({ protocol: 'tcp', destination: 'a.example.com:1' })).toEqual({
    reason: 'NotFound',
    message: 'there is no agent "a" in namespace "default"',
  });
  await client.create(taskAgents, agent('a'));
  await client.create(taskAgents, agent('b', { egressRefs: [{ gatewayRef: 'nowhere' }] }));
  await expect
    .poll(() => tcp('a.example.com:1').catch(() => undefined))
    .toMatchObject({
      verdict: 'Denied',
      reason: 'NoGateway',
      message: 'Nothing leaves agent default/a: it has no spec.egressRefs.',
    });
  await expect
    .poll(() => tcp('a.example.com:1', { agent: 'b' }).catch(() => undefined))
    .toMatchObject({
      reason: 'NoGateway',
      warnings: ['spec.egressRefs[0]: gateway default/nowhere does not exist'],
    });
  expect(await refusalOf({ protocol: 'tcp', destination: 'nonsense' })).toMatchObject({ reason: 'BadRequest', message: expect.stringContaining('HOST:PORT') });
});

test('the decision, with where it is in force; and what of each route does not match, the nearest first', async () => {
  const { client, desired } = cluster;
  const listeners = [
    { name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } },
    { name: 'raw', protocol: 'TCP', port: 5432 },
  ];
  await client.create(egressGateways, gateway('gw', { listeners }));
  await client.create(taskAgents, agent('a', { egressRefs: [{ gatewayRef: 'gw' }] }));
  await client.create(aiProviderRoutes, route('openai', 'gw', { rules: [{ matches: [{ provider: 'openai', models: ['gpt-4.1*'] }] }] }));
  await client.create(egressL4Routes, database('far', { destinationHostnames: ['elsewhere.example.com'] }));
  await client.create(
    egressL4Routes,
    database('near', { destinationHostnames: ['db.example.com'], ports: [{ port: 5433 }], sourceAgents: { matchLabels: { db: 'yes' } } }),
  );
  await client.create(egressL4Routes, {
    ...database('astray', {}),
    spec: { parentRefs: [{ kind: 'EgressGateway', name: 'gw', sectionName: 'none' }], rules: [{ matches: [{}] }] },
  });
  desired.worker('0', {});
  const { revision } = await published((set) => set.l4Routes.length === 2 && set.aiRoutes.length === 1, 'a');

  const denied = await tcp('db.example.com:5432');
  expect(denied).toMatchObject({
    agent: 'default/a',
    asked: 'tcp db.example.com:5432',
    verdict: 'Denied',
    reason: 'NoRoute',
    status: 0,
    gateway: 'default/gw',
    listener: 'raw',
    handling: 'tcp',
    revision,
    inForce: false,
    warnings: [`revision ${revision} of gateway default/gw is not in force everywhere: worker 0 has not acknowledged it yet`],
  });
  expect(denied.misses.map(({ route: of, why }) => [of, /spec[.\w[\]]*/.exec(why)?.[0]])).toEqual([
    ['EgressL4Route/default/near', 'spec.rules[0].matches[0].ports'],
    ['EgressL4Route/default/far', 'spec.rules[0].matches[0].destinationHostnames'],
    ['AIProviderRoute/default/openai', undefined],
    ['EgressL4Route/default/astray', 'spec.parentRefs'],
  ]);
  expect(denied.misses.at(-1)!.why).toContain('has no listener none; it has tls, raw');

  const name = { protocol: 'tcp', destination: 'db.example.com:5433', agent: 'c' };
  await client.create(taskAgents, {
    ...agent('c', { egressRefs: [{ gatewayRef: 'gw' }] }),
    metadata: { namespace: 'default', name: 'c', labels: { db: 'yes' } },
  });
  await expect
    .poll(async () => (await explain({ ...name, sni: 'db.example.com' }).catch(() => undefined))?.steps.at(-1))
    .toBe('What db.example.com resolves to is dialled where it is public, or where a hostAlias of the gateway names it.');

  const { revision: labelled } = await published((set) => JSON.stringify(set.l4Routes).includes('default/c'), 'a');
  desired.egress('0', [{ gateway: 'default/gw', revision: labelled, error: '', since: 1 }]);
  const ask = { method: 'POST', url: 'https://api.openai.com/v1/chat/completions' };
  expect(await explain({ ...ask, model: 'gpt-4.1-mini' })).toMatchObject({
    verdict: 'Allowed',
    route: 'AIProviderRoute/default/openai',
    rule: 0,
    status: 0,
    sees: 'the answer of the upstream',
    inForce: true,
    warnings: [],
  });
  const model = await explain({ ...ask, model: 'o3' });
  expect(model).toMatchObject({ verdict: 'Denied', reason: 'ModelNotAllowed', status: 403, sees: 'HTTP 403, with the reason as JSON', listener: 'tls' });
  expect(model.misses[0]).toMatchObject({ rule: 0, match: 0, why: 'spec.rules[0].matches[0].models is gpt-4.1*; add o3.' });

  await client.create(egressL4Routes, database('open', { destinationHostnames: ['db.example.com'] }));
  await client.create(egressDenyPolicies, {
    metadata: { namespace: 'default', name: 'stop' },
    spec: { targetRef: { group: 'clrk.apoxy.dev', kind: 'EgressL4Route', name: 'open' }, denyResponse: { statusCode: 451, message: 'Not today.' } },
  });
  await published((set) => set.l4Routes.some((each) => each.denied), 'a');
  expect(await explain({ method: 'GET', url: 'https://db.example.com/' })).toMatchObject({
    reason: 'DeniedByPolicy',
    message: 'Not today.',
    status: 451,
    policies: ['EgressDenyPolicy/default/stop'],
    inForce: false,
    warnings: [expect.stringContaining(`worker 0 still enforces ${labelled}`)],
  });
});
