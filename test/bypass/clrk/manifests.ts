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
      additionalTrustBundleSecretRef: { name: 'canary-ca' },
    },
    ...more,
  });

const parentOf = (name: string) => ({ group: 'clrk.apoxy.dev', kind: 'EgressGateway', name });

const aiRoute = (name: string, of: string, models: readonly (readonly string[])[], maxTokensPerDay = 10_000_000): Manifest =>
  object('AIProviderRoute', name, {
    parentRefs: [parentOf(of)],
    rules: models.map((some) => ({
      matches: [{ provider: 'openai', models: some, endpoints: ['/v1/chat/completions'] }],
      filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay } }],
    })),
  });

const credential = (name: string, route: string, secret = 'openai'): Manifest =>
  object('CredentialInjectionPolicy', name, {
    parentRefs: [{ group: 'clrk.apoxy.dev', kind: 'AIProviderRoute', name: route }],
    secretRef: { name: secret },
    secretKey: 'authorization',
    target: 'Header',
    headerName: 'Authorization',
  });

export const deny = (name: string, kind: string, route: string): Manifest =>
  object('EgressDenyPolicy', name, { targetRef: { kind, name: route }, denyResponse: { statusCode: 451, message: 'denied by the suite' } });

/** Longer than any batch. */
const agent = (name: string, refs: readonly string[] = [name], spec: Record<string, unknown> = {}, template: Record<string, unknown> = {}): Manifest =>
  probeAgent(name, { timeout: '150s', egressRefs: refs.map((gatewayRef) => ({ gatewayRef })), ...spec }, template);

const ai = (name: string, ip: string, models: readonly (readonly string[])[] = [['gpt-4.1*']], budget?: number): Manifest[] => [
  gateway(name, { 'api.openai.com': ip }),
  aiRoute(name, name, models, budget),
  credential(name, name),
  agent(name),
];

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
      return [
        gateway('mcp', { 'mcp.test': '203.0.113.11' }),
        object('MCPRoute', 'mcp', {
          parentRefs: [parentOf('mcp')],
          hostnames: ['mcp.test'],
          rules: [{ filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search'] } }] }],
        }),
        agent('mcp'),
      ];
    default:
      return ai(variant, provider);
  }
};
