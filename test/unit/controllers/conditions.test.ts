import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  agentSandboxRevisions,
  aiProviderRoutes,
  CLRK_KINDS,
  credentialInjectionPolicies,
  daemonAgents,
  egressDenyPolicies,
  egressGateways,
  egressL4Routes,
  loggingPolicies,
  mcpRoutes,
  namespaces,
  rateLimitPolicies,
  secrets,
  taskAgents,
  workerPools,
  type Condition,
  type Kind,
  type KubeObject,
} from '#api';
import type { Writable } from '#kube';
import { startCluster, type Cluster } from './cluster.ts';
import { eventually } from './objects.ts';

/** What each kind says in each situation: one namespace a row, all at once on one cluster. */

type Spec = Record<string, unknown>;
interface Row {
  readonly kind: Kind;
  readonly situation: string;
  readonly spec: Spec;
  /** What is there besides, in order. */
  readonly others?: readonly (readonly [Kind, string, Spec])[];
  /** `TYPE=STATUS/REASON` of the object, or of its first parent or target. */
  readonly conditions: readonly string[];
  /** In the message of one of these. */
  readonly text?: string;
  /** Not of the object `x`, but of what the controller makes of it. */
  readonly name?: string;
  /** A worker of the namespace's pool that reports this. */
  readonly worker?: (namespace: string) => object;
}

const agent = (more: Spec = {}): Spec => ({ workerPoolRef: 'p', template: { spec: { image: 'demo:1' } }, ...more });
const POOL = [workerPools, 'p', { template: { image: 'w' } }] as const;
const TLS = { name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } };
const GATEWAY = [egressGateways, 'g', { listeners: [TLS] }] as const;
const parent = { kind: 'EgressGateway', name: 'g' };
const aiRoute = (rule: Spec = {}, more: Spec = {}): Spec => ({ parentRefs: [parent], rules: [{ matches: [{ provider: 'openai' }], ...rule }], ...more });
const ROUTE = [aiProviderRoutes, 'r', aiRoute()] as const;
const SECRET = [secrets, 's', { stringData: { token: 'Bearer x' } }] as const;
const inject = (more: Spec = {}): Spec => ({
  parentRefs: [{ kind: 'AIProviderRoute', name: 'r' }],
  secretRef: { name: 's' },
  target: 'Header',
  headerName: 'Authorization',
  ...more,
});
const deny = (kind = 'AIProviderRoute', name = 'r', more: Spec = {}): Spec => ({ targetRef: { group: 'clrk.apoxy.dev', kind, name, ...more } });
const extension = (kind: string, name = 'e') => ({ filters: [{ type: 'ExtensionRef', extensionRef: { group: 'clrk.apoxy.dev', kind, name } }] });
const image = (revision: string, reason = '', digest = '') => ({ revision, ready: reason === '', digest, reason, message: reason && 'It is told.' });
const ready = (namespace: string) => ({ images: [image(`${namespace}/x-00001`, '', `sha256:${'a'.repeat(64)}`)] });

const mcp = (rule: Spec = {}, more: Spec = {}): Spec => ({
  parentRefs: [parent],
  rules: [{ matches: [{ servers: ['https://mcp.example/*'], tools: ['a*'] }], ...rule }],
  ...more,
});
const l4 = (rule: Spec = {}, more: Spec = {}): Spec => ({
  parentRefs: [parent],
  rules: [{ matches: [{ destinationCIDRs: ['10.0.0.0/8'] }], ...rule }],
  ...more,
});

