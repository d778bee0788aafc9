import type { EgressDenyPolicy, KubeObject, ParentRef, PolicyTargetRef } from '#api';
import type { Denial } from '#model';
import { byAge, keyOf, no, yes, type PolicyJudgement } from './attach.ts';

/** What EgressDenyPolicies do: each takes whole routes out of force, whatever these would let through. */

/** Status when a policy names none. */
const DEFAULT_STATUS = 403;

const targetsOf = ({ spec }: EgressDenyPolicy): readonly PolicyTargetRef[] => (spec.targetRef ? [spec.targetRef] : (spec.targetRefs ?? []));

const names = (target: PolicyTargetRef, kind: string, name: string): boolean => target.kind === kind && target.name === name;

/** Policies for one route, the one that answers first: oldest, then by name. */
const policiesOn = (kind: string, route: KubeObject, policies: readonly EgressDenyPolicy[]): readonly EgressDenyPolicy[] =>
  policies
    .filter((policy) => keyOf(policy).namespace === keyOf(route).namespace && targetsOf(policy).some((target) => names(target, kind, route.metadata.name)))
    .toSorted(byAge);

/** How requests of a route are refused, when some policy denies it. */
export const denialOn = (kind: string, route: KubeObject, policies: readonly EgressDenyPolicy[]): Denial | undefined => {
  const [policy] = policiesOn(kind, route, policies);
  if (!policy) return undefined;
  const { namespace, name } = keyOf(policy);
  const { statusCode = DEFAULT_STATUS, message = '' } = policy.spec.denyResponse ?? {};
  return { policy: `${namespace}/${name}`, status: statusCode, message };
};

const NO_CONFLICT = no('NoConflict', '');
const RESOLVED = yes('ResolvedRefs');

/** State of every policy at each of its targets; `routes` are those of one namespace by kind. */
export const judgeDenyPolicies = (policies: readonly EgressDenyPolicy[], routes: Readonly<Record<string, readonly KubeObject[]>>): readonly PolicyJudgement[] =>
  policies.map((policy) => ({
    key: keyOf(policy),
    ancestors: targetsOf(policy).map((target) => {
      const ancestorRef: ParentRef = target;
      const at = { ancestorRef, conflicted: NO_CONFLICT, resolvedRefs: RESOLVED };
      const route = routes[target.kind]?.find(({ metadata }) => metadata.name === target.name);
      if (!route) return { ...at, accepted: no('TargetNotFound', `There is no ${target.kind} ${target.name} in this namespace.`) };
      const winner = policiesOn(target.kind, route, policies)[0]!;
      if (winner !== policy) {
        const message = `EgressDenyPolicy ${winner.metadata.name} already denies ${target.kind} ${target.name}.`;
        return { ...at, accepted: no('Conflicted', message), conflicted: yes('Conflicted', message) };
      }
      // No route has parts a section could name: to deny too much is the side to err on.
      const message = target.sectionName ? `${target.kind} has no sections; all of ${target.name} is denied.` : `All of ${target.name} is denied.`;
      return { ...at, accepted: yes('Accepted', message) };
    }),
  }));
