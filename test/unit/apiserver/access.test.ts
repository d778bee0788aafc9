import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLRK_KINDS, COMPONENTS, ROLES, type PolicyRule } from '#api';
import { agent, ROOT, startServer, type TestClient, type TestServer } from './harness.ts';

/** Who may do what: the roles of `src/api/roles.ts`, as the server enforces them. */

let server: TestServer;
const clients = new Map<string, TestClient>();
const SUBJECTS = {
  admin: 'CN=admin, O=system:masters',
  manager: 'CN=system:clrk:controller-manager, O=clrk:components',
  dispatcher: 'CN=system:clrk:dispatcher, O=clrk:components',
  viewer: 'CN=viewer, O=clrk:viewers',
  editor: 'CN=editor, O=clrk:editors',
  nobody: 'CN=nobody',
} as const;
type Who = keyof typeof SUBJECTS;

beforeAll(async () => {
  server = await startServer();
  for (const [who, subject] of Object.entries(SUBJECTS)) clients.set(who, await server.client(subject));
  await clients.get('admin')!.call('POST', `${ROOT}/taskagents`, agent('a'));
  await clients.get('admin')!.call('POST', '/api/v1/namespaces/default/secrets', { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } });
});
afterAll(() => server[Symbol.asyncDispose]());

const MERGE = { type: 'application/merge-patch+json' };
const CALLS: Readonly<Record<string, (client: TestClient) => Promise<{ status: number }>>> = {
  'get agent': (client) => client.call('GET', `${ROOT}/taskagents/a`),
  'list agents': (client) => client.call('GET', `${ROOT}/taskagents`),
  'list all agents': (client) => client.call('GET', '/apis/clrk.apoxy.dev/v1alpha1/taskagents'),
  'patch agent': (client) => client.call('PATCH', `${ROOT}/taskagents/a`, {}, MERGE),
  'create agent': (client) => client.call('POST', `${ROOT}/taskagents?dryRun=All`, agent('b')),
  'delete agent': (client) => client.call('DELETE', `${ROOT}/taskagents/a?dryRun=All`),
  'patch status': (client) => client.call('PATCH', `${ROOT}/taskagents/a/status`, {}, MERGE),
  'create revision': (client) =>
    client.call('POST', `${ROOT}/agentsandboxrevisions?dryRun=All`, {
      apiVersion: 'clrk.apoxy.dev/v1alpha1',
      kind: 'AgentSandboxRevision',
      metadata: { name: 'r' },
      spec: { image: 'i' },
    }),
  'list secrets': (client) => client.call('GET', '/api/v1/namespaces/default/secrets'),
  'delete secret': (client) => client.call('DELETE', '/api/v1/namespaces/default/secrets/s?dryRun=All'),
  'list configmaps': (client) => client.call('GET', '/api/v1/namespaces/default/configmaps'),
  'create event': (client) =>
    client.call('POST', '/api/v1/namespaces/default/events?dryRun=All', { apiVersion: 'v1', kind: 'Event', metadata: { name: 'e' }, involvedObject: {} }),
  'create namespace': (client) => client.call('POST', '/api/v1/namespaces?dryRun=All', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'n' } }),
};

const MAY: Readonly<Record<Who, readonly string[]>> = {
  admin: Object.keys(CALLS),
  manager: ['get agent', 'list agents', 'list all agents', 'patch status', 'create revision', 'list secrets', 'list configmaps', 'create event'],
  dispatcher: ['list agents', 'list all agents'],
  viewer: ['get agent', 'list agents', 'list all agents', 'list configmaps'],
  editor: ['get agent', 'list agents', 'list all agents', 'list configmaps', 'patch agent', 'create agent', 'delete agent'],
  nobody: [],
};

describe.each(Object.entries(MAY) as [Who, readonly string[]][])('%s', (who, may) => {
  test.each(Object.keys(CALLS))('%s', async (call) => {
    const { status } = await CALLS[call]!(clients.get(who)!);
    if (may.includes(call)) expect(status).toBeLessThan(300);
    else expect(status).toBe(403);
  });
});