/** The same for every kind of route. */
const routeRows = (kind: Kind, spec: typeof mcp, fine: readonly string[], notBuilt: readonly string[]): Row[] => [
  { kind, situation: 'all is there', spec: spec(), others: [GATEWAY], conditions: fine },
  { kind, situation: 'its gateway is missing', spec: spec(), conditions: ['Accepted=False/NoMatchingParent'], text: 'EgressGateway g' },
  {
    kind,
    situation: 'the gateway has no such listener',
    spec: spec({}, { parentRefs: [{ ...parent, sectionName: 'nope' }] }),
    others: [GATEWAY],
    conditions: ['Accepted=False/NoMatchingParent'],
    text: 'nope',
  },
  {
    kind,
    situation: 'its parent is no gateway',
    spec: spec({}, { parentRefs: [{ kind: 'Service', name: 'g' }] }),
    conditions: ['Accepted=False/InvalidKind'],
    text: 'Service',
  },
  {
    kind,
    situation: 'its parent is in another namespace',
    spec: spec({}, { parentRefs: [{ ...parent, namespace: 'elsewhere' }] }),
    conditions: ['Accepted=False/NoMatchingParent'],
    text: 'namespace elsewhere',
  },
  {
    kind,
    situation: 'a filter refers to a policy that is missing',
    spec: spec(extension('RateLimitPolicy')),
    others: [GATEWAY],
    conditions: ['ResolvedRefs=False/ExtensionNotFound', 'Enforced=False/NotBuilt'],
    text: 'spec.rules[0].filters[0].extensionRef: there is no RateLimitPolicy e',
  },
  {
    kind,
    situation: 'a filter refers to a policy that came later',
    spec: spec(extension('LoggingPolicy')),
    others: [GATEWAY, [loggingPolicies, 'e', {}]],
    conditions: notBuilt,
  },
  {
    kind,
    situation: 'a backend is missing',
    spec: spec({ backendRefs: [{ group: 'clrk.apoxy.dev', kind: 'Backend', name: 'b' }] }),
    others: [GATEWAY],
    conditions: ['ResolvedRefs=False/BackendNotFound', 'Enforced=False/NotBuilt'],
    text: 'Backend b',
  },
  {
    kind,
    situation: 'a backend is a Service',
    spec: spec({ backendRefs: [{ name: 'b' }] }),
    others: [GATEWAY],
    conditions: ['ResolvedRefs=False/InvalidKind'],
    text: 'Service',
  },
];

const agentRows = (kind: Kind, last: string): Row[] => [
  { kind, situation: 'its pool is missing', spec: agent(), conditions: ['Ready=False/WorkerPoolNotFound'], text: 'WorkerPool p (spec.workerPoolRef)' },
  {
    kind,
    situation: 'a gateway is missing',
    spec: agent({ egressRefs: [{ gatewayRef: 'g' }] }),
    others: [POOL],
    conditions: ['Ready=False/EgressGatewayNotFound'],
    text: 'EgressGateway g (spec.egressRefs)',
  },
  {
    kind,
    situation: 'its pin names nothing',
    spec: agent({ revisionName: 'x-00009' }),
    others: [POOL],
    conditions: ['Ready=False/RevisionNotFound'],
    text: 'x-00009',
  },
  { kind, situation: 'all is there', spec: agent(), others: [POOL], worker: ready, conditions: [last] },
  {
    kind,
    situation: 'its template has labels that are none',
    spec: agent({ template: { metadata: { labels: { 'no label': 'x' } }, spec: { image: 'demo:1' } } }),
    others: [POOL],
    conditions: ['Ready=False/RevisionInvalid'],
    text: 'metadata.labels',
  },
];

