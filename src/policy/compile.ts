import { X509Certificate } from 'node:crypto';
import { egressGateways, notBuiltFields, providerName } from '#api';
import type { AIProviderRoute, CredentialInjectionPolicy, EgressDenyPolicy, EgressGateway } from '#api';
import { contentRevision, parseDuration } from '#lib';
import type { AiRoute, AiRule, CredentialValue, ListenerShape, ObjectKey, PolicyListener, PolicySet, TokenBudget } from '#model';
import { isForbiddenAlias } from './address.ts';
import {
  byAge,
  createdAt,
  credentialOn,
  judgePolicies,
  keyOf,
  no,
  notBuiltOfRoute,
  parentsAt,
  yes,
  type ConditionState,
  type PolicyJudgement,
  type RouteParent,
  type SecretLookup,
} from './attach.ts';
import { denialOn } from './deny.ts';
import { canonicalHost } from './host.ts';
import { REGISTRY } from './providers/index.ts';

/** One gateway and what may attach to it. Objects of other namespaces are ignored. */
export interface CompileInput {
  readonly gateway: EgressGateway;
  readonly aiRoutes: readonly AIProviderRoute[];
  readonly credentialPolicies: readonly CredentialInjectionPolicy[];
  readonly denyPolicies: readonly EgressDenyPolicy[];
  readonly secret: SecretLookup;
}

export interface CompileProblem {
  /** `SecretNotFound`, `TrustBundleInvalid`, `ForbiddenAddress`, `InvalidHostname`. */
  readonly reason: string;
  readonly message: string;
}

export interface CompiledGateway {
  readonly policySet: PolicySet;
  /** Values of the credentials the set names; they travel beside it, never in it. */
  readonly credentials: readonly CredentialValue[];
  /** Routes with references to this gateway, and the state of just these references. */
  readonly routes: readonly { readonly key: ObjectKey; readonly parents: readonly RouteParent[] }[];
  /** State of every policy given at each of its targets; the same for every gateway. */
  readonly policies: readonly PolicyJudgement[];
  readonly listeners: readonly { readonly name: string; readonly attachedRoutes: number; readonly accepted: ConditionState }[];
  /** Fields of the gateway that are set and not built, as JSON paths. */
  readonly notBuilt: readonly string[];
  /** What of the gateway could not be used and was left out. */
  readonly errors: readonly CompileProblem[];
}

const DEFAULT_TIMEOUT_MS = 300_000;
const TERMINATES: ReadonlySet<ListenerShape> = new Set(['tls-terminate', 'https']);

const shapeOf = ({ protocol, tls }: EgressGateway['spec']['listeners'][number]): ListenerShape => {
  if (protocol === 'TLS') return tls?.mode === 'Terminate' ? 'tls-terminate' : 'tls-passthrough';
  return ({ HTTPS: 'https', HTTP: 'http', TCP: 'tcp', UDP: 'udp' } as const)[protocol];
};

const budgetsOf = (route: ObjectKey, index: number, gateway: ObjectKey, rule: AIProviderRoute['spec']['rules'][number]): readonly TokenBudget[] => {
  const caps = (rule.filters ?? []).flatMap((filter) => filter.tokenBudget?.maxTokensPerDay ?? []);
  // Several caps of one rule count the same tokens, so the smallest decides.
  return caps.length > 0 ? [{ key: `budget/${route.namespace}/${route.name}/${index}/${gateway.name}`, maxTokensPerDay: Math.min(...caps) }] : [];
};

const compileRule = (route: AIProviderRoute, index: number, gateway: ObjectKey, notBuilt: readonly string[]): AiRule => {
  const rule = route.spec.rules[index]!;
  return {
    index,
    // A provider that is not built stays in the list and matches nothing: no request is ever recognised as its own.
    matches: (rule.matches ?? []).map(({ provider, models, endpoints }) => ({
      provider: providerName(provider) ?? provider.toLowerCase(),
      ...(models?.length && { models }),
      ...(endpoints?.length && { endpoints }),
    })),
    budgets: budgetsOf(keyOf(route), index, gateway, rule),
    notBuilt: notBuilt.filter((path) => path.startsWith(`spec.rules[${index}].`) && !path.includes('.matches[')),
  };
};

