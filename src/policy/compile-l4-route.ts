import { canonicalJson } from '#lib';
import type { EgressL4Route } from '#api';
import type { Denial, L4Route } from '#model';
import { createdAt, keyOf, no, withRemarks, yes, type Exists } from './attach.ts';
import { attach, type Fit, type GatewayListeners, type RouteKind } from './attach-listeners.ts';
import { agentFinder, compileL4Rules, l4Remarks, type AgentLabels } from './compile-l4.ts';
import type { CompiledRoute } from './compile.ts';

/** An L4 route at one gateway. */
export interface CompiledL4Route {
  /** Absent when it does not name the gateway. */
  readonly states?: CompiledRoute;
  /** What it lets through; absent when no listener takes it. */
  readonly route?: L4Route;
  /** Canonical JSON of `route`. */
  readonly text: string;
}

const KIND: RouteKind = 'EgressL4Route';

/** A listener can serve an L4 route when it takes a protocol that some match is for. */
const fitOf = ({ spec }: EgressL4Route): Fit => {
  const protocols = new Set(spec.rules.flatMap(({ matches = [] }) => matches.map(({ protocol }) => protocol)));
  const [only] = protocols.size === 1 ? protocols : [];
  return {
    kind: KIND,
    fits: (shape) => only === undefined || (shape === 'udp') === (only === 'UDP'),
    needs:
      only === 'UDP' ? 'rules with protocol UDP need a listener with protocol UDP' : 'rules with protocol TCP need a listener of another protocol than UDP',
  };
};

interface Around {
  readonly at: GatewayListeners;
  readonly agents: AgentLabels;
  readonly exists: Exists;
}

const compile = (route: EgressL4Route, { at, exists }: Around, agentsOf: ReturnType<typeof agentFinder>, denied: Denial | undefined): CompiledL4Route => {
  const { parents, listeners } = attach(route, at, fitOf(route));
  if (parents.length === 0) return { text: '' };
  const isUdp = (name: string): boolean => at.listeners.some((listener) => listener.name === name && listener.shape === 'udp');
  const rules = compileL4Rules(route, agentsOf, exists, listeners.length > 0 && listeners.every(isUdp));
  const remarks = l4Remarks(rules);
  const refused = rules.find((rule) => rule.refused && rule.refused.reason !== 'UnsupportedValue')?.refused;
  const resolvedRefs = refused ? no(refused.reason, refused.message) : yes('ResolvedRefs');
  const unsupported = rules.every((rule) => rule.refused?.reason === 'UnsupportedValue');
  const key = keyOf(route);
  const states = {
    kind: KIND,
    key,
    parents: parents.map(({ parentRef, accepted }) => ({ parentRef, accepted: withRemarks(accepted, remarks, unsupported), resolvedRefs })),
  };
  if (listeners.length === 0) return { states, text: '' };
  const compiled: L4Route = { route: key, createdAt: createdAt(route), listeners, rules, ...(denied && { denied }) };
  return { states, route: compiled, text: canonicalJson(compiled) };
};

/** All that a compiled route follows from beside itself, as text. */
interface Basis {
  readonly listeners: string;
  readonly labels: string;
  readonly agents: string;
  readonly denied: string;
}

/** What each route was compiled to last, by gateway. Objects are never changed: another version of a route is another object. */
const known = new WeakMap<EgressL4Route, Map<string, { readonly basis: Basis; readonly compiled: CompiledL4Route }>>();

const selectsAgents = ({ spec }: EgressL4Route): boolean => spec.rules.some(({ matches = [] }) => matches.some(({ sourceAgents }) => sourceAgents));
const hasReferences = ({ spec }: EgressL4Route): boolean =>
  spec.rules.some(({ filters, backendRefs }) => (filters?.length ?? 0) > 0 || (backendRefs?.length ?? 0) > 0);

/**
 * Compiles routes of one gateway. One that is the same object as last time, with the same around it, is not compiled again: of a
 * thousand routes one changes. Those that refer to other objects always are.
 */
export const l4RouteCompiler = (around: Around): ((route: EgressL4Route, denied: Denial | undefined) => CompiledL4Route) => {
  const { at, agents } = around;
  const agentsOf = agentFinder(agents);
  const gateway = JSON.stringify(keyOf(at.gateway));
  const listeners = JSON.stringify([at.gateway.spec.listeners, at.listeners]);
  const allAgents = JSON.stringify([...agents]);
  const labels = new Map<string, string>();
  const labelsOf = (namespace: string): string => {
    let text = labels.get(namespace);
    if (text === undefined) labels.set(namespace, (text = JSON.stringify(at.namespaceLabels(namespace) ?? null)));
    return text;
  };
  return (route, denied) => {
    if (hasReferences(route)) return compile(route, around, agentsOf, denied);
    const basis: Basis = {
      listeners,
      labels: labelsOf(keyOf(route).namespace),
      agents: selectsAgents(route) ? allAgents : '',
      denied: denied ? JSON.stringify(denied) : '',
    };
    const before = known.get(route)?.get(gateway);
    if (before && isSame(before.basis, basis)) return before.compiled;
    const compiled = compile(route, around, agentsOf, denied);
    const ofRoute = known.get(route) ?? new Map();
    known.set(route, ofRoute.set(gateway, { basis, compiled }));
    return compiled;
  };
};

const isSame = (a: Basis, b: Basis): boolean => a.listeners === b.listeners && a.labels === b.labels && a.agents === b.agents && a.denied === b.denied;
