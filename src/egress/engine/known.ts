import type { Binding, Decision, EgressLine, EngineMetadata, PolicySet, RequestFacts } from '#model';
import { decide, TOOL_METHOD, type BodyFacts, type Operation, type Provider } from '#policy';
import type { Forwarded } from './body.ts';
import { mcpMetadata, type McpMessage, type McpRequest } from './mcp.ts';
import { Refusal, type RequestHead } from './request.ts';

/** What is known when a request is refused; grows while it is judged. */
export interface Known {
  set?: PolicySet;
  decision?: Decision;
  provider?: Provider;
  operation?: Operation;
  facts?: BodyFacts;
  /** It is for an MCP server; what its headers say. */
  mcpHead?: RequestHead['mcp'];
  mcp?: McpRequest;
  /** The message that is judged, or was last. */
  message?: McpMessage;
}

/** Who asks, by which rules, for what. */
export interface Recognised {
  readonly set: PolicySet;
  readonly binding: Binding;
  readonly facts: RequestFacts;
}

/** What is let through, before that is recorded. */
export interface Verdict {
  readonly decision: Decision;
  /** Facts of the request, or of each message in it. */
  readonly served: readonly RequestFacts[];
  readonly metadata: EngineMetadata;
  readonly body?: Forwarded;
  /** There is a reservation under the decision id. */
  readonly reserved: boolean;
}

/** The decision about a request, or the refusal that it is. */
export const decided = (set: PolicySet, facts: RequestFacts, known: Known): Decision => {
  const decision = decide(set, facts);
  known.decision = decision;
  if (decision.verdict === 'Denied') throw new Refusal(decision.status, decision.reason, decision.message);
  return decision;
};

/** What a record says of a request. */
export const metadataOf = (
  verdict: EngineMetadata['verdict'],
  reason: string,
  { set, decision, provider, operation, facts, mcpHead, message }: Known,
): EngineMetadata => ({
  verdict,
  reason,
  route: decision?.route ?? '',
  rule: decision?.rule ?? -1,
  revision: set?.revision ?? '',
  ...(provider && { provider: provider.name }),
  ...(operation && { operation: operation.name }),
  ...(message?.facts.method === TOOL_METHOD && { operation: 'execute_tool' }),
  ...(facts?.model !== undefined && { model: facts.model }),
  ...(facts && { stream: facts.stream, ...maxTokensOf(facts) }),
  ...(facts && facts.fetches.length > 0 && { fetches: namedHosts(facts.fetches) }),
  ...(mcpHead && { mcp: mcpMetadata(mcpHead, message) }),
});

/** The cap on one answer that the forwarded request carries. */
export const maxTokensOf = ({ outputLimit, fixedOutput }: BodyFacts, capped?: number): Pick<EngineMetadata, 'maxTokens'> => {
  const written = fixedOutput ? outputLimit : Math.min(outputLimit ?? Infinity, capped ?? Infinity);
  return written !== undefined && written > 0 && written < Infinity ? { maxTokens: written } : {};
};

/** Hosts a record names; a request can have thousands. */
const MAX_FETCHES = 32;
const namedHosts = (hosts: readonly string[]): readonly string[] => [...new Set(hosts)].slice(0, MAX_FETCHES).map((host) => host.slice(0, 253));

export const lineOf = (event: 'admit' | 'refused', head: RequestHead, metadata: EngineMetadata, time: number): EgressLine => ({
  event,
  time,
  id: head.id,
  gateway: head.gateway,
  source: head.source,
  host: head.authority.slice(0, 255),
  method: head.method.slice(0, 32),
  path: head.path.slice(0, 2048),
  verdict: metadata.verdict,
  reason: metadata.reason,
  engine: metadata,
});