/** Hosts of the providers the rules of a route name. */
const hostsOf = (rules: readonly AiRule[]): readonly string[] => {
  const named = new Set(rules.flatMap(({ matches }) => matches.map(({ provider }) => provider)));
  return REGISTRY.filter(({ name }) => named.has(name)).flatMap(({ hosts }) => hosts);
};

interface Attachment {
  readonly parents: readonly RouteParent[];
  /** Names of the listeners it is attached to. */
  readonly listeners: readonly string[];
}

const attach = (route: AIProviderRoute, gateway: ObjectKey, listeners: readonly PolicyListener[], notBuilt: readonly string[]): Attachment => {
  const attached = new Set<string>();
  const unbuiltMatches = notBuilt.filter((path) => path.startsWith('spec.rules['));
  const resolvedRefs = unbuiltMatches.length > 0 ? no('NotBuilt', `Not built yet: ${unbuiltMatches.join(', ')}.`) : yes('ResolvedRefs');
  const parents = parentsAt(route, gateway).map((index): RouteParent => {
    const parentRef = route.spec.parentRefs[index]!;
    const refuse = (reason: string, message: string): RouteParent => ({ parentRef, accepted: no(reason, message), resolvedRefs });
    const unbuilt = notBuilt.filter((path) => path.startsWith(`spec.parentRefs[${index}]`));
    if (unbuilt.length > 0) return refuse('NotBuilt', `Not built yet: ${unbuilt.join(', ')}.`);
    const named = listeners.filter(({ name }) => !parentRef.sectionName || name === parentRef.sectionName);
    if (named.length === 0) return refuse('NoMatchingParent', `EgressGateway ${gateway.name} has no listener ${parentRef.sectionName}.`);
    const fitting = named.filter(({ shape }) => TERMINATES.has(shape));
    if (fitting.length === 0) return refuse('NotAllowedByListeners', 'An AIProviderRoute needs a listener that terminates TLS.');
    for (const { name } of fitting) attached.add(name);
    return { parentRef, accepted: yes('Accepted'), resolvedRefs };
  });
  return { parents, listeners: listeners.map(({ name }) => name).filter((name) => attached.has(name)) };
};

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Certificates of all values of the Secret; a key beside them stays out. */
const trustBundleOf = (gateway: EgressGateway, secret: SecretLookup, problems: CompileProblem[]): string => {
  const ref = gateway.spec.upstreamTLS?.additionalTrustBundleSecretRef;
  if (!ref) return '';
  if (ref.group || (ref.kind && ref.kind !== 'Secret')) {
    problems.push({ reason: 'InvalidKind', message: 'spec.upstreamTLS.additionalTrustBundleSecretRef must name a Secret.' });
    return '';
  }
  const values = secret(ref.name);
  if (!values) {
    problems.push({ reason: 'SecretNotFound', message: `There is no Secret ${ref.name} (spec.upstreamTLS.additionalTrustBundleSecretRef).` });
    return '';
  }
  const blocks = Object.entries(values)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, value]) => value.match(CERTIFICATE) ?? []);
  const good = blocks.filter((block) => {
    try {
      return new X509Certificate(block).raw.length > 0;
    } catch {
      return false;
    }
  });
  if (good.length === 0 || good.length < blocks.length)
    problems.push({ reason: 'TrustBundleInvalid', message: `Secret ${ref.name} has ${good.length === 0 ? 'no' : 'a broken'} PEM certificate.` });
  return good.map((block) => `${block}\n`).join('');
};

