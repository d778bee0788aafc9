import { GROUP, notBuiltFields, aiProviderRoutes, credentialInjectionPolicies } from '#api';
import type { AIProviderRoute, CredentialInjectionPolicy, EgressL4Route, KubeObject, MCPRoute, ParentRef } from '#api';
import type { CredentialUse, ObjectKey } from '#model';

/** Which object attaches to which (Gateway API attachment), as the statuses of routes and policies tell it. */

/** The variable half of a condition. */
export interface ConditionState {
  readonly status: 'True' | 'False';
  /** A reason of api.md 6.14, or `NotBuilt`, `SecretNotFound`, … */
  readonly reason: string;
  readonly message: string;
}

export interface RouteParent {
  readonly parentRef: ParentRef;
  readonly accepted: ConditionState;
  readonly resolvedRefs: ConditionState;
}

export interface PolicyAncestor {
  readonly ancestorRef: ParentRef;
  readonly accepted: ConditionState;
  readonly conflicted: ConditionState;
  readonly resolvedRefs: ConditionState;
}

export interface PolicyJudgement {
  readonly key: ObjectKey;
  readonly ancestors: readonly PolicyAncestor[];
}

/** Decoded values of a Secret of the gateway's namespace, by key; undefined when there is no such Secret. */
export type SecretLookup = (name: string) => Readonly<Record<string, string>> | undefined;

/** Whether the namespace of the one who asks has an object of a kind of ours. */
export type Exists = (kind: string, name: string) => boolean;

export const yes = (reason: string, message = ''): ConditionState => ({ status: 'True', reason, message });
export const no = (reason: string, message: string): ConditionState => ({ status: 'False', reason, message });
const ACCEPTED = yes('Accepted');
const RESOLVED = yes('ResolvedRefs');

export const keyOf = (object: KubeObject): ObjectKey => ({ namespace: object.metadata.namespace ?? '', name: object.metadata.name });
export const createdAt = (object: KubeObject): number => Date.parse(object.metadata.creationTimestamp ?? '') || 0;
/** Older first, then by name: the order of everything that competes. */
export const byAge = (a: KubeObject, b: KubeObject): number => createdAt(a) - createdAt(b) || (keyOf(a).name < keyOf(b).name ? -1 : 1);

/** Whether a reference means an object of `kind` in the namespace of the one that refers. */
const refersTo = (ref: ParentRef, from: KubeObject, kind: string, defaultKind?: string): boolean =>
  (ref.kind ?? defaultKind) === kind && (!ref.group || ref.group === GROUP) && (!ref.namespace || ref.namespace === keyOf(from).namespace);

/** Indexes of the references of a route that name this gateway. */
export const parentsAt = (route: AIProviderRoute, gateway: ObjectKey): readonly number[] =>
  route.spec.parentRefs.flatMap((ref, index) =>
    keyOf(route).namespace === gateway.namespace && refersTo(ref, route, 'EgressGateway', 'EgressGateway') && ref.name === gateway.name ? [index] : [],
  );

/**
 * States of the references of a route that reach no gateway; `gatewayExists` is asked about the route's own namespace.
 * The others are judged by `compileGateway` of the gateway they name.
 */
export const unmatchedParents = (route: AIProviderRoute | MCPRoute | EgressL4Route, gatewayExists: (name: string) => boolean): readonly RouteParent[] =>
  route.spec.parentRefs.flatMap((parentRef): RouteParent[] => {
    const kind = parentRef.kind ?? 'EgressGateway';
    if (kind !== 'EgressGateway' || (parentRef.group && parentRef.group !== GROUP))
      return [{ parentRef, accepted: no('InvalidKind', `${kind} is not a kind a route can attach to; use EgressGateway.`), resolvedRefs: RESOLVED }];
    if (!refersTo(parentRef, route, 'EgressGateway', 'EgressGateway'))
      return [{ parentRef, accepted: no('RefNotPermitted', 'A route attaches to gateways of its own namespace only.'), resolvedRefs: RESOLVED }];
    if (gatewayExists(parentRef.name)) return [];
    return [{ parentRef, accepted: no('NoMatchingParent', `There is no EgressGateway ${parentRef.name} in this namespace.`), resolvedRefs: RESOLVED }];
  });