const ROWS: readonly Row[] = [
  ...agentRows(taskAgents, 'Ready=True/RevisionReady'),
  {
    kind: taskAgents,
    situation: 'its pool has no workers',
    spec: agent(),
    others: [[workerPools, 'p', { template: { image: 'w' }, replicas: 0 }]],
    conditions: ['Ready=False/PoolScaledToZero'],
  },
  {
    kind: taskAgents,
    situation: 'its pool runs nothing',
    spec: agent(),
    others: [[workerPools, 'p', { template: { image: 'w' }, maxExecutionsPerWorker: 0 }]],
    conditions: ['Ready=False/PoolAdmitsNothing'],
  },
  { kind: taskAgents, situation: 'no worker is there', spec: agent(), others: [POOL], conditions: ['Ready=False/RevisionNotReady'], text: 'NoWorker' },
  {
    kind: taskAgents,
    situation: 'its image is missing',
    spec: agent(),
    others: [POOL],
    worker: (namespace) => ({ images: [image(`${namespace}/x-00001`, 'ImageNotFound')] }),
    conditions: ['Ready=False/RevisionNotReady', 'Enforced=True/Enforced'],
    text: 'ImageNotFound: It is told.',
  },
  {
    kind: taskAgents,
    situation: 'a field is not built',
    spec: agent({ schedule: '@daily' }),
    others: [POOL],
    worker: ready,
    conditions: ['Ready=True/RevisionReady', 'Enforced=False/NotBuilt'],
    text: 'spec.schedule',
  },
  {
    kind: taskAgents,
    situation: 'a field that a run needs is not built',
    spec: agent({ state: {} }),
    others: [POOL],
    worker: ready,
    conditions: ['Ready=False/NotBuilt'],
    text: 'spec.state',
  },

  ...agentRows(daemonAgents, 'Ready=False/NotBuilt'),

  {
    kind: agentSandboxRevisions,
    name: 'x-00001',
    situation: 'no worker is there',
    spec: agent(),
    others: [POOL],
    conditions: ['Ready=False/NoWorker', 'Active=False/Pending'],
  },
  {
    kind: agentSandboxRevisions,
    name: 'x-00001',
    situation: 'no worker is as far',
    spec: agent(),
    others: [POOL],
    worker: () => ({}),
    conditions: ['Ready=False/ImagePending', 'Active=False/Pending'],
  },
  {
    kind: agentSandboxRevisions,
    name: 'x-00001',
    situation: 'it does not start',
    spec: agent(),
    others: [POOL],
    worker: (namespace) => ({ images: [image(`${namespace}/x-00001`, 'StartFailed', 'sha256:x')] }),
    conditions: ['Ready=False/StartFailed', 'Active=False/Pending'],
    text: 'It is told.',
  },
  {
    kind: agentSandboxRevisions,
    name: 'x-00001',
    situation: 'it starts',
    spec: agent(),
    others: [POOL],
    worker: ready,
    conditions: ['Ready=True/SandboxStarts', 'Active=True/Serving'],
  },

  {
    kind: workerPools,
    situation: 'no worker is there',
    spec: { template: { image: 'w' } },
    conditions: ['Available=False/NoWorker', 'Progressing=True/WorkersStarting', 'Placement=False/OneMachine'],
  },
  {
    kind: workerPools,
    situation: 'it has no workers',
    spec: { template: { image: 'w' }, replicas: 0 },
    conditions: ['Available=False/ScaledToZero', 'Progressing=False/Complete', 'Enforced=True/Enforced'],
  },
  {
    kind: workerPools,
    situation: 'a field is not built',
    spec: { template: { image: 'w' }, imageCache: {} },
    conditions: ['Enforced=False/NotBuilt'],
    text: 'spec.imageCache',
  },

  { kind: egressGateways, situation: 'no worker is there', spec: GATEWAY[2], conditions: ['Ready=False/GatewayNotProgrammed'], text: 'No worker' },
  {
    kind: egressGateways,
    situation: 'no egress has answered',
    spec: GATEWAY[2],
    others: [POOL],
    worker: () => ({}),
    conditions: ['Ready=False/GatewayNotProgrammed', 'Enforced=True/Enforced'],
    text: 'not acknowledged',
  },
  {
    kind: egressGateways,
    situation: 'the Secret of its trust is missing',
    spec: { listeners: [TLS], upstreamTLS: { additionalTrustBundleSecretRef: { name: 's' } } },
    conditions: ['Ready=False/SecretNotFound'],
    text: 'Secret s',
  },

  ...routeRows(
    aiProviderRoutes,
    aiRoute,
    ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
    ['Accepted=True/Accepted', 'ResolvedRefs=False/NotBuilt', 'Enforced=False/NotBuilt'],
  ),
  {
    kind: aiProviderRoutes,
    situation: 'no listener of the gateway fits',
    spec: aiRoute(),
    others: [[egressGateways, 'g', { listeners: [{ name: 'tcp', protocol: 'TCP' }] }]],
    conditions: ['Accepted=False/NotAllowedByListeners'],
  },
  {
    kind: aiProviderRoutes,
    situation: 'a filter refers to what is no policy for filters',
    spec: aiRoute(extension('EgressDenyPolicy')),
    others: [GATEWAY],
    conditions: ['ResolvedRefs=False/InvalidKind'],
  },
  {
    kind: aiProviderRoutes,
    situation: 'a budget that is shared',
    spec: aiRoute({ filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay: 5, budgetRef: 'team' } }] }),
    others: [GATEWAY],
    conditions: ['ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
  },
  ...routeRows(
    mcpRoutes,
    mcp,
    ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
    ['Accepted=True/Accepted', 'ResolvedRefs=False/NotBuilt', 'Enforced=False/NotBuilt'],
  ),
  {
    kind: mcpRoutes,
    situation: 'it names no host',
    spec: mcp({ matches: [{ tools: ['a*'] }] }),
    others: [GATEWAY],
    conditions: ['Accepted=False/UnsupportedValue'],
    text: 'spec.hostnames',
  },
  {
    kind: mcpRoutes,
    situation: 'a server is at another host',
    spec: mcp({}, { hostnames: ['other.example'] }),
    others: [GATEWAY],
    conditions: ['Accepted=False/UnsupportedValue'],
    text: 'spec.rules[0].matches[0].servers[0]',
  },
  {
    kind: mcpRoutes,
    situation: 'a tool needs the approval of a person',
    spec: mcp({ filters: [{ type: 'ToolPolicy', toolPolicy: { requireConfirmation: ['a1'] } }] }),
    others: [GATEWAY],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=False/NotBuilt'],
    text: 'spec.rules[0].filters[0].toolPolicy.requireConfirmation',
  },
  ...routeRows(
    egressL4Routes,
    l4,
    ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
    ['Accepted=True/Accepted', 'ResolvedRefs=False/NotBuilt', 'Enforced=False/NotBuilt'],
  ),
  {
    kind: egressL4Routes,
    situation: 'no listener of the gateway takes UDP',
    spec: l4({ matches: [{ protocol: 'UDP', destinationHostnames: ['ntp.example'], ports: [{ port: 123 }] }] }),
    others: [GATEWAY],
    conditions: ['Accepted=False/NotAllowedByListeners'],
    text: 'need a listener with protocol UDP',
  },

  {
    kind: credentialInjectionPolicies,
    situation: 'all is there',
    spec: inject(),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=True/Accepted', 'Conflicted=False/NoConflict', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'its route is missing',
    spec: inject(),
    others: [SECRET],
    conditions: ['Accepted=False/TargetNotFound'],
    text: 'AIProviderRoute r',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'its gateway is missing',
    spec: inject({ parentRefs: [parent] }),
    others: [SECRET],
    conditions: ['Accepted=False/TargetNotFound'],
    text: 'EgressGateway g',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a whole gateway',
    spec: inject({ parentRefs: [parent] }),
    others: [GATEWAY, SECRET],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
    text: 'that no narrower policy is for',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a section, which would be a Backend',
    spec: inject({ parentRefs: [{ kind: 'AIProviderRoute', name: 'r', sectionName: 'b' }] }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=False/NotBuilt', 'Enforced=False/NotBuilt'],
    text: 'applies to no request at b',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a port, which nothing of a route is for',
    spec: inject({ parentRefs: [{ kind: 'AIProviderRoute', name: 'r', port: 443 }] }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=False/UnsupportedValue', 'Enforced=True/Enforced'],
    text: 'spec.parentRefs[0].port is 443',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a query parameter, with whole answers searched',
    spec: inject({ target: 'QueryParam', headerName: undefined, queryParamName: 'key', redactResponses: true }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'Enforced=True/Enforced'],
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a Secret without the keys of AWS',
    spec: inject({ target: 'ProviderAuth', headerName: undefined, providerAuth: { type: 'AWSv4' } }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=False/SecretKeyNotFound', 'Enforced=True/Enforced'],
    text: 'access_key_id',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'a Secret that is no key file of a service account',
    spec: inject({ target: 'ProviderAuth', headerName: undefined, providerAuth: { type: 'GCPServiceAccount' } }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=False/SecretValueInvalid'],
    text: 'key file of a service account',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'its target is in another namespace',
    spec: inject({ parentRefs: [{ kind: 'AIProviderRoute', name: 'r', namespace: 'elsewhere' }] }),
    others: [ROUTE, SECRET],
    conditions: ['Accepted=False/RefNotPermitted'],
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'its Secret is missing',
    spec: inject(),
    others: [ROUTE],
    conditions: ['Accepted=True/Accepted', 'ResolvedRefs=False/SecretNotFound'],
    text: 'Secret s',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'its Secret lacks the key',
    spec: inject({ secretKey: 'k' }),
    others: [ROUTE, SECRET],
    conditions: ['ResolvedRefs=False/SecretKeyNotFound'],
    text: 'k',
  },
  {
    kind: credentialInjectionPolicies,
    situation: 'an older one is there',
    spec: inject(),
    others: [ROUTE, SECRET, [credentialInjectionPolicies, 'a', inject()]],
    conditions: ['Accepted=False/Conflicted', 'Conflicted=True/Conflicted'],
    text: 'CredentialInjectionPolicy a',
  },

  {
    kind: egressDenyPolicies,
    situation: 'all is there',
    spec: deny(),
    others: [ROUTE],
    conditions: ['Accepted=True/Accepted', 'Conflicted=False/NoConflict', 'Enforced=True/Enforced'],
  },
  ...(['AIProviderRoute', 'MCPRoute', 'EgressL4Route'] as const).map((kind): Row => ({
    kind: egressDenyPolicies,
    situation: `its ${kind} is missing`,
    spec: deny(kind),
    conditions: ['Accepted=False/TargetNotFound'],
    text: `${kind} r`,
  })),
  {
    kind: egressDenyPolicies,
    situation: 'an older one is there',
    spec: deny(),
    others: [ROUTE, [egressDenyPolicies, 'a', deny()]],
    conditions: ['Accepted=False/Conflicted', 'Conflicted=True/Conflicted'],
    text: 'EgressDenyPolicy a',
  },

  ...[rateLimitPolicies, loggingPolicies].flatMap((kind): Row[] => {
    const spec = kind === rateLimitPolicies ? { requests: 5, window: '1m' } : { captureRequest: true };
    return [
      { kind, situation: 'nothing refers to it', spec, conditions: ['Accepted=False/Pending', 'Enforced=False/NotBuilt'] },
      {
        kind,
        situation: 'a route refers to it',
        spec,
        others: [[mcpRoutes, 'r', mcp(extension(kind.kind, 'x'))]],
        conditions: ['Accepted=True/Accepted', 'Enforced=False/NotBuilt'],
        text: 'MCPRoute r',
      },
    ];
  }),
];

interface Told extends KubeObject {
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly parents?: readonly { readonly conditions?: readonly Condition[] }[];
    readonly ancestors?: readonly { readonly conditions?: readonly Condition[] }[];
  };
}
const conditionsOf = ({ status }: Told): readonly Condition[] =>
  status?.conditions ?? status?.parents?.[0]?.conditions ?? status?.ancestors?.[0]?.conditions ?? [];

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster[Symbol.asyncDispose]());

const create = (kind: Kind, namespace: string, name: string, spec: Spec) =>
  cluster.client.create(kind, { metadata: { namespace, name }, ...(kind === (secrets as Kind) ? spec : { spec }) } as Writable);

test.each(ROWS.map((row, index) => ({ ...row, label: `${row.kind.kind}: ${row.situation}`, namespace: `row-${index}` })))('$label', async (row) => {
  const { kind, namespace, name = 'x', others = [], worker } = row;
  await cluster.client.create(namespaces, { metadata: { name: namespace } });
  // What competes is older: what is as old goes by name, and `a` comes before `x`.
  const made = kind === (agentSandboxRevisions as Kind) ? (taskAgents as Kind) : kind;
  const rivals = others.filter(([other]) => other === made);
  for (const [other, called, spec] of rivals) await create(other, namespace, called, spec);
  const object = await create(made, namespace, 'x', row.spec);
  for (const [other, called, spec] of others) if (other !== made) await create(other, namespace, called, spec);
  if (worker) cluster.desired.worker(namespace, { pool: `${namespace}/p`, ...worker(namespace) });

  const told = await eventually(
    cluster.client,
    kind as Kind<Told>,
    name,
    (current) => {
      const conditions = conditionsOf(current);
      const seen = conditions.map(({ type, status, reason }) => `${type}=${status}/${reason}`);
      return row.conditions.every((wanted) => seen.includes(wanted)) && (!row.text || conditions.some(({ message }) => message.includes(row.text!)));
    },
    namespace,
  );
  const generation = kind === made ? object.metadata.generation : 1;
  for (const { type, observedGeneration, message, status } of conditionsOf(told)) {
    expect({ type, observedGeneration }).toEqual({ type, observedGeneration: generation });
    if (status === 'False' && type !== 'Conflicted') expect(message, `${type} says why`).toMatch(/\.$/);
  }
});

test('every kind is in the table', () => {
  expect(CLRK_KINDS.filter((kind) => !ROWS.some((row) => row.kind === kind)).map(({ kind }) => kind)).toEqual([]);
});
