import {
  EGRESS_CONTROLLER,
  egressGateways,
  type Condition,
  type CredentialInjectionPolicy,
  type EgressDenyPolicy,
  type EgressGateway,
  type Kind,
  type ParentRef,
} from '#api';
import { canonicalJson, kubeTime } from '#lib';
import type { GatewayState } from '#model';
import { no, yes, type AnyRoute, type CompiledListener, type ConditionState, type PolicyJudgement, type RouteParent } from '#policy';
import { enforced, foldConditions, type Finding } from '../status.ts';
import { certificateState } from './certificate-status.ts';
import type { GatewayPlan } from './plans.ts';

/** A worker that should serve the gateway, and what its egress says of it. */
export interface ServingWorker {
  readonly worker: string;
  readonly state?: GatewayState;
}

const finding = (type: string, { status, reason, message }: ConditionState): Finding => ({ type, status, reason, message });

const readiness = ({ compiled, problem }: GatewayPlan, workers: readonly ServingWorker[]): Finding => {
  const notReady = (reason: string, message: string): Finding => ({ type: 'Ready', status: 'False', reason, message });
  if (problem) return notReady(problem.reason, problem.message);
  const [error] = compiled.errors;
  if (error) return notReady(error.reason, compiled.errors.map(({ message }) => message).join(' '));
  if (workers.length === 0) return notReady('GatewayNotProgrammed', 'No worker of this namespace is connected.');
  const { revision } = compiled.policySet;
  const behind = workers.filter(({ state }) => state?.revision !== revision || state.error !== '');
  if (behind.length === 0) {
    const message = `Revision ${revision} is in force on every worker.`;
    return { type: 'Ready', status: 'True', reason: 'Programmed', message };
  }
  const why = behind.map(({ worker, state }) => `worker ${worker}: ${state?.error || 'not acknowledged yet'}`);
  return notReady('GatewayNotProgrammed', `Revision ${revision} is not in force everywhere (${why.join('; ')}).`);
};

/** Whether what the listeners take is in force everywhere. */
const programming = ({ compiled, problem }: GatewayPlan, workers: readonly ServingWorker[]): ConditionState => {
  const { revision } = compiled.policySet;
  if (problem) return no('Invalid', problem.message);
  const behind = workers.filter(({ state }) => state?.revision !== revision || state.error !== '').map(({ worker }) => worker);
  if (workers.length === 0) return no('Pending', 'No worker of this namespace is connected.');
  return behind.length > 0 ? no('Pending', `Revision ${revision} is not in force on worker ${behind.join(', ')}.`) : yes('Programmed');
};

/** What is said at a listener, with the authority it names. */
const listenerFindings = (plan: GatewayPlan, { name, accepted, conflicted }: CompiledListener, programmed: ConditionState): readonly Finding[] => {
  const authority = plan.listenerAuthorities.get(name);
  return [
    finding('Accepted', accepted),
    finding('Programmed', programmed),
    finding('ResolvedRefs', authority?.resolvedRefs ?? yes('ResolvedRefs')),
    finding('Conflicted', authority?.conflicted ?? conflicted),
  ];
};

/** Status of a gateway: what was asked, and which revision is in force where. */
export const gatewayStatus = (
  plan: GatewayPlan,
  gateway: EgressGateway,
  workers: readonly ServingWorker[],
  now: string,
): NonNullable<EgressGateway['status']> => {
  const { generation } = gateway.metadata;
  const programmed = programming(plan, workers);
  const known = new Map(gateway.status?.listeners?.map((listener) => [listener.name, listener]));
  return {
    listenerCount: gateway.spec.listeners.length,
    listeners: plan.compiled.listeners.map((listener) => ({
      name: listener.name,
      attachedRoutes: listener.attachedRoutes,
      conditions: foldConditions(known.get(listener.name)?.conditions, listenerFindings(plan, listener, programmed), now, generation),
    })),
    programmed: workers.flatMap(({ worker, state }) => (state?.revision ? [{ worker, revision: state.revision, time: kubeTime(state.since) }] : [])),
    conditions: foldConditions(
      gateway.status?.conditions,
      [readiness(plan, workers), ...certificateState(plan, Date.parse(now)), enforced(egressGateways, gateway)],
      now,
      generation,
    ),
  };
};

