import { RESOLVABLE } from '../../fixtures/canary/dns.ts';
import type { Step } from '../steps.ts';
import { BAD_CERTIFICATES } from '../../fixtures/canary/places.ts';
import { probeAgent, type Manifest } from '../../e2e/support/manifests.ts';
import type { VariantName } from '../variants.ts';

/** What the policies of `variants.ts` are in the kinds of clrk. An agent and its gateway have the name of the variant. */

const API = 'clrk.apoxy.dev/v1alpha1';

const object = (kind: string, name: string, spec: Record<string, unknown>): Manifest => ({
  apiVersion: API,
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});

const TERMINATE = { name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } };
type Listener = Readonly<Record<string, unknown>>;

const gateway = (
  name: string,
  aliases: Readonly<Record<string, string>>,
  listeners: readonly Listener[] = [TERMINATE],
  more: Record<string, unknown> = {},
): Manifest =>
  object('EgressGateway', name, {
    defaultPolicy: 'deny-all',
    listeners,
    dns: { lookupFamily: 'V4Only' },
    upstreamTLS: {
      hostAliases: Object.entries(Object.groupBy(Object.keys(aliases), (host) => aliases[host]!)).map(([ip, hostnames]) => ({ ip, hostnames })),
      additionalTrustBundleSecretRef: { name: name === 'weak' ? 'weak-ca' : 'canary-ca' },
    },
    ...more,
  });

const parentOf = (name: string) => ({ group: 'clrk.apoxy.dev', kind: 'EgressGateway', name });

/** Each rule has a budget of its own. */
const aiRoute = (name: string, of: string, models: readonly (readonly string[])[], maxTokensPerDay = 10_000_000): Manifest =>
  object('AIProviderRoute', name, {
    parentRefs: [parentOf(of)],
    rules: models.map((some, index) => ({
      matches: [{ provider: 'openai', models: some, endpoints: ['/v1/chat/completions'] }],
      filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay, budgetRef: `${name}-${index}` } }],
    })),
  });

const credential = (name: string, route: string, secret = 'openai', kind = 'AIProviderRoute'): Manifest =>
  object('CredentialInjectionPolicy', name, {
    parentRefs: [{ group: 'clrk.apoxy.dev', kind, name: route }],
    secretRef: { name: secret },
    secretKey: 'authorization',
    target: 'Header',
    headerName: 'Authorization',
  });

export const deny = (name: string, kind: string, route: string): Manifest =>
  object('EgressDenyPolicy', name, {
    targetRef: { group: 'clrk.apoxy.dev', kind, name: route },
    denyResponse: { statusCode: 451, message: 'denied by the suite' },
  });

/** Longer than any batch. */
const agent = (name: string, refs: readonly string[] = [name], spec: Record<string, unknown> = {}, template: Record<string, unknown> = {}): Manifest =>
  probeAgent(name, { timeout: '150s', egressRefs: refs.map((gatewayRef) => ({ gatewayRef })), ...spec }, template);

const ai = (name: string, ip: string, models: readonly (readonly string[])[] = [['gpt-4.1*']], budget?: number): Manifest[] => [
  gateway(name, { 'api.openai.com': ip }),
  aiRoute(name, name, models, budget),
  credential(name, name),
  agent(name),
];

const TLS_443 = { ...TERMINATE, port: 443 };
const HTTP_80 = { name: 'cleartext', protocol: 'HTTP', port: 80 };
const TCP = { name: 'raw', protocol: 'TCP' };
const UDP = { name: 'datagrams', protocol: 'UDP' };
const PASSTHROUGH = { name: 'passthrough', protocol: 'TLS', tls: { mode: 'Passthrough' } };

const ports = (...all: readonly number[]) => all.map((port) => ({ port }));
type Match = Readonly<Record<string, unknown>>;
const l4 = (name: string, of: string, matches: readonly Match[], filters: readonly object[] = []): Manifest =>
  object('EgressL4Route', name, { parentRefs: [parentOf(of)], rules: [{ matches, ...(filters.length > 0 ? { filters } : {}) }] });

const l4Variant = (name: string, listeners: readonly Listener[], matches: readonly Match[]): Manifest[] => [
  gateway(name, {}, listeners),
  l4(name, name, matches),
  agent(name),
];

