import type { AIProviderRoute, CredentialInjectionPolicy, MCPRoute, ParentRef } from '#api';
import type { ObjectKey } from '#model';
import { sortedByAge, keyOf, no, refersTo, yes, type Exists, type PolicyAncestor, type PolicyJudgement, type SecretLookup } from './attach.ts';
import { credentialOf, type Credential } from './credential-value.ts';

/** Where CredentialInjectionPolicies inject: what each applies to, and which of several does. */

/** What the API server writes when `secretKey` is absent. */
const DEFAULT_KEY = 'token';
/** Kinds a policy can be for. */
const TARGETS = ['AIProviderRoute', 'MCPRoute', 'EgressGateway'];

interface Target {
  readonly ref: ParentRef;
  /** `spec.parentRefs[0]` */
  readonly path: string;
}
const targetsOf = ({ spec }: CredentialInjectionPolicy): readonly Target[] =>
  (['parentRefs', 'targetRefs'] as const).flatMap((list) => (spec[list] ?? []).map((ref, index) => ({ ref, path: `spec.${list}[${index}]` })));

/** Policies by what they want to inject on, the one that wins first. */
export type CredentialClaims = ReadonlyMap<string, readonly CredentialInjectionPolicy[]>;

const claimKey = (kind: string, { namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`;

/**
 * Oldest first, then by name. A section of an AIProviderRoute is a Backend; until rules can choose one, what is for a section is for
 * no request. So is what is for a port: none of these objects has a part of that kind.
 */
export const credentialClaims = (policies: readonly CredentialInjectionPolicy[]): CredentialClaims => {
  const claims = new Map<string, CredentialInjectionPolicy[]>();
  for (const policy of sortedByAge(policies)) {
    for (const { ref } of targetsOf(policy)) {
      const kind = TARGETS.find((candidate) => refersTo(ref, policy, candidate));
      if (!kind || ref.sectionName || ref.port !== undefined) continue;
      const key = claimKey(kind, { namespace: keyOf(policy).namespace, name: ref.name });
      const known = claims.get(key);
      if (known) known.push(policy);
      else claims.set(key, [policy]);
    }
  }
  return claims;
};

/** The credential of a route at a gateway: of the policy for the route itself, else of the one for the gateway. */
export const credentialOn = (
  kind: 'AIProviderRoute' | 'MCPRoute',
  route: AIProviderRoute | MCPRoute,
  gateway: ObjectKey,
  claims: CredentialClaims,
  secret: SecretLookup,
): Credential | undefined => {
  const winner = claims.get(claimKey(kind, keyOf(route)))?.[0] ?? claims.get(claimKey('EgressGateway', gateway))?.[0];
  return winner && credentialOf(winner, secret);
};

/** The credential of whatever no narrower policy is for. */
export const credentialOfGateway = (gateway: ObjectKey, claims: CredentialClaims, secret: SecretLookup): Credential | undefined => {
  const winner = claims.get(claimKey('EgressGateway', gateway))?.[0];
  return winner && credentialOf(winner, secret);
};

/** State of every credential policy at each of its targets, whatever gateways there are. `exists` is asked about these. */
export const judgePolicies = (policies: readonly CredentialInjectionPolicy[], secret: SecretLookup, exists: Exists): readonly PolicyJudgement[] => {
  const claims = credentialClaims(policies);
  return policies.map((policy) => {
    const credential = credentialOf(policy, secret);
    const resolvedRefs = credential.use.missing ? no(credential.use.missing, credential.why) : yes('ResolvedRefs', idleFields(policy));
    return {
      key: keyOf(policy),
      ancestors: targetsOf(policy).map((target) => ({ ancestorRef: target.ref, resolvedRefs, ...judgeTarget(policy, target, claims, exists) })),
    };
  });
};

/** What is set and changes nothing about which Secret is read. */
const idleFields = (policy: CredentialInjectionPolicy): string => {
  const { namespace } = keyOf(policy);
  const { secretRef, secretKey, providerAuth } = policy.spec;
  const idle = [
    secretRef.namespace && secretRef.namespace !== namespace
      ? `spec.secretRef.namespace has no effect: the Secret is ${secretRef.name} of the policy's own namespace, ${namespace}.`
      : '',
    providerAuth?.type === 'AWSv4' && secretKey !== DEFAULT_KEY ? 'spec.secretKey has no effect: a key of AWS is in several keys of the Secret.' : '',
  ];
  return idle.filter(Boolean).join(' ');
};

const NO_CONFLICT = no('NoConflict', '');

/** What is to be known of a target beside that the policy applies. */
const REMARKS: Readonly<Record<string, string>> = {
  EgressGateway:
    'For requests that no narrower policy is for: of AIProviderRoutes and MCPRoutes, and of EgressL4Routes that name the host, where TLS ends at the gateway.',
};

const judgeTarget = (
  policy: CredentialInjectionPolicy,
  { ref, path }: Target,
  claims: CredentialClaims,
  exists: Exists,
): Pick<PolicyAncestor, 'accepted' | 'conflicted'> => {
  const { namespace } = keyOf(policy);
  const { kind = 'AIProviderRoute', name, sectionName, port } = ref;
  const not = (reason: string, message: string) => ({ accepted: no(reason, message), conflicted: NO_CONFLICT });
  if (!refersTo(ref, policy, kind, kind)) return not('RefNotPermitted', 'A policy applies to objects of its own namespace only.');
  if (!exists(kind, name, namespace)) return not('TargetNotFound', `There is no ${kind} ${name} in this namespace.`);
  if (sectionName)
    return not('NotBuilt', `A section of an AIProviderRoute is a Backend, and backends are not built yet: the policy applies to no request at ${sectionName}.`);
  if (port !== undefined)
    return not(
      'UnsupportedValue',
      `${path}.port is ${port}, and a policy is for all of a ${kind}, not for a port of it: leave it out. Until then it applies to nothing here.`,
    );
  const winner = claims.get(claimKey(kind, { namespace, name }))![0]!;
  if (winner !== policy) {
    const message = `CredentialInjectionPolicy ${winner.metadata.name} already applies to ${kind} ${name}, and is older; delete it or this target of this policy.`;
    return { accepted: no('Conflicted', message), conflicted: yes('Conflicted', message) };
  }
  return { accepted: yes('Accepted', REMARKS[kind]), conflicted: NO_CONFLICT };
};
