import type { Agent } from '#api';
import { keyOf, splitKey } from '#kube';
import type { ExplainAnswer, ExplainedMiss, Explanation, ExplainPort, ExplainQuestion, PolicySet } from '#model';
import { explainConnection, explainRequest, parseQuestion, type Explanation as Explained, type Question } from '#policy';
import type { Context } from '../context.ts';
import type { GatewayPlan, Plans } from './plans.ts';

/** What the agent would see of a refusal. Nothing but HTTP can be told why. */
const seenOf = (
  { verdict, handling, status }: Explained['decision'],
  { connection, request }: Question,
): { readonly status: number; readonly sees: string } => {
  if (verdict === 'Allowed') return { status: 0, sees: request ? 'the answer of the upstream' : 'the upstream' };
  if (handling === 'terminate' || handling === 'http') {
    if (request) return { status, sees: `HTTP ${status}, with the reason as JSON` };
    return {
      status,
      sees: `HTTP ${status} with the reason as JSON to each request${handling === 'terminate' ? ' inside TLS' : ''}; nothing else is understood`,
    };
  }
  if (handling === 'udp' || connection.transport === 'UDP') return { status: 0, sees: 'no answer: the datagram is dropped or rejected' };
  const named = connection.host === undefined ? '' : ', or its name is unknown (NXDOMAIN)';
  return { status: 0, sees: `a connection that is refused or closed at once${named}` };
};

/** What is looked at only when it is dialled. */
const resolution = ({ verdict, engine, ranges }: Explained['decision'], { connection: { host, address } }: Question): readonly string[] => {
  if (verdict === 'Denied' || engine) return [];
  if (host === undefined) return [`${address} is dialled unless it is an address of the worker itself.`];
  const where = ranges ? `in ${ranges.join(', ')}` : 'public, or where a hostAlias of the gateway names it';
  return [`What ${host} resolves to is dialled where it is ${where}.`];
};

/** The agent of a name; a TaskAgent goes before a DaemonAgent. */
const agentOf = ({ caches }: Context, { namespace, agent }: ExplainQuestion): Agent | undefined =>
  caches.agents.get(namespace, agent) ?? caches.daemons.get(namespace, agent);

const NO_GATEWAY = {
  handling: 'refuse',
  listener: '',
  route: '',
  rule: -1,
  policies: [],
  ranges: [],
  revision: '',
  inForce: true,
  steps: [],
  misses: [],
} as const;

/** Routes that name the gateway, and that no listener of it takes. */
const detached = ({ routes, policySet: { gateway } }: GatewayPlan['compiled']): readonly ExplainedMiss[] =>
  routes
    .filter(({ parents }) => parents.every(({ accepted }) => accepted.status !== 'True'))
    .map(({ kind, key, parents }) => ({
      gateway: `${gateway.namespace}/${gateway.name}`,
      route: `${kind}/${key.namespace}/${key.name}`,
      rule: -1,
      match: -1,
      why: `spec.parentRefs: not attached (${parents[0]!.accepted.reason}). ${parents[0]!.accepted.message}`,
    }));

/** `ExplainPort` over the plans as they are now: the newest rules, decided by `policy` like everything else. */
export const createExplainer = (context: Context, plans: Plans): ExplainPort => {
  const { workers, egresses } = context;

  /** Workers that do not enforce the newest rules of a gateway, each with why. */
  const behind = (gateway: string, { revision }: PolicySet): readonly string[] =>
    workers
      .all()
      .filter(({ report }) => splitKey(report.pool).namespace === splitKey(gateway).namespace)
      .flatMap(({ worker }) => {
        const state = egresses.get(worker)?.gateways.find((candidate) => candidate.gateway === gateway);
        if (state?.revision === revision && state.error === '') return [];
        return [
          `worker ${worker} ${state?.error ? `cannot: ${state.error}` : state?.revision ? `still enforces ${state.revision}` : 'has not acknowledged it yet'}`,
        ];
      });

  /** Gateways of an agent that are served, in its order, and what is wrong with the others. */
  const gatewaysOf = (agent: Agent): { readonly served: readonly GatewayPlan[]; readonly warnings: readonly string[] } => {
    const { namespace = '' } = agent.metadata;
    const served: GatewayPlan[] = [];
    const warnings: string[] = [];
    for (const [index, { gatewayRef }] of (agent.spec.egressRefs ?? []).entries()) {
      const plan = plans.of(namespace)?.gateways.get(gatewayRef);
      if (plan && plan.problem === undefined) served.push(plan);
      else {
        const absent = context.caches.gateways.get(namespace, gatewayRef) ? 'was only just made; ask again' : 'does not exist';
        warnings.push(`spec.egressRefs[${index}]: gateway ${namespace}/${gatewayRef} ${plan ? `is not served: ${plan.problem?.message ?? ''}` : absent}`);
      }
    }
    return { served, warnings };
  };

  const explained = (sets: readonly PolicySet[], agent: string, { connection, request }: Question): Explained => {
    const { host, port, speaks, sni } = connection;
    // To an address, or without a server name, it is the connection that decides.
    if (!request || host === undefined || (speaks === 'tls' && sni === undefined)) return explainConnection(sets, { agent, ...connection });
    return explainRequest(sets, {
      agent,
      host,
      port,
      scheme: speaks === 'tls' ? 'https' : 'http',
      ...request,
      ...(sni !== undefined && { sni }),
    });
  };

  const answer = (agent: Agent, question: Question): Explanation => {
    const name = keyOf(agent);
    const { served, warnings } = gatewaysOf(agent);
    const asked = { agent: name, asked: question.asked };
    if (served.length === 0) {
      const why = agent.spec.egressRefs?.length ? 'none of its gateways is served' : 'it has no spec.egressRefs';
      const denied = { verdict: 'Denied', reason: 'NoGateway', message: `Nothing leaves agent ${name}: ${why}.`, status: 0 } as const;
      return { ...asked, ...denied, ...NO_GATEWAY, sees: 'no network: names are not resolved, connections are refused', gateway: '', warnings };
    }
    const { decision, gateway, steps, missed } = explained(
      served.map(({ compiled }) => compiled.policySet),
      name,
      question,
    );
    const plan = served.find((candidate) => keyOf(candidate.gateway) === gateway)!;
    const late = behind(gateway, plan.compiled.policySet);
    const unattached = served.flatMap(({ compiled }) => detached(compiled));
    const { verdict, reason, message, handling = 'refuse', listener = '', route, rule, policies, ranges = [], revision } = decision;
    return {
      ...asked,
      verdict,
      reason,
      message,
      handling,
      listener,
      route,
      rule,
      policies,
      ranges,
      revision,
      steps: [...steps, ...resolution(decision, question)],
      misses: [...missed.map(({ gateway: at, route: of, rule: r, match, why }) => ({ gateway: at, route: of, rule: r, match, why })), ...unattached],
      ...seenOf(decision, question),
      gateway,
      inForce: late.length === 0,
      warnings: [...warnings, ...(late.length > 0 ? [`revision ${revision} of gateway ${gateway} is not in force everywhere: ${late.join('; ')}`] : [])],
    };
  };

  return {
    async explain(question): Promise<ExplainAnswer> {
      const agent = agentOf(context, question);
      if (!agent) return { refusal: { reason: 'NotFound', message: `there is no agent "${question.agent}" in namespace "${question.namespace}"` } };
      const parsed = parseQuestion(question);
      if (typeof parsed === 'string') return { refusal: { reason: 'BadRequest', message: parsed } };
      return { explanation: answer(agent, parsed) };
    },
  };
};