/** Paths of a route that are set but not built. */
export const notBuiltOfRoute = (route: AIProviderRoute): readonly string[] => notBuiltFields(aiProviderRoutes, route);

const targetsOf = ({ spec }: CredentialInjectionPolicy): readonly ParentRef[] => [...(spec.parentRefs ?? []), ...(spec.targetRefs ?? [])];
const notBuiltOfPolicy = (policy: CredentialInjectionPolicy): readonly string[] =>
  notBuiltFields(credentialInjectionPolicies, policy).filter((path) => path.startsWith('spec.'));

/** Headers that frame a message, route it or belong to us: never set from a Secret. */
const UNSETTABLE = /^(?:host|content-length|transfer-encoding|connection|keep-alive|te|trailer|upgrade|traceparent|proxy-.*|x-clrk-.*|x-envoy-.*)$/;
// A header value: visible characters, spaces and tabs inside (RFC 9110, 5.5).
const HEADER_VALUE = /^[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/;

export interface Credential {
  readonly use: CredentialUse;
  /** Absent when it cannot inject. */
  readonly value?: string;
  readonly why: string;
}

/** What a policy injects, or why it cannot. */
export const credentialOf = (policy: CredentialInjectionPolicy, secret: SecretLookup): Credential => {
  const { namespace, name } = keyOf(policy);
  const { secretRef, secretKey, headerName } = policy.spec;
  const header = headerName?.toLowerCase() ?? 'authorization';
  const use = { policy: `${namespace}/${name}`, credential: `cred:${namespace}/${name}`, header };
  const cannot = (missing: string, why: string): Credential => ({ use: { ...use, missing }, why });
  const unbuilt = notBuiltOfPolicy(policy).filter((path) => !/^spec\.(?:parent|target)Refs\[/.test(path));
  if (unbuilt.length > 0) return cannot('NotBuilt', `Not built yet: ${unbuilt.join(', ')}.`);
  if (UNSETTABLE.test(header)) return cannot('Invalid', `Header ${header} cannot be set.`);
  if (secretRef.group || (secretRef.kind && secretRef.kind !== 'Secret')) return cannot('InvalidKind', 'secretRef must name a Secret.');
  const values = secret(secretRef.name);
  if (!values) return cannot('SecretNotFound', `There is no Secret ${secretRef.name} in this namespace.`);
  const value = Object.hasOwn(values, secretKey) ? values[secretKey]! : undefined;
  if (value === undefined) return cannot('SecretKeyNotFound', `Secret ${secretRef.name} has no key ${secretKey}.`);
  if (!HEADER_VALUE.test(value))
    return cannot('SecretValueInvalid', `Key ${secretKey} of Secret ${secretRef.name} is not a header value: empty, or with a line end or a space around it.`);
  return { use, value, why: '' };
};

/** How narrow a target is: a section of a route, a route, a gateway. */
const breadth = (ref: ParentRef): number => (ref.kind === 'EgressGateway' ? 2 : ref.sectionName ? 0 : 1);

interface Claim {
  readonly policy: CredentialInjectionPolicy;
  readonly ref: ParentRef;
}

/** Policies that want to inject on a route, the winner first: narrowest target, then oldest, then name. */
const claimsOn = (route: AIProviderRoute, gateway: ObjectKey | undefined, policies: readonly CredentialInjectionPolicy[]): readonly Claim[] =>
  policies
    .filter((policy) => keyOf(policy).namespace === keyOf(route).namespace)
    .flatMap((policy) =>
      targetsOf(policy)
        .filter(
          (ref) =>
            (refersTo(ref, policy, 'AIProviderRoute') && ref.name === route.metadata.name) ||
            (gateway !== undefined && refersTo(ref, policy, 'EgressGateway') && ref.name === gateway.name),
        )
        .map((ref) => ({ policy, ref })),
    )
    .sort((a, b) => breadth(a.ref) - breadth(b.ref) || byAge(a.policy, b.policy));

/**
 * The credential of a route at a gateway. A target that is not built (a section, a whole gateway) refuses what it would
 * have served, rather than let it leave with whatever credential the agent made up.
 */
export const credentialOn = (
  route: AIProviderRoute,
  gateway: ObjectKey,
  policies: readonly CredentialInjectionPolicy[],
  secret: SecretLookup,
): Credential | undefined => {
  const [winner] = claimsOn(route, gateway, policies);
  if (!winner) return undefined;
  const credential = credentialOf(winner.policy, secret);
  if (breadth(winner.ref) === 1) return credential;
  return {
    use: { ...credential.use, missing: 'NotBuilt' },
    why: `A policy for a ${winner.ref.kind === 'EgressGateway' ? 'whole gateway' : 'section'} is not built yet.`,
  };
};

/** State of every credential policy at each of its targets, whatever gateways there are. */
export const judgePolicies = (
  policies: readonly CredentialInjectionPolicy[],
  routes: readonly AIProviderRoute[],
  secret: SecretLookup,
  /** Asked about the targets; by default of the routes given alone. */
  exists: Exists = (kind, name) => kind !== 'AIProviderRoute' || routes.some(({ metadata }) => metadata.name === name),
): readonly PolicyJudgement[] =>
  policies.map((policy) => {
    const credential = credentialOf(policy, secret);
    const resolvedRefs = credential.use.missing ? no(credential.use.missing, credential.why) : RESOLVED;
    return {
      key: keyOf(policy),
      ancestors: targetsOf(policy).map((ancestorRef) => ({ ancestorRef, resolvedRefs, ...judgeTarget(policy, ancestorRef, policies, routes, exists) })),
    };
  });

const NO_CONFLICT = no('NoConflict', '');

const judgeTarget = (
  policy: CredentialInjectionPolicy,
  ref: ParentRef,
  policies: readonly CredentialInjectionPolicy[],
  routes: readonly AIProviderRoute[],
  exists: Exists,
): Pick<PolicyAncestor, 'accepted' | 'conflicted'> => {
  const kind = ref.kind ?? 'AIProviderRoute';
  if (!refersTo(ref, policy, kind, kind))
    return { accepted: no('RefNotPermitted', 'A policy applies to objects of its own namespace only.'), conflicted: NO_CONFLICT };
  if (!exists(kind, ref.name)) return { accepted: no('TargetNotFound', `There is no ${kind} ${ref.name} in this namespace.`), conflicted: NO_CONFLICT };
  if (ref.kind !== 'AIProviderRoute' || ref.sectionName)
    return { accepted: no('NotBuilt', `A policy for ${ref.sectionName ? 'a section' : `kind ${ref.kind}`} is not built yet.`), conflicted: NO_CONFLICT };
  const route = routes.find((candidate) => keyOf(candidate).namespace === keyOf(policy).namespace && candidate.metadata.name === ref.name);
  if (!route) return { accepted: no('TargetNotFound', `There is no AIProviderRoute ${ref.name} in this namespace.`), conflicted: NO_CONFLICT };
  const winner = claimsOn(route, undefined, policies)[0]!.policy;
  if (winner === policy) return { accepted: ACCEPTED, conflicted: NO_CONFLICT };
  const message = `CredentialInjectionPolicy ${winner.metadata.name} already applies to AIProviderRoute ${ref.name}.`;
  return { accepted: no('Conflicted', message), conflicted: yes('Conflicted', message) };
};
