import type { Handling } from './policy-set.ts';

/** What a gateway would decide, and why: the question of `clrk explain` and its answer. */

/** As it is asked: `method` and `url`, or `protocol` (`tcp`, `udp`) and `destination` (`host:port`). */
export interface ExplainQuestion {
  readonly namespace: string;
  readonly agent: string;
  readonly method?: string;
  readonly url?: string;
  readonly protocol?: string;
  readonly destination?: string;
  /** Server name of the TLS hello; empty = TLS without one. */
  readonly sni?: string;
  /** Model that a request asks for. */
  readonly model?: string;
  /** Of a message to an MCP server: its JSON-RPC method, the tool it calls, the URI of a resource. */
  readonly mcpMethod?: string;
  readonly tool?: string;
  readonly resource?: string;
}

/** A match of a route that does not hold. */
export interface ExplainedMiss {
  /** Gateway, `namespace/name`. */
  readonly gateway: string;
  /** `EgressL4Route/<namespace>/<name>`, or another kind. */
  readonly route: string;
  /** Index of the rule, or -1 when no rule was looked at. */
  readonly rule: number;
  /** Index of the match in its rule, or -1. */
  readonly match: number;
  /** Why it does not hold, with the path of the field in the route that would have to be different. */
  readonly why: string;
}

export interface Explanation {
  /** `namespace/name` */
  readonly agent: string;
  /** The question as it was understood: `POST https://api.openai.com/v1/responses`, `tcp db.example.com:5432`. */
  readonly asked: string;
  readonly verdict: 'Allowed' | 'Denied';
  /** A stable word, the one of the record and of the answer the agent gets. */
  readonly reason: string;
  readonly message: string;
  /** HTTP status the agent would see of a refusal; 0 when there is no HTTP to answer with, or it is not refused. */
  readonly status: number;
  /** What the agent would see, as a phrase. */
  readonly sees: string;
  /** `namespace/name`; empty when the agent has no gateway that is served. */
  readonly gateway: string;
  /** How it came to this gateway and listener: sentences. */
  readonly steps: readonly string[];
  readonly listener: string;
  readonly handling: Handling;
  readonly route: string;
  /** Index of the rule in its route, or -1. */
  readonly rule: number;
  /** `Kind/namespace/name` of what denies or injects a credential. */
  readonly policies: readonly string[];
  /** CIDRs that what the name resolves to must be in; empty = public addresses, or the hostAlias. */
  readonly ranges: readonly string[];
  /** Of the newest rules of the gateway, which this is decided with. */
  readonly revision: string;
  /** Whether every worker enforces that revision. */
  readonly inForce: boolean;
  /** What a reader must know besides: workers that are behind, gateways that are missing. */
  readonly warnings: readonly string[];
  /** Of every route that did not match, the nearest miss first. */
  readonly misses: readonly ExplainedMiss[];
}

export type ExplainAnswer =
  | { readonly explanation: Explanation }
  | { readonly refusal: { readonly reason: 'BadRequest' | 'NotFound' | 'ServiceUnavailable'; readonly message: string } };

export interface ExplainPort {
  explain(question: ExplainQuestion): Promise<ExplainAnswer>;
}