describe('impersonation', () => {
  const as = (client: TestClient, headers: Record<string, string | string[]>, path = `${ROOT}/taskagents`) =>
    client.call('GET', path, undefined, { headers: headers as Record<string, string> });

  test('an administrator is taken for another, who may no more than that one', async () => {
    const admin = clients.get('admin')!;
    expect((await as(admin, { 'impersonate-user': 'system:clrk:dispatcher' })).status).toBe(200);
    const refused = await as(admin, { 'impersonate-user': 'system:clrk:dispatcher' }, '/api/v1/namespaces/default/secrets');
    expect([refused.status, refused.body.message]).toEqual([403, expect.stringContaining('User "system:clrk:dispatcher" cannot list resource "secrets"')]);
    expect((await as(admin, { 'impersonate-user': 'x', 'impersonate-group': ['a', 'clrk:viewers'] })).status).toBe(200);
    expect((await as(admin, { 'impersonate-user': 'x' })).status).toBe(403);
  });

  test('nobody else may', async () => {
    for (const who of ['manager', 'viewer', 'editor', 'nobody'] as const) {
      const { status, body } = await as(clients.get(who)!, { 'impersonate-user': 'admin', 'impersonate-group': 'system:masters' });
      expect([status, body.message]).toEqual([403, expect.stringMatching(/users "admin" is forbidden: User ".*" cannot impersonate resource "users"/)]);
    }
  });

  test('what is not understood is refused, not ignored', async () => {
    const admin = clients.get('admin')!;
    expect((await as(admin, { 'impersonate-group': 'clrk:viewers' })).status).toBe(400);
    expect((await as(admin, { 'impersonate-user': 'x', 'impersonate-extra-scopes': 'y' })).status).toBe(400);
    expect((await as(admin, { 'impersonate-user': ['x', 'y'] })).status).toBe(400);
  });
});

test('every resource of a role is served, and every verb is one that it has', async () => {
  const admin = clients.get('admin')!;
  const served = new Map<string, readonly string[]>();
  for (const [group, path] of [['', '/api/v1'], ...['clrk.apoxy.dev/v1alpha1', 'events.k8s.io/v1'].map((at) => [at.split('/')[0]!, `/apis/${at}`])] as const) {
    for (const { name, verbs } of (await admin.call('GET', path)).body.resources as { name: string; verbs: string[] }[]) served.set(`${group}/${name}`, verbs);
  }
  // Those of the runtime API are given to the server by whoever has the runs.
  const isRuntime = ({ apiGroups }: PolicyRule): boolean => apiGroups.some((group) => group.startsWith('runtime.'));
  for (const { name, rules } of ROLES) {
    for (const rule of rules.filter((candidate) => !isRuntime(candidate))) {
      for (const resource of rule.resources)
        expect([name, resource, served.get(`${rule.apiGroups[0]}/${resource}`)]).toEqual([name, resource, expect.arrayContaining([...rule.verbs])]);
    }
  }
});

test('only the controller manager reads Secrets; people read every kind of clrk, and write all but revisions', () => {
  const has = (rules: readonly PolicyRule[], resource: string): boolean =>
    rules.some(({ resources }) => resources.includes(resource) || resources.includes('*'));
  expect(ROLES.filter(({ rules }) => has(rules, 'secrets')).map(({ name }) => name)).toEqual(['clrk-controller-manager']);
  const [view, edit] = ['clrk-view', 'clrk-edit'].map((name) => ROLES.find((role) => role.name === name)!);
  for (const { plural } of CLRK_KINDS) {
    expect([plural, has(view!.rules, plural)]).toEqual([plural, true]);
    expect([plural, has(edit!.rules, plural)]).toEqual([plural, plural !== 'agentsandboxrevisions']);
  }
  for (const { rules } of ROLES) for (const rule of rules) expect([...rule.apiGroups, ...rule.resources, ...rule.verbs]).not.toContain('*');
  expect(COMPONENTS.map(({ role }) => role.name)).toEqual(['clrk-controller-manager', 'clrk-dispatcher']);
});