interface Attachment {
  readonly ref: ParentRef;
  readonly findings: readonly Finding[];
}
interface Entry {
  readonly controllerName: string;
  readonly conditions?: readonly Condition[];
}

/** Entries of a `parents` or `ancestors` list, in the order of the references; those of other controllers stay. */
const entries = <E extends Entry, K extends 'parentRef' | 'ancestorRef'>(
  field: K,
  old: readonly (E & Record<K, ParentRef>)[] | undefined,
  attachments: readonly Attachment[],
  now: string,
  generation: number | undefined,
) => [
  ...attachments.map(({ ref, findings }) => {
    const before = old?.find((entry) => entry.controllerName === EGRESS_CONTROLLER && canonicalJson(entry[field]) === canonicalJson(ref));
    return { [field]: ref, controllerName: EGRESS_CONTROLLER, conditions: foldConditions(before?.conditions, findings, now, generation) };
  }),
  ...(old ?? []).filter(({ controllerName }) => controllerName !== EGRESS_CONTROLLER),
];

/** A policy of any kind that attaches to objects. */
export type AnyPolicy = CredentialInjectionPolicy | EgressDenyPolicy;

/** States at parents, with what is said of references in the rules: the same at every parent. */
export const withDangling = (parents: readonly RouteParent[], resolvedRefs: ConditionState | undefined): readonly RouteParent[] =>
  resolvedRefs ? parents.map((parent) => ({ ...parent, resolvedRefs })) : parents;

/** Status of a route from the state of each of its references. */
export const routeStatus = (kind: Kind, route: AnyRoute, parents: readonly RouteParent[], now: string): object => {
  const order = (ref: ParentRef): number => route.spec.parentRefs.findIndex((candidate) => canonicalJson(candidate) === canonicalJson(ref));
  const attachments = parents
    .toSorted((a, b) => order(a.parentRef) - order(b.parentRef))
    .map(({ parentRef, accepted, resolvedRefs }) => ({
      ref: parentRef,
      findings: [finding('Accepted', accepted), finding('ResolvedRefs', resolvedRefs), enforced(kind, route)],
    }));
  return { parents: entries('parentRef', route.status?.parents, attachments, now, route.metadata.generation) };
};

/** A credential that the egress of a worker cannot inject. */
export interface CredentialTrouble {
  readonly worker: string;
  /** `namespace/name` */
  readonly gateway: string;
  readonly reason: string;
}

/** What only a gateway finds out of a credential; that it is being asked for passes by itself. */
const TROUBLES: Readonly<Record<string, string>> = {
  TokenRefused: 'no token is given out for the key in the Secret: it is deleted, foreign, or may not have one',
  TokenUnavailable: 'nobody answers the request for a token; it is tried again',
};

/** The same policy, with what workers say of its credential. */
export const withTroubles = (judgement: PolicyJudgement, troubles: readonly CredentialTrouble[]): PolicyJudgement => {
  const told = troubles.filter(({ reason }) => Object.hasOwn(TROUBLES, reason));
  const [first] = told;
  if (!first) return judgement;
  const where = told.map(({ worker, gateway }) => `worker ${worker} at gateway ${gateway}`).join(', ');
  const resolvedRefs = no(first.reason, `Requests are refused, because ${TROUBLES[first.reason]!} (${where}). The log of the worker says more.`);
  return {
    ...judgement,
    ancestors: judgement.ancestors.map((ancestor) => (ancestor.resolvedRefs.status === 'True' ? { ...ancestor, resolvedRefs } : ancestor)),
  };
};

/** Status of a policy from the state at each of its targets. */
export const policyStatus = (kind: Kind, policy: AnyPolicy, { ancestors }: PolicyJudgement, now: string): object => {
  const attachments = ancestors.map(({ ancestorRef, accepted, conflicted, resolvedRefs }) => ({
    ref: ancestorRef,
    findings: [finding('Accepted', accepted), finding('Conflicted', conflicted), finding('ResolvedRefs', resolvedRefs), enforced(kind, policy)],
  }));
  // At most 16 entries: the limit of the list in the Gateway API.
  return { ancestors: entries('ancestorRef', policy.status?.ancestors, attachments, now, policy.metadata.generation).slice(0, 16) };
};
