import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLRK_KINDS, COMPONENTS, ROLES, RUNTIME_GROUP, SYSTEM_NAMESPACE, GROUP } from '#api';
import { poll } from '#lib';
import { allows, type Attributes } from '../../src/apiserver/access.ts';
import { ensureRealKube, startRealKube, type RealKube } from '../../tools/real-kube.ts';
import { makeClient, type TestClient } from '../unit/apiserver/harness.ts';

/** The ClusterRoles of manifests/rbac mean to a real kube-apiserver what the embedded one enforces. */

const manifests = join(import.meta.dirname, '..', '..', 'manifests', 'rbac');
let kube: RealKube;
let agent: Agent;
let admin: TestClient;

beforeAll(async () => {
  await ensureRealKube(); // built once, in about six minutes
  kube = await startRealKube();
  agent = new Agent({ connect: kube.tls });
  admin = makeClient(kube.url, agent);
}, 1_800_000);
afterAll(async () => {
  await agent.destroy();
  await kube[Symbol.asyncDispose]();
});

const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const PATHS: Readonly<Record<string, string>> = {
  ServiceAccount: `/api/v1/namespaces/${SYSTEM_NAMESPACE}/serviceaccounts`,
  ClusterRole: `${RBAC}/clusterroles`,
  ClusterRoleBinding: `${RBAC}/clusterrolebindings`,
};
const create = async (path: string, body: object | string): Promise<void> => {
  const type = typeof body === 'string' ? 'application/yaml' : 'application/json';
  const answer = await admin.call('POST', `${path}?fieldValidation=Strict`, body, { type });
  expect([answer.status, answer.headers['warning']], JSON.stringify(answer.body)).toEqual([201, undefined]);
};

/** Somebody of the embedded server, and the same one in the cluster. */
interface Subject {
  readonly here: { readonly name: string; readonly groups: readonly string[] };
  readonly there: { readonly user: string };
}

const people = (group: string, roles: readonly string[]): Subject & { readonly roles: readonly string[] } => ({
  here: { name: group, groups: [group] },
  there: { user: group },
  roles,
});
const VIEWER = people('clrk:viewers', ['clrk-view']);
const EDITOR = people('clrk:editors', ['clrk-view', 'clrk-edit']);

const RESOURCES: readonly (readonly [group: string, resource: string])[] = [
  ...CLRK_KINDS.flatMap(({ plural }) => [plural, `${plural}/status`, `${plural}/scale`, `${plural}/finalizers`].map((resource) => [GROUP, resource] as const)),
  ...['invocations', 'exchanges', 'explain', 'taskagents', 'taskagents/invoke', 'taskagents/logs'].map((resource) => [RUNTIME_GROUP, resource] as const),
  ...['secrets', 'events', 'pods', 'serviceaccounts'].map((resource) => ['', resource] as const),
  ['coordination.k8s.io', 'leases'],
  ['rbac.authorization.k8s.io', 'clusterroles'],
];
const VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection', 'impersonate'];

test('every role grants in Kubernetes what it grants here, and nothing else', async () => {
  await create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM_NAMESPACE } });
  for (const file of readdirSync(manifests)) {
    for (const document of readFileSync(join(manifests, file), 'utf8').split(/^---$/m)) await create(PATHS[/^kind: (\w+)$/m.exec(document)![1]!]!, document);
  }
  for (const { there, roles } of [VIEWER, EDITOR]) {
    for (const role of roles) {
      await create(`${RBAC}/clusterrolebindings`, {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: `${there.user}-${role}`.replaceAll(':', '-') },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: there.user }],
      });
    }
  }
  const components: Subject[] = COMPONENTS.map(({ user, serviceAccount }) => ({
    here: { name: user, groups: [] },
    there: { user: `system:serviceaccount:${SYSTEM_NAMESPACE}:${serviceAccount}` },
  }));
  const verdict = async ({ there }: Subject, { verb, group, resource, subresource }: Attributes): Promise<boolean> => {
    const spec = { user: there.user, groups: ['system:authenticated'], resourceAttributes: { verb, group, resource, subresource, namespace: 'default' } };
    const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec };
    const { body } = await admin.call('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', review);
    return body.status.allowed;
  };
  // The authoriser hears of roles a moment after they are made; each subject may list agents.
  for (const subject of [...components, VIEWER, EDITOR]) {
    const list: Attributes = { verb: 'list', group: GROUP, resource: 'taskagents', subresource: '', namespace: 'default', name: '' };
    await poll(async () => ((await verdict(subject, list)) ? true : undefined), 50, AbortSignal.timeout(20_000));
  }
  let granted = 0;
  for (const subject of [...components, VIEWER, EDITOR]) {
    // What the role `view` of Kubernetes has is not in these ClusterRoles.
    const isPerson = subject.here.groups.length > 0;
    const asked = RESOURCES.filter(([group]) => !isPerson || group === GROUP || group === RUNTIME_GROUP || group.startsWith('rbac'));
    const differing: string[] = [];
    for (const [group, path] of asked) {
      const [resource = '', subresource = ''] = path.split('/');
      const answers = VERBS.map(async (verb) => {
        const request = { verb, group, resource, subresource, namespace: 'default', name: '' };
        const [here, there] = [allows(subject.here, request), await verdict(subject, request)];
        if (here !== there) differing.push(`${subject.here.name} ${verb} ${path}: here ${here}, there ${there}`);
        if (there) granted++;
      });
      await Promise.all(answers);
    }
    expect(differing).toEqual([]);
  }
  expect(granted).toBeGreaterThan(ROLES.length * 10);
}, 120_000);

test('the roles of people are added to those of Kubernetes', async () => {
  for (const [role, to] of [
    ['clrk-view', 'view'],
    ['clrk-edit', 'edit'],
  ]) {
    const selector = encodeURIComponent(`rbac.authorization.k8s.io/aggregate-to-${to}=true`);
    const { body } = await admin.call('GET', `${RBAC}/clusterroles?labelSelector=${selector}`);
    expect((body.items as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name)).toContain(role);
  }
});
