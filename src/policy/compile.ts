import { egressGateways, notBuiltFields } from '#api';
import type { AIProviderRoute, CredentialInjectionPolicy, EgressDenyPolicy, EgressGateway, EgressL4Route, MCPRoute } from '#api';
import { canonicalJson, textRevision } from '#lib';
import type { AiRoute, CredentialValue, ListenerShape, ObjectKey, PolicyListener, PolicySet, PriceList } from '#model';
import { keyOf, no, notBuiltOfRoute, sortedByAge, yes, type ConditionState, type Exists, type RouteParent, type SecretLookup } from './attach.ts';
import { attach, type Fit, type GatewayListeners, type RouteKind } from './attach-listeners.ts';
import { AI_PORT } from './claimed.ts';
import { aiRemarks, compileAiRule, hostsOf, portProblem } from './compile-ai.ts';
import { capsMoney } from './compile-budgets.ts';
import type { AgentLabels } from './compile-l4.ts';
import { l4RouteCompiler, type CompiledL4Route } from './compile-l4-route.ts';
import { compileMcpRoutes } from './compile-mcp-routes.ts';
import { aliasesOf, timeoutOf, trustBundleOf, type CompileProblem } from './compile-upstream.ts';
import { credentialClaims, credentialOfGateway } from './credentials.ts';
import { denialOn, denialsOf } from './deny.ts';
import { judgingBasis, judgingState } from './judging-route.ts';
import { idleListeners } from './listener-conflicts.ts';
import { TERMINATES } from './listeners.ts';
import { compilePrices, PRICES_CONFIG_MAP } from './price-overrides.ts';
import type { Labels } from './selector.ts';

/** One gateway and what may attach to it, of whatever namespace. */
export interface CompileInput {
  readonly gateway: EgressGateway;
  readonly aiRoutes: readonly AIProviderRoute[];
  readonly mcpRoutes: readonly MCPRoute[];
  readonly l4Routes: readonly EgressL4Route[];
  readonly credentialPolicies: readonly CredentialInjectionPolicy[];
  readonly denyPolicies: readonly EgressDenyPolicy[];
  readonly secret: SecretLookup;
  /** Data of a ConfigMap; undefined when there is none. */
  readonly configMap: SecretLookup;
  readonly exists: Exists;
  readonly agents: AgentLabels;
  /** Labels of a namespace; undefined when it is not known. */
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
}

/** A route with references to the gateway, and the state of just these references. */
export interface CompiledRoute {
  readonly kind: RouteKind;
  readonly key: ObjectKey;
  readonly parents: readonly RouteParent[];
}

export interface CompiledListener {
  readonly name: string;
  readonly attachedRoutes: number;
  readonly accepted: ConditionState;
  /** True when it can never take anything. */
  readonly conflicted: ConditionState;
}

export interface CompiledGateway {
  readonly policySet: PolicySet;
  /** Values of the credentials the set names; they travel beside it, never in it. */
  readonly credentials: readonly CredentialValue[];
  readonly routes: readonly CompiledRoute[];
  readonly listeners: readonly CompiledListener[];
  /** Fields of the gateway that are set and not built, as JSON paths. */
  readonly notBuilt: readonly string[];
  /** What of the gateway could not be used and was left out. */
  readonly errors: readonly CompileProblem[];
}

const AI: Fit = { kind: 'AIProviderRoute', fits: (shape) => TERMINATES.has(shape), needs: 'an AIProviderRoute needs one that terminates TLS' };

const shapeOf = ({ protocol, tls }: EgressGateway['spec']['listeners'][number]): ListenerShape => {
  if (protocol === 'TLS') return tls?.mode === 'Terminate' ? 'tls-terminate' : 'tls-passthrough';
  return ({ HTTPS: 'https', HTTP: 'http', TCP: 'tcp', UDP: 'udp' } as const)[protocol];
};

const compileListeners = (gateway: EgressGateway): readonly PolicyListener[] =>
  gateway.spec.listeners.map((listener) => ({ name: listener.name, shape: shapeOf(listener), ...(listener.port !== undefined && { port: listener.port }) }));

const conflictOf = (takers: readonly string[] | undefined, port: number | undefined): ConditionState => {
  if (!takers) return no('NoConflicts', '');
  const where = port === undefined ? 'on every port' : `on port ${port}`;
  const fix = 'Give it a route of its own (parentRefs[].sectionName), or another port.';
  return yes('Conflicted', `It never takes a connection: listener ${takers.join(' and ')} goes first ${where}, and has every route it has. ${fix}`);
};

