import type { ModelPrice } from './price.ts';

/** Lines and records of what left, or wanted to leave, a sandbox. */

/** One line of an Envoy access log (`access-<i>.jsonl`). Envoy omits what it does not know. Produced by `egress/translate`. */
export interface AccessLine {
  /** Start, RFC 3339 with milliseconds. */
  readonly time: string;
  /** Decision id: `%STREAM_ID%` for HTTP, connection id + boot id for refused connections. */
  readonly id: string;
  /**
   * What took it: `http` (a request), `tcp` (bytes that were not looked at), `tls` (passed through by its name), `udp` (datagrams
   * of one sandbox to one address), `refused` (a connection nothing takes).
   */
  readonly chain: 'http' | 'tcp' | 'tls' | 'udp' | 'refused';
  /** Gateway, `namespace/name`. */
  readonly gateway: string;
  /** Sandbox address, without port. */
  readonly source: string;
  /** Original destination, `ip:port`. */
  readonly destination?: string;
  readonly sni?: string;
  readonly method?: string;
  /** Authority as the first filter saw it. */
  readonly host?: string;
  /** Path without query, `%PATH(NQ:PATH)%`. */
  readonly path?: string;
  /** `HTTP/1.1`, `HTTP/2`. */
  readonly protocol?: string;
  readonly status?: number;
  readonly durationMs?: number;
  /** Request bytes to upstream's side and response bytes to the sandbox. */
  readonly requestBytes?: number;
  readonly responseBytes?: number;
  readonly flags?: string;
  readonly details?: string;
  readonly upstream?: string;
  readonly upstreamFailure?: string;
  /** From route metadata `clrk`: `AIProviderRoute/ns/name`, denial reason, PolicySet revision. */
  readonly route?: string;
  readonly reason?: string;
  readonly revision?: string;
  /** The verdict it was let through or refused by; of connections, and of requests no AI or MCP route claims. */
  readonly verdict?: ConnectionVerdict;
  /** Of TLS that is passed through: `Clear`, or why the connection was closed when its client hello had been seen. */
  readonly hello?: string;
  /** From dynamic metadata `clrk.engine`, set when the engine judged the request. */
  readonly engine?: EngineMetadata;
  /** From dynamic metadata `clrk.usage`: what the provider reported. */
  readonly usage?: ReportedUsage;
  /** From dynamic metadata `clrk.credential`. */
  readonly credential?: CredentialFindings;
}

/** What was found of credentials in a request and its answer, where one was injected: names of places, never values. */
export interface CredentialFindings {
  /** What the agent sent as a credential and was removed: `header authorization, query key`; its placeholder is not named. */
  readonly replaced?: string;
  /** Where an answer held what was injected, and it was taken out: `header, body`. */
  readonly echoed?: string;
  /** Why the answer was withheld. */
  readonly refused?: string;
}

/** What a provider reported, by its own way of counting: `totals` of its file in `policy/providers` says what that is in all. */
export interface ReportedUsage {
  readonly input?: number;
  readonly output?: number;
  readonly total?: number;
  readonly cachedInput?: number;
  readonly cacheCreation?: number;
  readonly reasoning?: number;
  /** What answered. */
  readonly responseModel?: string;
  /** Why it ended; of several answers in one, joined by commas. */
  readonly finishReason?: string;
  /** The provider's own name for the answer. */
  readonly responseId?: string;
}

/** Metadata `clrk` of the cluster that is a verdict. */
export interface ConnectionVerdict {
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly route: string;
  /** Index of the rule, or -1. */
  readonly rule: number;
  /** Revision under which the destination was judged. */
  readonly revision: string;
  /** The name the dialled address stands for; empty when it stands for none. */
  readonly host: string;
}

/** What the engine attaches to a request it judged. */
export interface EngineMetadata {
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly route: string;
  readonly rule: number;
  readonly revision: string;
  readonly provider?: string;
  readonly model?: string;
  readonly operation?: string;
  readonly stream?: boolean;
  /** Output tokens of one answer at most, as the forwarded request says (of a refused one: as it was asked for). */
  readonly maxTokens?: number;
  /** Hosts the provider fetches from for this request, or was to; `*` = any. */
  readonly fetches?: readonly string[];
  /** Bounds reserved, in tokens; present when a reservation exists under the decision id. */
  readonly reservedInput?: number;
  readonly reservedOutput?: number;
  /** Part of its output may never be seen: what there is of an answer that was cut says nothing about the rest. */
  readonly hiddenReasoning?: true;
  /** What its tokens cost; absent when that is not known. What the finished request cost is `spentOf(line).cost` (#policy). */
  readonly price?: ModelPrice;
  /** Span id of this request, sent upstream in `traceparent`. */
  readonly spanId?: string;
  /** Of a request to an MCP server. */
  readonly mcp?: McpMetadata;
}

