import { GROUP, type AIProviderRoute, type EgressGateway, type EgressL4Route, type MCPRoute, type ParentRef } from '#api';
import type { ListenerShape, ObjectKey, PolicyListener } from '#model';
import { keyOf, no, parentsAt, yes, type ConditionState } from './attach.ts';
import { selects, type Labels } from './selector.ts';

/** Which listeners of a gateway a route attaches to: named by it, allowing it, and of a shape that can serve it. */

export type RouteKind = 'AIProviderRoute' | 'MCPRoute' | 'EgressL4Route';

export interface GatewayListeners {
  readonly gateway: EgressGateway;
  readonly listeners: readonly PolicyListener[];
  /** Labels of a namespace; undefined when it is not known. */
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
}

/** What a kind of route asks of a listener. */
export interface Fit {
  readonly kind: RouteKind;
  readonly fits: (shape: ListenerShape) => boolean;
  /** What it needs, as a sentence. */
  readonly needs: string;
}

export interface Attachment {
  readonly parents: readonly { readonly parentRef: ParentRef; readonly accepted: ConditionState }[];
  /** Names of the listeners it is attached to, in the order of the gateway. */
  readonly listeners: readonly string[];
}

type ListenerSpec = EgressGateway['spec']['listeners'][number];

/** Why a listener takes no routes of a namespace; undefined when it does. */
const namespaceProblem = (
  { allowedRoutes }: ListenerSpec,
  gateway: ObjectKey,
  from: string,
  labelsOf: GatewayListeners['namespaceLabels'],
): string | undefined => {
  const { from: allowed = 'Same', selector } = allowedRoutes?.namespaces ?? {};
  if (allowed === 'All' || (allowed === 'Same' && from === gateway.namespace)) return undefined;
  if (allowed === 'None') return 'takes routes of no namespace (allowedRoutes.namespaces.from is None)';
  if (allowed === 'Same') return `takes routes of its own namespace only; set allowedRoutes.namespaces.from to All or Selector to take those of ${from}`;
  if (!selector) return 'has allowedRoutes.namespaces.from Selector and no selector, which selects nothing';
  const labels = labelsOf(from);
  if (labels && selects(selector, labels)) return undefined;
  return `takes routes of namespaces with certain labels (allowedRoutes.namespaces.selector), and ${from} does not have them`;
};

const kindProblem = ({ allowedRoutes }: ListenerSpec, kind: RouteKind): string | undefined => {
  const kinds = allowedRoutes?.kinds;
  if (!kinds?.length || kinds.some((allowed) => allowed.kind === kind && (!allowed.group || allowed.group === GROUP))) return undefined;
  return `takes routes of kind ${kinds.map((allowed) => allowed.kind).join(', ')} only (allowedRoutes.kinds)`;
};

/** What a reference means by its section and port; a reason and a sentence when that is nothing. */
const named = ({ sectionName, port, name }: ParentRef, listeners: readonly PolicyListener[]): readonly PolicyListener[] | string => {
  const sections = listeners.filter((listener) => !sectionName || listener.name === sectionName);
  const all = listeners.map((listener) => listener.name).join(', ');
  if (sections.length === 0) return `EgressGateway ${name} has no listener ${sectionName}; it has ${all}.`;
  const ports = sections.filter((listener) => port === undefined || listener.port === port);
  return ports.length > 0
    ? ports
    : `${sectionName ? `Listener ${sectionName}` : `No listener of EgressGateway ${name}`} is ${sectionName ? 'not ' : ''}for exactly port ${port}.`;
};

const attachRef = (
  ref: ParentRef,
  from: string,
  { gateway, listeners, namespaceLabels }: GatewayListeners,
  { kind, fits, needs }: Fit,
): readonly string[] | ConditionState => {
  const found = named(ref, listeners);
  if (typeof found === 'string') return no('NoMatchingParent', found);
  const specs = new Map(gateway.spec.listeners.map((listener) => [listener.name, listener]));
  const problems: string[] = [];
  const attached = found.filter(({ name, shape }) => {
    const spec = specs.get(name)!;
    const problem =
      namespaceProblem(spec, keyOf(gateway), from, namespaceLabels) ?? kindProblem(spec, kind) ?? (fits(shape) ? undefined : `is of shape ${shape}; ${needs}`);
    if (problem) problems.push(`listener ${name} ${problem}`);
    return !problem;
  });
  return attached.length > 0 ? attached.map(({ name }) => name) : no('NotAllowedByListeners', `${problems.join('; ').replace(/^l/, 'L')}.`);
};

/** The references of a route that name the gateway. */
export const attach = (route: AIProviderRoute | MCPRoute | EgressL4Route, at: GatewayListeners, fit: Fit): Attachment => {
  const attached = new Set<string>();
  const parents = parentsAt(route, keyOf(at.gateway)).map((index) => {
    const parentRef = route.spec.parentRefs[index]!;
    const result = attachRef(parentRef, keyOf(route).namespace, at, fit);
    if (!('length' in result)) return { parentRef, accepted: result };
    for (const name of result) attached.add(name);
    return { parentRef, accepted: yes('Accepted', `Attached to listener ${result.join(', ')}.`) };
  });
  return { parents, listeners: at.listeners.map(({ name }) => name).filter((name) => attached.has(name)) };
};
