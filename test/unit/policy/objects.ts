import type { AIProviderRoute, CredentialInjectionPolicy, EgressDenyPolicy, EgressGateway, EgressL4Route, MCPRoute } from '#api';
import { compileGateway, type CompiledGateway, type CompileInput } from '#policy';

/** Objects as the API server stores them, for tests of policy and engine. */
const apiVersion = 'clrk.apoxy.dev/v1alpha1';
const meta = (name: string, created: string, namespace = 'demo') => ({ name, namespace, creationTimestamp: created });

export const gateway = (spec: Partial<EgressGateway['spec']> = {}): EgressGateway => ({
  apiVersion,
  kind: 'EgressGateway',
  metadata: meta('egress', '2026-01-01T00:00:00Z'),
  spec: { defaultPolicy: 'deny-all', listeners: [{ name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate' } }], ...spec },
});

export const route = (spec: Partial<AIProviderRoute['spec']> = {}, name = 'openai', created = '2026-01-02T00:00:00Z', namespace = 'demo'): AIProviderRoute => ({
  apiVersion,
  kind: 'AIProviderRoute',
  metadata: meta(name, created, namespace),
  spec: { parentRefs: [{ kind: 'EgressGateway', name: 'egress' }], rules: [{ matches: [{ provider: 'openai' }] }], ...spec },
});

type L4Rules = EgressL4Route['spec']['rules'];
export type L4MatchSpec = NonNullable<L4Rules[number]['matches']>[number];

export const l4Route = (spec: Partial<EgressL4Route['spec']> = {}, name = 'l4', created = '2026-01-02T00:00:00Z', namespace = 'demo'): EgressL4Route => ({
  apiVersion,
  kind: 'EgressL4Route',
  metadata: meta(name, created, namespace),
  spec: { parentRefs: [{ kind: 'EgressGateway', name: 'egress' }], rules: [{ matches: [{}] }], ...spec },
});

export const mcpRoute = (spec: Partial<MCPRoute['spec']> = {}, name = 'mcp', created = '2026-01-02T00:00:00Z', namespace = 'demo'): MCPRoute => ({
  apiVersion,
  kind: 'MCPRoute',
  metadata: meta(name, created, namespace),
  spec: { parentRefs: [{ kind: 'EgressGateway', name: 'egress' }], rules: [{ matches: [{}] }], ...spec },
});

export const credentialPolicy = (
  spec: Partial<CredentialInjectionPolicy['spec']> = {},
  name = 'key',
  created = '2026-01-03T00:00:00Z',
): CredentialInjectionPolicy => ({
  apiVersion,
  kind: 'CredentialInjectionPolicy',
  metadata: meta(name, created),
  spec: {
    parentRefs: [{ kind: 'AIProviderRoute', name: 'openai' }],
    secretRef: { name: 'provider' },
    secretKey: 'token',
    target: 'Header',
    headerName: 'Authorization',
    ...spec,
  },
});

export const denyPolicy = (spec: EgressDenyPolicy['spec'], name = 'freeze', created = '2026-01-04T00:00:00Z', namespace = 'demo'): EgressDenyPolicy => ({
  apiVersion,
  kind: 'EgressDenyPolicy',
  metadata: meta(name, created, namespace),
  spec,
});

export const SECRETS: Readonly<Record<string, Readonly<Record<string, string>>>> = { provider: { token: 'Bearer sk-real' } };

export const compile = (input: Partial<CompileInput> = {}): CompiledGateway =>
  compileGateway({
    gateway: gateway(),
    aiRoutes: [route()],
    credentialPolicies: [credentialPolicy()],
    mcpRoutes: [],
    l4Routes: [],
    denyPolicies: [],
    configMap: () => undefined,
    exists: () => true,
    agents: new Map(),
    namespaceLabels: () => undefined,
    secret: (name) => SECRETS[name],
    ...input,
  });

export const budget = (maxTokensPerDay: number) => ({ type: 'TokenBudget' as const, tokenBudget: { maxTokensPerDay } });
