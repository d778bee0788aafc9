import { aiProviderRoutes, GROUP, notBuiltFields } from '#api';
import type { AIProviderRoute, EgressL4Route, KubeObject, MCPRoute, ParentRef } from '#api';
import type { ObjectKey } from '#model';

/** Which object attaches to which (Gateway API attachment), as the statuses of routes and policies tell it. */

/** The variable half of a condition. */
export interface ConditionState {
  readonly status: 'True' | 'False';
  /** A reason of the Gateway API, or `NotBuilt`, `SecretNotFound`, … */
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

/** Decoded values of a Secret by key; undefined when there is no such Secret. */
export type SecretLookup = (name: string, namespace: string) => Readonly<Record<string, string>> | undefined;

/** Whether a namespace has an object of a kind of ours. */
export type Exists = (kind: string, name: string, namespace: string) => boolean;

export const yes = (reason: string, message = ''): ConditionState => ({ status: 'True', reason, message });
export const no = (reason: string, message: string): ConditionState => ({ status: 'False', reason, message });
const RESOLVED = yes('ResolvedRefs');

export const keyOf = (object: KubeObject): ObjectKey => ({ namespace: object.metadata.namespace ?? '', name: object.metadata.name });
export const createdAt = (object: KubeObject): number => Date.parse(object.metadata.creationTimestamp ?? '') || 0;
/** Older first, then by name: the order of everything that competes. */
export const sortedByAge = <T extends KubeObject>(objects: readonly T[]): readonly T[] =>
  objects
    .map((object) => ({ object, at: createdAt(object), name: object.metadata.name }))
    .sort((a, b) => a.at - b.at || (a.name < b.name ? -1 : 1))
    .map(({ object }) => object);

/** Whether a reference means an object of `kind` in the namespace of the one that refers. */
export const refersTo = (ref: ParentRef, from: KubeObject, kind: string, defaultKind?: string): boolean =>
  (ref.kind ?? defaultKind) === kind && (!ref.group || ref.group === GROUP) && (!ref.namespace || ref.namespace === keyOf(from).namespace);

/** A route of any kind. */
export type AnyRoute = AIProviderRoute | MCPRoute | EgressL4Route;

/** Where a reference of a route leads, when it means a gateway at all. */
export const gatewayOfRef = (ref: ParentRef, route: AnyRoute): ObjectKey | undefined =>
  (ref.kind ?? 'EgressGateway') === 'EgressGateway' && (!ref.group || ref.group === GROUP)
    ? { namespace: ref.namespace || keyOf(route).namespace, name: ref.name }
    : undefined;

/** Indexes of the references of a route that name this gateway. */
export const parentsAt = (route: AnyRoute, gateway: ObjectKey): readonly number[] =>
  route.spec.parentRefs.flatMap((ref, index) => {
    const named = gatewayOfRef(ref, route);
    return named?.name === gateway.name && named.namespace === gateway.namespace ? [index] : [];
  });

/**
 * States of the references of a route that reach no gateway. The others are judged by `compileGateway` of the gateway they name.
 */
export const unmatchedParents = (route: AnyRoute, gatewayExists: (gateway: ObjectKey) => boolean): readonly RouteParent[] =>
  route.spec.parentRefs.flatMap((parentRef): RouteParent[] => {
    const gateway = gatewayOfRef(parentRef, route);
    if (!gateway) {
      const what = `${parentRef.group ? `${parentRef.group}/` : ''}${parentRef.kind ?? 'EgressGateway'}`;
      return [
        { parentRef, accepted: no('InvalidKind', `${what} is not a kind a route can attach to; use EgressGateway of ${GROUP}.`), resolvedRefs: RESOLVED },
      ];
    }
    if (gatewayExists(gateway)) return [];
    const where = gateway.namespace === keyOf(route).namespace ? 'this namespace' : `namespace ${gateway.namespace}`;
    return [{ parentRef, accepted: no('NoMatchingParent', `There is no EgressGateway ${gateway.name} in ${where}.`), resolvedRefs: RESOLVED }];
  });

/** Paths of a route that are set but not built. */
export const notBuiltOfRoute = (route: AIProviderRoute): readonly string[] => notBuiltFields(aiProviderRoutes, route);

/** Whether a route is accepted, with what a user should know of its rules; `nothing` = none of them can be served. */
export const withRemarks = (accepted: ConditionState, remarks: string, nothing: boolean): ConditionState => {
  if (accepted.status === 'False') return accepted;
  return nothing ? no('UnsupportedValue', remarks) : yes(accepted.reason, [accepted.message, remarks].filter(Boolean).join(' '));
};