/** Everything one gateway does, and the state of whatever attaches to it. A function of its input alone, linear in its size. */
export const compileGateway = (input: CompileInput): CompiledGateway => {
  const { gateway, secret } = input;
  const key = keyOf(gateway);
  const errors: CompileProblem[] = [];
  const notBuilt = notBuiltFields(egressGateways, gateway);
  const listeners = compileListeners(gateway);
  const at: GatewayListeners = { gateway, listeners, namespaceLabels: input.namespaceLabels };
  const denials = denialsOf(input.denyPolicies);
  const routes: CompiledRoute[] = [];
  const attachedRoutes = new Map<string, number>();
  const count = (names: readonly string[]): void => names.forEach((name) => attachedRoutes.set(name, (attachedRoutes.get(name) ?? 0) + 1));

  const ai = compileAiRoutes(input, at, denials, routes);
  ai.routes.forEach((route) => count(route.listeners));
  const l4 = compileL4Routes(input, at, denials);
  routes.push(...l4.flatMap(({ states }) => states ?? []));
  const l4Routes = l4.flatMap(({ route }) => route ?? []);
  l4Routes.forEach((route) => count(route.listeners));
  const mcp = compileMcpRoutes(input, at, denials);
  routes.push(...mcp.states);
  mcp.routes.forEach((route) => count(route.listeners));

  const credential = credentialOfGateway(key, credentialClaims(input.credentialPolicies), secret);
  const content: Omit<PolicySet, 'revision'> = {
    gateway: key,
    defaultPolicy: gateway.spec.defaultPolicy,
    listeners,
    requestTimeoutMs: timeoutOf(gateway),
    lookupFamily: gateway.spec.dns?.lookupFamily ?? 'V4Preferred',
    hostAliases: aliasesOf(gateway, errors),
    trustBundle: trustBundleOf(gateway, secret, errors),
    mcpRoutes: mcp.routes,
    aiRoutes: ai.routes,
    l4Routes,
    ...(Object.keys(ai.prices).length > 0 && { prices: ai.prices }),
    ...(credential && { credential: credential.use }),
  };
  const values = new Map([...mcp.credentials, ...ai.credentials].map(({ name, value }) => [name, value]));
  if (credential?.value !== undefined) values.set(credential.use.credential, credential.value);
  const policySet = { ...content, revision: revisionOf(content, l4) };
  const idle = idleListeners(policySet);
  return {
    policySet,
    credentials: [...values].map(([name, value]) => ({ name, value })),
    routes,
    listeners: listeners.map(({ name, port }) => ({
      name,
      attachedRoutes: attachedRoutes.get(name) ?? 0,
      accepted: yes('Accepted'),
      conflicted: conflictOf(idle.get(name), port),
    })),
    notBuilt,
    errors,
  };
};

/** Whether the caps on money of a route have the prices they need. */
const pricesResolved = (route: AIProviderRoute, own: PriceList | undefined): ConditionState => {
  if (own?.problem === undefined || !capsMoney(route)) return yes('ResolvedRefs');
  const where = `ConfigMap ${PRICES_CONFIG_MAP} of namespace ${keyOf(route).namespace}`;
  return no('InvalidPrices', `${where} cannot be used: ${own.problem} Rules with a cap on money let nothing through until it can.`);
};

const compileAiRoutes = (
  input: CompileInput,
  at: GatewayListeners,
  denials: ReturnType<typeof denialsOf>,
  states: CompiledRoute[],
): { readonly routes: readonly AiRoute[]; readonly credentials: readonly CredentialValue[]; readonly prices: Readonly<Record<string, PriceList>> } => {
  const prices: Record<string, PriceList> = {};
  const pricesFor = (namespace: string): PriceList | undefined => {
    const data = input.configMap(PRICES_CONFIG_MAP, namespace);
    return data && (prices[namespace] ??= compilePrices(data));
  };
  const { basisOf, credentials } = judgingBasis('AIProviderRoute', input, denials);
  const routes = sortedByAge(input.aiRoutes).flatMap((route): readonly AiRoute[] => {
    const attachment = attach(route, at, AI);
    const { parents, listeners } = attachment;
    if (parents.length === 0) return [];
    const unbuilt = notBuiltOfRoute(route).filter((path) => path.startsWith('spec.rules['));
    const own = pricesFor(keyOf(route).namespace);
    const resolvedRefs = unbuilt.length > 0 ? no('NotBuilt', `Not built yet: ${unbuilt.join(', ')}.`) : pricesResolved(route, own);
    const rules = route.spec.rules.map((_, index) => compileAiRule(route, index, keyOf(input.gateway), unbuilt));
    const elsewhere = portProblem('Providers are', AI_PORT, at.listeners, listeners);
    states.push(judgingState('AIProviderRoute', route, attachment, { resolvedRefs, elsewhere, remarks: aiRemarks(route, rules) }));
    return listeners.length === 0 ? [] : [{ ...basisOf(route, attachment), rules, hosts: hostsOf(rules) }];
  });
  return { routes, credentials: credentials(), prices };
};

const compileL4Routes = (
  { l4Routes, agents, exists }: CompileInput,
  at: GatewayListeners,
  denials: ReturnType<typeof denialsOf>,
): readonly CompiledL4Route[] => {
  const compile = l4RouteCompiler({ at, agents, exists });
  return sortedByAge(l4Routes).map((route) => compile(route, denialOn('EgressL4Route', route, denials)));
};

/** `contentRevision` of the content, with the text of each L4 route as it is known already. */
const revisionOf = (content: Omit<PolicySet, 'revision'>, l4: readonly CompiledL4Route[]): string => {
  const texts = l4.flatMap(({ route, text }) => (route ? [text] : []));
  const fields = Object.entries(content)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([field, value]) => `${JSON.stringify(field)}:${field === 'l4Routes' ? `[${texts.join(',')}]` : canonicalJson(value)}`);
  return textRevision(`{${fields.join(',')}}`);
};
