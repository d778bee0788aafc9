import { GROUP, RUNTIME_GROUP, type Kind } from './kind.ts';
import { CLRK_KINDS } from './kinds.ts';
import { agentSandboxRevisions } from './v1alpha1/agent-sandbox-revision.ts';
import { taskAgents } from './v1alpha1/task-agent.ts';
import { workerPools } from './v1alpha1/worker-pool.ts';

/**
 * Who may do what: the one table behind the ClusterRoles for a cluster (`manifests/rbac`) and what the embedded API server
 * enforces. Workers and what they start, the recorder and the store are in no line: they never speak to the API.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
 */

export interface PolicyRule {
  /** Empty text = the core group; `*` = any. */
  readonly apiGroups: readonly string[];
  /** Plurals, and subresources as `taskagents/status`; `*` = any. */
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export interface Role {
  readonly name: string;
  readonly description: string;
  readonly rules: readonly PolicyRule[];
  /** The role of Kubernetes that has these rules too; edit has what view has, and admin what edit has. */
  readonly aggregateTo?: 'view' | 'edit';
}

const FOLLOW = ['list', 'watch'];
const READ = ['get', ...FOLLOW];
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update'];

const plurals = (kinds: readonly Pick<Kind, 'plural'>[]): string[] => kinds.map(({ plural }) => plural);
const statuses = (kinds: readonly Kind[]): string[] => kinds.filter(({ subresources }) => subresources.status).map(({ plural }) => `${plural}/status`);
const ours = (resources: readonly string[], verbs: readonly string[]): PolicyRule => ({ apiGroups: [GROUP], resources, verbs });
const core = (resources: readonly string[], verbs: readonly string[]): PolicyRule => ({ apiGroups: [''], resources, verbs });

/** Revisions are made by the controller, never by hand. */
const written = CLRK_KINDS.filter(({ plural }) => plural !== agentSandboxRevisions.plural);

const controllerManager: Role = {
  name: 'clrk-controller-manager',
  description:
    'What the controllers use: they follow kinds, Secrets, prices and namespaces, make revisions, authorities of gateways and the default pool, and write statuses and Events.',
  rules: [
    ours(plurals(CLRK_KINDS), FOLLOW),
    ours(statuses(CLRK_KINDS), ['patch']),
    ours([taskAgents.plural], ['get']),
    ours([agentSandboxRevisions.plural], ['get', 'create', 'delete']),
    // An apply that makes an object needs both.
    ours([workerPools.plural], ['get', 'create', 'patch']),
    core(['secrets'], ['get', ...FOLLOW, 'create', 'update']),
    // Of ConfigMaps the one that says what models cost.
    core(['configmaps', 'namespaces'], FOLLOW),
    core(['events'], ['create', 'patch']),
  ],
};

const dispatcher: Role = {
  name: 'clrk-dispatcher',
  description: 'What the dispatcher uses: it follows agents, their revisions and pools.',
  rules: [ours(plurals([taskAgents, agentSandboxRevisions, workerPools]), FOLLOW)],
};

const view: Role = {
  name: 'clrk-view',
  description: 'Reading everything of clrk: objects, runs, what they printed, what left them, what they spent, and what would be let through.',
  aggregateTo: 'view',
  rules: [
    ours(plurals(CLRK_KINDS), READ),
    ours([...statuses(CLRK_KINDS), `${workerPools.plural}/scale`], ['get']),
    { apiGroups: [GROUP, RUNTIME_GROUP], resources: ['invocations'], verbs: READ },
    { apiGroups: [RUNTIME_GROUP], resources: ['budgets', 'exchanges'], verbs: ['list'] },
    { apiGroups: [RUNTIME_GROUP], resources: ['explain'], verbs: ['get'] },
    { apiGroups: [RUNTIME_GROUP], resources: ['taskagents/logs'], verbs: ['get'] },
  ],
};

const edit: Role = {
  name: 'clrk-edit',
  description: 'Changing everything of clrk but revisions and statuses, and running agents.',
  aggregateTo: 'edit',
  rules: [
    ours(plurals(written), WRITE),
    ours([`${workerPools.plural}/scale`], ['patch', 'update']),
    { apiGroups: [RUNTIME_GROUP], resources: ['taskagents/invoke'], verbs: ['create'] },
  ],
};

/** Roles that a cluster gets. */
export const ROLES: readonly Role[] = [controllerManager, dispatcher, view, edit];

/** As much of the roles every Kubernetes has as the embedded API server serves. */
const clusterAdmin: Role = { name: 'cluster-admin', description: 'Everything.', rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }] };
const basicUser: Role = {
  name: 'system:basic-user',
  description: 'Asking about oneself.',
  rules: [
    { apiGroups: ['authorization.k8s.io'], resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'], verbs: ['create'] },
    { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
  ],
};
const coreView: Role = {
  name: 'view',
  description: 'Reading what is no secret.',
  rules: [
    core(['configmaps', 'events', 'namespaces', 'services'], READ),
    { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: READ },
    { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: READ },
  ],
};

/** A process of clrk that speaks to the API: its name on this machine, and its ServiceAccount in a cluster. */
export interface Component {
  readonly user: string;
  readonly serviceAccount: string;
  readonly role: Role;
}

export const COMPONENTS: readonly Component[] = [
  { user: 'system:clrk:controller-manager', serviceAccount: 'clrk-controller-manager', role: controllerManager },
  { user: 'system:clrk:dispatcher', serviceAccount: 'clrk-dispatcher', role: dispatcher },
];

/** Groups of people, by organisation of their certificate. */
const GROUPS: Readonly<Record<string, readonly Role[]>> = {
  'system:masters': [clusterAdmin],
  'clrk:viewers': [coreView, view],
  'clrk:editors': [coreView, view, edit],
};

/** Everything a caller may do. */
export const rulesFor = ({ name, groups }: { readonly name: string; readonly groups: readonly string[] }): readonly PolicyRule[] =>
  [
    basicUser,
    ...COMPONENTS.filter(({ user }) => user === name).map(({ role }) => role),
    ...groups.flatMap((group) => (Object.hasOwn(GROUPS, group) ? GROUPS[group]! : [])),
  ].flatMap(({ rules }) => rules);
