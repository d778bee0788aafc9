import { credentialInjectionPolicies, notBuiltFields } from '#api';
import type { AIProviderRoute, CredentialInjectionPolicy, ParentRef } from '#api';
import type { CredentialUse, ObjectKey } from '#model';
import { sortedByAge, keyOf, no, refersTo, yes, type Exists, type PolicyAncestor, type PolicyJudgement, type SecretLookup } from './attach.ts';

/** What CredentialInjectionPolicies inject, and where. */

const ACCEPTED = yes('Accepted');
const RESOLVED = yes('ResolvedRefs');

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
  const values = secret(secretRef.name, namespace);
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

/** Policies by what they want to inject on. */
export type CredentialClaims = ReadonlyMap<string, readonly Claim[]>;

const claimKey = (kind: string, { namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`;

export const credentialClaims = (policies: readonly CredentialInjectionPolicy[]): CredentialClaims => {
  const claims = new Map<string, Claim[]>();
  for (const policy of sortedByAge(policies)) {
    for (const ref of targetsOf(policy)) {
      const kind = ['AIProviderRoute', 'EgressGateway'].find((candidate) => refersTo(ref, policy, candidate));
      if (!kind) continue;
      const key = claimKey(kind, { namespace: keyOf(policy).namespace, name: ref.name });
      const known = claims.get(key);
      if (known) known.push({ policy, ref });
      else claims.set(key, [{ policy, ref }]);
    }
  }
  return claims;
};

/** The policy that injects on a route: narrowest target, then oldest, then name. */
const winnerOn = (route: ObjectKey, gateway: ObjectKey | undefined, claims: CredentialClaims): Claim | undefined =>
  [...(claims.get(claimKey('AIProviderRoute', route)) ?? []), ...((gateway && claims.get(claimKey('EgressGateway', gateway))) ?? [])].reduce<Claim | undefined>(
    (best, claim) => (best && breadth(best.ref) <= breadth(claim.ref) ? best : claim),
    undefined,
  );

/**
 * The credential of a route at a gateway. A target that is not built (a section, a whole gateway) refuses what it would
 * have served, rather than let it leave with whatever credential the agent made up.
 */
export const credentialOn = (route: AIProviderRoute, gateway: ObjectKey, claims: CredentialClaims, secret: SecretLookup): Credential | undefined => {
  const winner = winnerOn(keyOf(route), gateway, claims);
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
  /** Asked about targets of kinds beside the routes given. */
  exists: Exists = () => true,
): readonly PolicyJudgement[] => {
  const claims = credentialClaims(policies);
  const known = new Set(routes.map((route) => claimKey('AIProviderRoute', keyOf(route))));
  return policies.map((policy) => {
    const credential = credentialOf(policy, secret);
    const resolvedRefs = credential.use.missing ? no(credential.use.missing, credential.why) : RESOLVED;
    return {
      key: keyOf(policy),
      ancestors: targetsOf(policy).map((ancestorRef) => ({ ancestorRef, resolvedRefs, ...judgeTarget(policy, ancestorRef, claims, known, exists) })),
    };
  });
};

const NO_CONFLICT = no('NoConflict', '');

const judgeTarget = (
  policy: CredentialInjectionPolicy,
  ref: ParentRef,
  claims: CredentialClaims,
  routes: ReadonlySet<string>,
  exists: Exists,
): Pick<PolicyAncestor, 'accepted' | 'conflicted'> => {
  const kind = ref.kind ?? 'AIProviderRoute';
  if (!refersTo(ref, policy, kind, kind))
    return { accepted: no('RefNotPermitted', 'A policy applies to objects of its own namespace only.'), conflicted: NO_CONFLICT };
  if (!exists(kind, ref.name, keyOf(policy).namespace))
    return { accepted: no('TargetNotFound', `There is no ${kind} ${ref.name} in this namespace.`), conflicted: NO_CONFLICT };
  if (ref.kind !== 'AIProviderRoute' || ref.sectionName)
    return { accepted: no('NotBuilt', `A policy for ${ref.sectionName ? 'a section' : `kind ${ref.kind}`} is not built yet.`), conflicted: NO_CONFLICT };
  const target = { namespace: keyOf(policy).namespace, name: ref.name };
  if (!routes.has(claimKey('AIProviderRoute', target)))
    return { accepted: no('TargetNotFound', `There is no AIProviderRoute ${ref.name} in this namespace.`), conflicted: NO_CONFLICT };
  const winner = winnerOn(target, undefined, claims)!.policy;
  if (winner === policy) return { accepted: ACCEPTED, conflicted: NO_CONFLICT };
  const message = `CredentialInjectionPolicy ${winner.metadata.name} already applies to AIProviderRoute ${ref.name}.`;
  return { accepted: no('Conflicted', message), conflicted: yes('Conflicted', message) };
};