const aliasesOf = (gateway: EgressGateway, problems: CompileProblem[]): PolicySet['hostAliases'] =>
  (gateway.spec.upstreamTLS?.hostAliases ?? []).flatMap(({ ip, hostnames }, index) => {
    const path = `spec.upstreamTLS.hostAliases[${index}]`;
    if (isForbiddenAlias(ip)) {
      problems.push({ reason: 'ForbiddenAddress', message: `${path}: ${ip} is not an address a gateway may dial.` });
      return [];
    }
    const names = hostnames.flatMap((hostname) => {
      const name = canonicalHost(hostname);
      if (name === undefined) problems.push({ reason: 'InvalidHostname', message: `${path}: ${JSON.stringify(hostname)} is not a host name.` });
      return name ?? [];
    });
    return names.length > 0 ? [{ ip, hostnames: names }] : [];
  });

const compileListeners = (gateway: EgressGateway, notBuilt: readonly string[]): readonly PolicyListener[] =>
  gateway.spec.listeners.map((listener, index) => ({
    name: listener.name,
    shape: shapeOf(listener),
    ...(listener.port !== undefined && { port: listener.port }),
    built: !notBuilt.some((path) => path === `spec.listeners[${index}]` || path.startsWith(`spec.listeners[${index}].`)),
  }));

/** Everything one gateway does, and the state of whatever attaches to it. A function of its input alone. */
export const compileGateway = ({ gateway, aiRoutes, credentialPolicies, denyPolicies, secret }: CompileInput): CompiledGateway => {
  const key = keyOf(gateway);
  const errors: CompileProblem[] = [];
  const notBuilt = notBuiltFields(egressGateways, gateway);
  const listeners = compileListeners(gateway, notBuilt);
  const routes: { key: ObjectKey; parents: readonly RouteParent[] }[] = [];
  const compiled: AiRoute[] = [];
  const credentials = new Map<string, string>();

  for (const route of aiRoutes.toSorted(byAge)) {
    const unbuilt = notBuiltOfRoute(route);
    const { parents, listeners: attached } = attach(route, key, listeners, unbuilt);
    if (parents.length === 0) continue;
    routes.push({ key: keyOf(route), parents });
    if (attached.length === 0) continue;
    const rules = route.spec.rules.map((_, index) => compileRule(route, index, key, unbuilt));
    const credential = credentialOn(route, key, credentialPolicies, secret);
    if (credential?.value !== undefined && !credential.use.missing) credentials.set(credential.use.credential, credential.value);
    const denied = denialOn('AIProviderRoute', route, denyPolicies);
    compiled.push({
      route: keyOf(route),
      createdAt: createdAt(route),
      listeners: attached,
      rules,
      ...(credential && { credential: credential.use }),
      ...(denied && { denied }),
      hosts: hostsOf(rules),
    });
  }

  const content: Omit<PolicySet, 'revision'> = {
    gateway: key,
    // `allow-all` is not built: whatever no route matches is denied, and condition `Enforced` of the gateway says so.
    defaultPolicy: 'deny-all',
    listeners,
    requestTimeoutMs: timeoutOf(gateway),
    lookupFamily: gateway.spec.dns?.lookupFamily ?? 'V4Preferred',
    hostAliases: aliasesOf(gateway, errors),
    trustBundle: trustBundleOf(gateway, secret, errors),
    aiRoutes: compiled,
  };
  return {
    policySet: { ...content, revision: contentRevision(content) },
    credentials: [...credentials].map(([name, value]) => ({ name, value })),
    routes,
    policies: judgePolicies(credentialPolicies, aiRoutes, secret),
    listeners: listeners.map(({ name, built, shape }) => ({
      name,
      attachedRoutes: compiled.filter((route) => route.listeners.includes(name)).length,
      accepted: built ? yes('Accepted') : no('NotBuilt', `A listener of shape ${shape} with these fields is not built yet and admits nothing.`),
    })),
    notBuilt,
    errors,
  };
};

const timeoutOf = (gateway: EgressGateway): number => {
  const ms = parseDuration(gateway.spec.requestTimeout ?? '') ?? 0;
  return ms > 0 ? ms : DEFAULT_TIMEOUT_MS;
};
