import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { probeAgent, type Manifest } from './support/manifests.ts';
import { startUpstreams, type UpstreamServers } from './support/upstream-servers.ts';

/** Several gateways of one agent, several workers, and rules by labels, on a whole stack with the kinds a user writes. */

const API = 'clrk.apoxy.dev/v1alpha1';
const object = (kind: string, name: string, spec: Record<string, unknown>): Manifest => ({
  apiVersion: API,
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});

let stack: TestStack;
let servers: UpstreamServers;

const labelled = (name: string, labels: Record<string, string>, gateways: readonly string[]): Manifest => {
  const agent = probeAgent(name, { egressRefs: gateways.map((gatewayRef) => ({ gatewayRef })) });
  return { ...agent, metadata: { ...agent.metadata, labels } };
};

const databases = (ip: string): readonly Manifest[] => [
  object('EgressGateway', 'databases', {
    defaultPolicy: 'deny-all',
    listeners: [{ name: 'tcp', protocol: 'TCP' }],
    upstreamTLS: { hostAliases: [{ ip, hostnames: ['db.example', 'echo.example'] }] },
  }),
  object('EgressL4Route', 'db', {
    parentRefs: [{ kind: 'EgressGateway', name: 'databases', sectionName: 'tcp' }],
    rules: [{ matches: [{ destinationHostnames: ['db.example'], ports: [{ port: 5432 }], sourceAgents: { matchLabels: { role: 'db' } } }] }],
  }),
  object('EgressL4Route', 'range', {
    parentRefs: [{ kind: 'EgressGateway', name: 'databases' }],
    rules: [{ matches: [{ destinationCIDRs: [`${ip}/32`], ports: [{ startPort: 6999, endPort: 7001 }] }] }],
  }),
];

beforeAll(async () => {
  stack = await startStack();
  servers = await startUpstreams(join(stack.dir, 'upstreams'), stack.lab.fixture, stack.lab.fixtureIp);
  await stack.apply(
    ...databases(stack.lab.fixtureIp),
    labelled('reader', { role: 'db' }, ['default', 'databases']),
    labelled('plain', {}, ['default', 'databases']),
    labelled('single', { role: 'db' }, ['default']),
  );
  await stack.programmed('databases');
  for (const agent of ['reader', 'plain', 'single']) await stack.condition('taskagents', agent, 'Ready', 'True', 60_000);
});
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

const DB = { tcp: { host: 'db.example', port: 5432, script: [{ await: 'ready' }, { text: 'hi' }, { await: 'got hi' }], until: 'script', forMs: 5_000 } };
const talks = { connected: true, received: 'ready\ngot hi' };
const chat = {
  fetch: {
    url: 'https://api.openai.com/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 10, messages: [{ role: 'user', content: 'Hello.' }] }),
  },
};

test('each name goes through the first gateway that admits it, each address through the first with a range for it', async () => {
  const range = { tcp: { host: stack.lab.fixtureIp, port: 7000, script: [{ text: 'hi' }, { await: 'got hi' }], until: 'script' } };
  const { results, invocation } = await stack.probe('reader', DB, chat, range);
  expect(results[0]).toMatchObject(talks);
  expect(results[1]).toMatchObject({ status: 200 });
  expect(results[2]).toMatchObject({ connected: true, received: 'got hi' });
  const records = await stack.egressLog(invocation, (all) => all.length >= 3);
  const by = new Map(records.map((record) => [record.protocol === 'tcp' ? `${record.host || 'address'}` : record.protocol, record]));
  expect(by.get('db.example')).toMatchObject({ gateway: 'default/databases', route: 'EgressL4Route/default/db', verdict: 'Allowed', reason: 'Allowed' });
  expect(by.get('https')).toMatchObject({ gateway: 'default/default', route: 'AIProviderRoute/default/openai' });
  expect(by.get('address')).toMatchObject({ gateway: 'default/databases', route: 'EgressL4Route/default/range' });
});

test('who lacks the label, or the gateway, gets nowhere; a label that comes is enough', async () => {
  const before = servers.seen.length;
  for (const agent of ['plain', 'single']) {
    const { results } = await stack.probe(agent, DB);
    expect(results[0]).not.toMatchObject(talks);
  }
  expect(servers.seen.length).toBe(before);
  await stack.apply(labelled('plain', { role: 'db' }, ['default', 'databases']));
  await eventually('the label is in force', async () => {
    const { results } = await stack.probe('plain', DB);
    return (results[0] as { received?: string }).received?.startsWith('ready') ? true : undefined;
  });
});

test('an EgressDenyPolicy takes the route out of force and closes what is open; without it all is as before', async () => {
  const held = stack.probe('reader', { tcp: { host: 'db.example', port: 5432, script: [{ await: 'ready' }, { await: 'never' }], forMs: 20_000 } });
  const before = servers.seen.length;
  await eventually('it is open', () => (servers.seen.length > before ? true : undefined));
  const deny = object('EgressDenyPolicy', 'stop', {
    targetRef: { group: 'clrk.apoxy.dev', kind: 'EgressL4Route', name: 'db' },
    denyResponse: { statusCode: 451 },
  });
  await stack.apply(deny);
  expect((await held).results[0]).toMatchObject({ connected: true, closed: 'reset' });
  const { results, invocation } = await stack.probe('reader', DB);
  expect(results[0]).not.toMatchObject(talks);
  const [record] = await stack.egressLog(invocation, (all) => all.some(({ protocol }) => protocol === 'tcp'));
  expect(record).toMatchObject({ verdict: 'Denied', reason: 'DeniedByPolicy', route: 'EgressL4Route/default/db' });
  await stack.api('DELETE', '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/egressdenypolicies/stop');
  await eventually('it is gone', async () => {
    const { results: again } = await stack.probe('reader', DB);
    return (again[0] as { received?: string }).received?.startsWith('ready') ? true : undefined;
  });
});

test('every worker of the pool enforces the same revision, and runs on each of them get through', async () => {
  await stack.api(
    'PATCH',
    '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/workerpools/default',
    { spec: { replicas: 2 } },
    { 'content-type': 'application/merge-patch+json' },
  );
  const programmed = await eventually(
    'two workers have it',
    async () => {
      const { status } = await stack.get('egressgateways', 'databases');
      const all = (status!['programmed'] ?? []) as { worker: string; revision: string }[];
      return all.length === 2 ? all : undefined;
    },
    30_000,
  );
  expect(new Set(programmed.map(({ revision }) => revision)).size).toBe(1);
  await stack.programmed('databases');
  const workers = new Set<string | undefined>();
  await eventually(
    'both workers have run it',
    async () => {
      const all = await Promise.all([1, 2, 3].map(() => stack.probe('reader', DB)));
      for (const { results, invocation } of all) {
        expect(results[0]).toMatchObject(talks);
        workers.add((await stack.ended(invocation)).status.worker);
      }
      return workers.size === 2 ? true : undefined;
    },
    60_000,
  );
});
