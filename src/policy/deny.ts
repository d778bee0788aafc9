import type { EgressDenyPolicy, KubeObject, ParentRef, PolicyTargetRef } from '#api';
import type { Denial } from '#model';
import { sortedByAge, keyOf, no, yes, type Exists, type PolicyJudgement } from './attach.ts';

/** What EgressDenyPolicies do: each takes whole routes out of force, whatever these would let through. */

/** Status when a policy names none. */
const DEFAULT_STATUS = 403;

const targetsOf = ({ spec }: EgressDenyPolicy): readonly PolicyTargetRef[] => (spec.targetRef ? [spec.targetRef] : (spec.targetRefs ?? []));

/** Policies by the route they deny, the one that answers first: oldest, then by name. */
export type Denials = ReadonlyMap<string, EgressDenyPolicy>;

const targetKey = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`;

export const denialsOf = (policies: readonly EgressDenyPolicy[]): Denials => {
  const denials = new Map<string, EgressDenyPolicy>();
  for (const policy of sortedByAge(policies)) {
    for (const { kind, name } of targetsOf(policy)) {
      const key = targetKey(kind, keyOf(policy).namespace, name);
      if (!denials.has(key)) denials.set(key, policy);
    }
  }
  return denials;
};

/** How what a route lets through is refused, when some policy denies it. */
export const denialOn = (kind: string, route: KubeObject, denials: Denials): Denial | undefined => {
  const policy = denials.get(targetKey(kind, keyOf(route).namespace, route.metadata.name));
  if (!policy) return undefined;
  const { namespace, name } = keyOf(policy);
  const { statusCode = DEFAULT_STATUS, message = '' } = policy.spec.denyResponse ?? {};
  return { policy: `${namespace}/${name}`, status: statusCode, message };
};

const NO_CONFLICT = no('NoConflict', '');
const RESOLVED = yes('ResolvedRefs');

/** State of every policy at each of its targets; `exists` is asked about these. */
export const judgeDenyPolicies = (policies: readonly EgressDenyPolicy[], exists: Exists): readonly PolicyJudgement[] => {
  const denials = denialsOf(policies);
  return policies.map((policy) => ({
    key: keyOf(policy),
    ancestors: targetsOf(policy).map((target) => {
      const { namespace } = keyOf(policy);
      const { kind, name } = target;
      const ancestorRef: ParentRef = target;
      const at = { ancestorRef, conflicted: NO_CONFLICT, resolvedRefs: RESOLVED };
      if (!exists(kind, name, namespace)) return { ...at, accepted: no('TargetNotFound', `There is no ${kind} ${name} in this namespace.`) };
      const winner = denials.get(targetKey(kind, namespace, name))!;
      if (winner !== policy) {
        const message = `EgressDenyPolicy ${winner.metadata.name} already denies ${kind} ${name}, and is older; delete it or this target of this policy.`;
        return { ...at, accepted: no('Conflicted', message), conflicted: yes('Conflicted', message) };
      }
      // No route has parts a section could name: to deny too much is the side to err on.
      const message = target.sectionName ? `${kind} has no sections; all of ${name} is denied.` : `All of ${name} is denied.`;
      return { ...at, accepted: yes('Accepted', message) };
    }),
  }));
};
