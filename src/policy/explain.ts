import type { ConnectionDecision, ConnectionFacts, Decision, PolicySet, RequestFacts } from '#model';
import { cidrContains, parseAddress, parseCidr } from './cidr.ts';
import { judgingAt, providerAt } from './claimed.ts';
import { decideConnection, groupFor } from './connection.ts';
import { decide, mcpAt } from './decide.ts';
import { byDistance, gatewayName, missedClaims, missedL4, missedMessages, missedRequests, type Missed } from './explain-misses.ts';
import { admitsName } from './names.ts';
import { coversPort } from './l4.ts';
import { answersDenied } from './listeners.ts';
import { cidrTargets } from './targets.ts';

/** The decision about a connection or request, and why nothing else decided. */
export interface Explanation {
  /** `namespace/name` of the gateway that decides; empty when the agent has none. */
  readonly gateway: string;
  /** Why this one, when there are several, and what DNS does with the name. */
  readonly steps: readonly string[];
  readonly decision: Decision & Partial<ConnectionDecision>;
  /** Everything that did not match, at every gateway, the nearest first. */
  readonly missed: readonly Missed[];
}

const NO_GATEWAY: Decision = {
  verdict: 'Denied',
  reason: 'NoGateway',
  message: 'The agent has no gateway (spec.egressRefs), so nothing goes out.',
  status: 403,
  route: '',
  rule: -1,
  policies: [],
  revision: '',
};

const wantsAddress = (set: PolicySet, { agent, address, port, transport }: ConnectionFacts): boolean => {
  const parsed = parseAddress(address ?? '');
  return cidrTargets(set).some(
    (target) =>
      parsed !== undefined &&
      target.transport === transport &&
      coversPort(target.ports, port) &&
      (!target.agents || target.agents.includes(agent)) &&
      cidrContains(parseCidr(target.cidr)!, parsed),
  );
};

interface Choice {
  readonly set: PolicySet;
  readonly steps: readonly string[];
}

/** Which gateway of the agent gets the connection. */
const chooseGateway = (sets: readonly PolicySet[], facts: ConnectionFacts): Choice | undefined => {
  const [first] = sets;
  if (!first) return undefined;
  const { host, agent, port } = facts;
  if (host === undefined) {
    const set = sets.find((candidate) => wantsAddress(candidate, facts));
    if (set) return { set, steps: [`Gateway ${gatewayName(set)} is the first of the agent's with a range that covers ${facts.address} on port ${port}.`] };
    return {
      set: first,
      steps: [`No gateway of the agent has a range that covers ${facts.address} on port ${port}; the first, ${gatewayName(first)}, refuses it.`],
    };
  }
  const set = sets.find((candidate) => admitsName(candidate, agent, host));
  if (set) return { set, steps: [`DNS answers ${host}: gateway ${gatewayName(set)} is the first of the agent's with a route that names it.`] };
  const refusing = sets.find(answersDenied);
  const nobody = `No gateway of the agent has a route that names ${host} for it`;
  if (refusing) return { set: refusing, steps: [`${nobody}; DNS answers an address at which gateway ${gatewayName(refusing)} only says that it is denied.`] };
  return { set: first, steps: [`${nobody}, so DNS answers NXDOMAIN.`] };
};

const listenersFor = (set: PolicySet, facts: ConnectionFacts): readonly string[] => {
  const isTls = facts.transport === 'TCP' && facts.speaks === 'tls';
  const judging = facts.host !== undefined && isTls ? judgingAt(set, facts.host, facts.port) : undefined;
  return judging?.group.names ?? groupFor(set, facts)?.names ?? [];
};

const listenerStep = ({ listener, handling }: ConnectionDecision, { transport, port, speaks }: ConnectionFacts): string => {
  const what = transport === 'UDP' ? 'UDP' : speaks === 'tls' ? 'TLS' : 'cleartext';
  return listener === '' ? `No listener takes ${what} to port ${port}.` : `Listener ${listener} takes ${what} to port ${port} (${handling}).`;
};

/** The same decision as `decideConnection`, at the gateway (`sets` in the order of egressRefs) that gets the connection, with reasons. */
export const explainConnection = (sets: readonly PolicySet[], facts: ConnectionFacts): Explanation => {
  const chosen = chooseGateway(sets, facts);
  if (!chosen) return { gateway: '', steps: [], decision: NO_GATEWAY, missed: [] };
  const decision = decideConnection(chosen.set, facts);
  const missed = sets.flatMap((set) => [...missedClaims(set, facts), ...missedL4(set, facts, listenersFor(set, facts))]);
  const gateway = gatewayName(chosen.set);
  return { gateway, steps: [...chosen.steps, listenerStep(decision, facts)], decision, missed: byDistance(missed, gateway) };
};

/** What is asked about a request: it goes to the name in its URL, over TLS or not. */
export interface RequestQuestion extends Omit<RequestFacts, 'provider'> {
  readonly agent: string;
  readonly scheme: 'https' | 'http';
  /** Server name of the client hello, when it is not the host. */
  readonly sni?: string;
}

const mcpStep = ({ method, mcp = {} }: RequestFacts): string => {
  const what = mcp.method ?? (method === 'GET' ? 'opening a stream of the server' : 'ending a session');
  const about = mcp.tool ?? mcp.resource;
  return `It is for an MCP server, which is judged by message; this one is ${what}${about === undefined ? '' : ` of ${JSON.stringify(about)}`}.`;
};

/** The same for an HTTP request to a name: of the connection, and where AI or MCP routes claim the name, of the request itself. */
export const explainRequest = (sets: readonly PolicySet[], question: RequestQuestion): Explanation => {
  const { agent, scheme, sni = question.host, host, port, method } = question;
  const tls = scheme === 'https';
  const facts: ConnectionFacts = { agent, transport: 'TCP', host, port, speaks: tls ? 'tls' : 'plain', ...(tls && { sni }) };
  const explained = explainConnection(sets, facts);
  const set = sets.find((candidate) => gatewayName(candidate) === explained.gateway);
  if (!set || explained.decision.verdict === 'Denied' || !explained.decision.engine) return explained;
  const { mcpRoutes, aiRoutes } = judgingAt(set, host, port)!;
  const { handling, listener } = explained.decision;
  const mcp = mcpAt(set, question) === 'server';
  const provider = mcp ? undefined : providerAt(set, host)?.name;
  // A message nobody described is the first one of a session.
  const asked: RequestFacts = mcp && method === 'POST' && !question.mcp ? { ...question, mcp: { method: 'initialize' } } : question;
  const request = { ...asked, ...(provider && { provider }) };
  const decision = { ...decide(set, request), engine: true, ...(handling && { handling }), ...(listener !== undefined && { listener }) };
  const steps = mcp ? [...explained.steps, mcpStep(request)] : explained.steps;
  return {
    ...explained,
    steps,
    decision,
    missed: [...missedMessages(set, mcpRoutes, request), ...missedRequests(set, aiRoutes, request), ...explained.missed],
  };
};