/** What a request to an MCP server said; of several messages in one, the one that was refused, or else the last. */
export interface McpMetadata {
  /** JSON-RPC method. */
  readonly method?: string;
  readonly tool?: string;
  /** URI of a resource. */
  readonly resource?: string;
  /** Header `mcp-session-id`. */
  readonly session?: string;
  /** Header `mcp-protocol-version`. */
  readonly protocol?: string;
}

/**
 * A line of `bindings.jsonl`: which invocation had which address when. Milliseconds since the epoch. `park`: a sandbox of the
 * agent has it and waits for its run; invocation, trace and span are empty. The release of a parked address has none either.
 */
export interface BindingLine {
  readonly event: 'park' | 'bind' | 'release';
  readonly time: number;
  readonly address: string;
  readonly namespace: string;
  readonly agent: string;
  readonly invocation: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Of a park and a bind: the agent's block and the gateways in list order, so that a restarted `egress` knows them. */
  readonly block?: string;
  readonly gateways?: readonly string[];
}

/**
 * A line of `egress.jsonl`: decisions `egress` took itself. `dns` = a question, answered or not; `refused-packet` = a packet
 * that the gateway namespace answered itself, because nothing takes it (`protocol` and `destination` say what it was);
 * `admit` = the engine let a request through (closes its record when Envoy dies before its own line); `refused` = the
 * engine denied; `gateway-died` = Envoy of a gateway ended, requests admitted and not logged before `time` are closed.
 */
export interface EgressLine {
  readonly event: 'dns' | 'refused-packet' | 'admit' | 'refused' | 'gateway-died';
  readonly time: number;
  readonly id: string;
  readonly gateway: string;
  readonly source: string;
  readonly host: string;
  readonly method?: string;
  readonly path?: string;
  /** `udp`, `icmp`, `tcp`, … */
  readonly protocol?: string;
  /** `ip:port`, or `ip` where the protocol has no ports. */
  readonly destination?: string;
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly engine?: EngineMetadata;
}

/** One record: a request, connection or DNS question, allowed or denied. A row of ClickHouse table `exchanges`. */
export interface ExchangeRecord {
  /** Idempotency key: the decision id. */
  readonly decisionId: string;
  /** RFC 3339 with milliseconds, UTC. */
  readonly time: string;
  readonly namespace: string;
  readonly agent: string;
  readonly invocation: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly worker: string;
  readonly gateway: string;
  readonly route: string;
  readonly revision: string;
  /** `https`, `http`, `tls` (a refused connection with a name), `tcp` (without), `udp`, `icmp`, `dns`. */
  readonly protocol: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly destination: string;
  /** HTTP status, 0 when there is none. */
  readonly status: number;
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly provider: string;
  readonly model: string;
  readonly operation: string;
  readonly stream: boolean;
  /** Whether a rule of an AIProviderRoute matched. */
  readonly routeMatched: boolean;
  readonly maxTokens?: number;
  readonly responseModel: string;
  readonly responseId: string;
  readonly finishReasons: readonly string[];
  /** All input and output, whatever a provider counts apart; absent = not reported. */
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  /** Parts of the input, and of the output. */
  readonly cachedInputTokens?: number;
  readonly cacheCreationTokens?: number;
  readonly reasoningTokens?: number;
  /** Tokens held in the budgets until the answer said what it used. */
  readonly reservedTokens?: number;
  /** What it cost, in US dollars to the millionth; absent when nobody knows: no price, no answer. */
  readonly costUsd?: number;
  /** The provider did not say what it used: the cost is the most it can have been, which is what budgets count. */
  readonly costEstimated: boolean;
  /** The provider reported more than was reserved. */
  readonly budgetOverrun: boolean;
  /** Hosts the provider fetched from for the agent, or was to; `*` = any. */
  readonly providerFetches: readonly string[];
  /** Of a request to an MCP server, as in McpMetadata; empty otherwise. */
  readonly mcpMethod: string;
  readonly mcpSession: string;
  readonly mcpProtocol: string;
  readonly tool: string;
  readonly mcpResource: string;
  /** Credentials of the agent's own that were removed, by the name of their place. */
  readonly credentialsReplaced: readonly string[];
  /** Places of the answer that held the credential that was injected; it was taken out. */
  readonly credentialsEchoed: readonly string[];
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}