const MCP_URL = 'https://mcp.test/mcp';
const mcpRoute = (of: string): Manifest =>
  object('MCPRoute', of, {
    parentRefs: [parentOf(of)],
    hostnames: ['mcp.test'],
    rules: [
      { matches: [{ servers: [MCP_URL], methods: ['tools/list', 'tools/call'] }], filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search'] } }] },
      { matches: [{ servers: [MCP_URL], resources: ['notes://*'] }] },
    ],
  });

/** Names of the canary zone that policies may admit. */
const ZONE = [...RESOLVABLE].filter((name) => !['other.test', 'mcp.test', 'api.openai.com'].includes(name) && !name.endsWith('wild.test'));

/** Makes what is in EARLY before it reads its event. */
export const earlyAgent = (name: string, of: string, step: Step): Manifest =>
  agent(name, [of], { warmPoolSize: 1 }, { env: [{ name: 'EARLY', value: JSON.stringify(step) }] });

/** Manifests of each variant, given the address of the provider. */
export const manifestsOf = (variant: VariantName, provider: string): Manifest[] => {
  switch (variant) {
    case 'nothing':
      return [agent('nothing', [])];
    case 'two':
      return [...ai('two', provider), aiRoute('two-second', 'two', [['gpt-4o*']]), credential('two-second', 'two-second', 'second')];
    case 'denied':
      return [...ai('denied', provider), deny('denied', 'AIProviderRoute', 'denied')];
    case 'budget':
      return ai(
        'budget',
        provider,
        [['gpt-4.1'], ['gpt-4.1-mini'], ['gpt-4.1-nano'], ['gpt-4o'], ['gpt-4o-mini'], ['gpt-4.1-slow'], ['gpt-4.1-cut'], ['gpt-4.1-broken']],
        400,
      );
    case 'expired':
    case 'wrong-name':
    case 'unknown-ca':
    case 'weak':
      return ai(variant, BAD_CERTIFICATES[variant]);
    case 'mcp':
      return [gateway('mcp', { 'mcp.test': '203.0.113.11' }), mcpRoute('mcp'), credential('mcp', 'mcp', 'second', 'MCPRoute'), agent('mcp')];
    case 'tcp':
      return l4Variant(
        'tcp',
        [TCP],
        [
          { destinationCIDRs: ['203.0.113.10/32'], ports: [...ports(7, 25), { startPort: 8440, endPort: 8445 }] },
          { destinationHostnames: ['allowed.test'], ports: ports(7, 25) },
        ],
      );
    case 'names':
      return l4Variant('names', [TLS_443, HTTP_80], [{ destinationHostnames: ZONE, ports: ports(443, 80) }]);
    case 'passthrough':
      return l4Variant(
        'passthrough',
        [PASSTHROUGH],
        [
          { destinationHostnames: ['allowed.test', 'second.test'], ports: ports(443) },
          { destinationCIDRs: ['203.0.113.11/32'], ports: ports(443) },
        ],
      );
    case 'wild':
      return l4Variant('wild', [TERMINATE], [{ destinationHostnames: ['*.wild.test'], ports: ports(443) }]);
    case 'ranges':
      return l4Variant(
        'ranges',
        [TLS_443, TCP],
        [
          { destinationCIDRs: ['10.99.0.0/24', '169.254.0.0/16', '127.0.0.0/8', '100.64.0.0/10', '10.213.0.0/30'] },
          { destinationHostnames: ['private.test', 'allowed.test'], destinationCIDRs: ['10.99.0.0/24'], ports: ports(443) },
        ],
      );
    case 'udp':
      return l4Variant(
        'udp',
        [UDP],
        [
          { destinationCIDRs: ['203.0.113.10/32'], ports: ports(7), protocol: 'UDP' },
          { destinationHostnames: ['allowed.test'], ports: ports(7), protocol: 'UDP' },
        ],
      );
    case 'claims':
      return [
        gateway('claims', { 'api.openai.com': provider }, [TLS_443, HTTP_80, TCP]),
        aiRoute('claims', 'claims', [['gpt-4.1*']]),
        credential('claims', 'claims'),
        mcpRoute('claims'),
        l4('claims', 'claims', [{ destinationHostnames: ['api.openai.com', 'mcp.test', 'allowed.test'] }, {}]),
        agent('claims'),
      ];
    case 'all':
      return [
        gateway('all', { 'api.openai.com': provider }, [TLS_443, HTTP_80, TCP], { defaultPolicy: 'allow-all' }),
        aiRoute('all', 'all', [['gpt-4.1*']]),
        credential('all', 'all'),
        mcpRoute('all'),
        l4('all-denied', 'all', [{ destinationHostnames: ['denied.test'] }]),
        deny('all-denied', 'EgressL4Route', 'all-denied'),
        agent('all'),
      ];
    case 'agents':
      return [
        gateway('agents', {}),
        l4('agents', 'agents', [{ destinationHostnames: ['allowed.test'], ports: ports(443), sourceAgents: { matchLabels: { app: 'friend' } } }]),
        agent('agents'),
      ];
    case 'friend': {
      const friend = agent('friend', ['agents']);
      return [{ ...friend, metadata: { ...friend.metadata, labels: { app: 'friend' } } }];
    }
    case 'denied-names':
      return [
        gateway('denied-names', {}),
        l4('denied-names-open', 'denied-names', [{ destinationHostnames: ['allowed.test'], ports: ports(443) }]),
        l4('denied-names', 'denied-names', [{ destinationHostnames: ['allowed.test'], ports: ports(443) }]),
        deny('denied-names', 'EgressL4Route', 'denied-names'),
        l4(
          'denied-names-extension',
          'denied-names',
          [{ destinationHostnames: ['second.test'], ports: ports(443) }],
          [{ type: 'ExtensionRef', extensionRef: { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'missing' } }],
        ),
        agent('denied-names'),
      ];
    default:
      return ai(variant, provider);
  }
};
