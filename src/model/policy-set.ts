import type { BudgetUnit, BudgetWindow } from './ports.ts';
import type { PriceList } from './price.ts';

/**
 * CONTRACT 2, the policy half: one gateway's rules as an immutable value. `policy.compile` makes it from kinds, Envoy
 * resources and the engine are made from it, and `policy.decide` is a function of it and the facts of one request.
 */

export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

export type ListenerShape = 'tls-terminate' | 'https' | 'http' | 'tls-passthrough' | 'tcp' | 'udp';

export interface PolicyListener {
  readonly name: string;
  readonly shape: ListenerShape;
  /** Original destination port it takes; absent = every port. */
  readonly port?: number;
}

/** A cap on a counter of the ledger. */
export interface Budget {
  /** `budget/<namespace>/<route>/<gateway>`, or `shared/<namespace>/<budgetRef>`; the ledger adds the UTC day or the run. */
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  /** 0 refuses everything. */
  readonly cap: number;
  /** The field of the route that says so: `spec.rules[0].filters[0].tokenBudget.maxTokensPerDay`. */
  readonly field: string;
}

/** Where a credential is put, and how. */
export type Injection =
  /** Lower-case header, set to the value verbatim. */
  | { readonly kind: 'Header'; readonly header: string }
  /** Query parameter, set to the value. */
  | { readonly kind: 'QueryParam'; readonly name: string }
  /** Requests are signed (Signature Version 4); without `region` it is read from the host. */
  | { readonly kind: 'AWSv4'; readonly region?: string; readonly service: string }
  /** A token for the service account, in `authorization`. */
  | { readonly kind: 'GCPServiceAccount' };

export interface CredentialUse {
  /** Policy that injects, `namespace/name`. */
  readonly policy: string;
  /** `cred:<namespace>/<policy>`; its value is never in a PolicySet. */
  readonly credential: string;
  readonly inject: Injection;
  /** Whole bodies of answers are searched for the value, too. */
  readonly redactResponses?: boolean;
  /** Why it cannot inject (`SecretNotFound`, `SecretKeyNotFound`, …): then the request is refused with this reason. */
  readonly missing?: string;
}

export interface AiMatch {
  /** Canonical provider name: `openai`, … */
  readonly provider: string;
  /** Model globs; absent = any. */
  readonly models?: readonly string[];
  /** Globs of paths, or of hosts with paths; absent or empty = whatever the provider has. */
  readonly endpoints?: readonly string[];
  /** Why it matches nothing: it asks for what cannot be. */
  readonly refused?: string;
}

export interface AiRule {
  readonly index: number;
  /** No match at all = every request of every provider is NOT implied: a rule without matches matches nothing. */
  readonly matches: readonly AiMatch[];
  /** One at most for each counter. */
  readonly budgets: readonly Budget[];
  /** Output tokens of one request at most, over all its answers. */
  readonly maxOutputTokens?: number;
  /** Hosts the provider may fetch from for the agent, beside those it reaches itself: canonical names, `*.x` (one label for the `*`), `*` = any. */
  readonly fetches?: readonly string[];
  /** Fields of this rule that are not built yet: whatever it would have allowed is denied with these names. */
  readonly notBuilt: readonly string[];
}

/** An EgressDenyPolicy in force. */
export interface Denial {
  /** `namespace/name` */
  readonly policy: string;
  /** HTTP status. */
  readonly status: number;
  /** Text of the policy for the caller; may be empty. */
  readonly message: string;
}

export interface AiRoute {
  readonly route: ObjectKey;
  /** Milliseconds since the epoch; older routes go first. */
  readonly createdAt: number;
  /** Listeners (names) of this gateway the route is attached to. */
  readonly listeners: readonly string[];
  readonly rules: readonly AiRule[];
  readonly credential?: CredentialUse;
  /** Whatever this route would let through is refused like this, before any other route is asked. */
  readonly denied?: Denial;
  /** Hosts (lower-case) this route claims, each on port 443 only: names, and globs in which `*` stands for `[a-z0-9-]+` inside one label. */
  readonly hosts: readonly string[];
}

/** Ports from `from` to `to`, both included. */
export interface L4Ports {
  readonly from: number;
  readonly to: number;
}

/** All that is given must hold. A match with `hosts` admits names only, one with `cidrs` alone addresses only, one with neither both. */
export interface L4Match {
  /** Canonical names, or `*.x` with exactly one label for the `*`. */
  readonly hosts?: readonly string[];
  /** Ranges in canonical form. With `hosts`, what the name resolves to must be in them. */
  readonly cidrs?: readonly string[];
  readonly ports?: readonly L4Ports[];
  /** Absent = that of the listener. */
  readonly protocol?: 'TCP' | 'UDP';
  /** Agents (`namespace/name`, sorted) that `sourceAgents` selects; absent = every agent. */
  readonly agents?: readonly string[];
}

export interface L4Rule {
  readonly index: number;
  /** Alternatives; a rule without matches matches nothing. */
  readonly matches: readonly L4Match[];
  /** Whatever this rule matches is refused, with this reason: it uses what is missing or not built. */
  readonly refused?: { readonly reason: string; readonly message: string };
}

/** An EgressL4Route at the gateway. */
export interface L4Route {
  readonly route: ObjectKey;
  /** Milliseconds since the epoch; older routes go first. */
  readonly createdAt: number;
  /** Listeners (names) of this gateway the route is attached to. */
  readonly listeners: readonly string[];
  readonly rules: readonly L4Rule[];
  /** Whatever this route would let through is refused like this, before any other route is asked. */
  readonly denied?: Denial;
}

/** Names of tools: a name that one of them fits is meant. */
export interface NamePatterns {
  /** `*` stands for any text. */
  readonly globs?: readonly string[];
  /** Regular expressions of RE2, found anywhere in the name. */
  readonly regexes?: readonly string[];
}

/** All that is given must hold. Messages that only set up a session are admitted by every match whose server fits. */
export interface McpMatch {
  /** `https://HOST[:PORT]/PATH`: a host as in `McpRoute.hosts`, and in the path `*` stands for any text; absent = every path of the route's hosts on port 443. */
  readonly servers?: readonly string[];
  /** Globs of JSON-RPC methods; absent = any, or those that `tools` and `resources` are about. */
  readonly methods?: readonly string[];
  readonly tools?: NamePatterns;
  /** Globs of URIs, in which `*` stands for any text. */
  readonly resources?: readonly string[];
  /** Why it matches nothing: it asks for what cannot be. */
  readonly refused?: string;
}

export interface ToolPolicy {
  /** Absent = every tool. */
  readonly allowed?: NamePatterns;
  readonly denied?: NamePatterns;
  /** Calls that are refused because a field that is about them is not built yet; without `tools` every call. */
  readonly notBuilt?: readonly { readonly field: string; readonly tools?: NamePatterns }[];
}

export interface McpRule {
  readonly index: number;
  /** Alternatives; a rule without matches matches nothing. */
  readonly matches: readonly McpMatch[];
  /** A call must pass all of them. */
  readonly toolPolicies: readonly ToolPolicy[];
  /** Whatever this rule matches is refused, with this reason: it uses what is missing or not built. */
  readonly refused?: { readonly reason: string; readonly message: string };
}

/** Where servers of an MCPRoute are. */
export interface McpPlace {
  /** A name or a glob, as in `hosts`. */
  readonly host: string;
  readonly port: number;
}

/** An MCPRoute at the gateway. */
export interface McpRoute {
  readonly route: ObjectKey;
  /** Milliseconds since the epoch; older routes go first. */
  readonly createdAt: number;
  /** Listeners (names) of this gateway the route is attached to. */
  readonly listeners: readonly string[];
  readonly rules: readonly McpRule[];
  readonly credential?: CredentialUse;
  /** Whatever this route would let through is refused like this, before any other route is asked. */
  readonly denied?: Denial;
  /** Hosts (lower-case) this route claims, on every port: names, and globs in which `*` stands for `[a-z0-9-]+` inside one label. */
  readonly hosts: readonly string[];
  /** Where its requests may go. */
  readonly places: readonly McpPlace[];
}

export interface PolicySet {
  readonly gateway: ObjectKey;
  /** First 12 hex digits of the SHA-256 of everything else in here. */
  readonly revision: string;
  readonly defaultPolicy: 'deny-all' | 'allow-all';
  readonly listeners: readonly PolicyListener[];
  readonly requestTimeoutMs: number;
  readonly lookupFamily: 'V4Preferred' | 'V4Only' | 'V6Only' | 'Auto' | 'All';
  readonly hostAliases: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  /** PEM appended to the system roots for the upstream leg; empty = system roots alone. */
  readonly trustBundle: string;
  readonly mcpRoutes: readonly McpRoute[];
  readonly aiRoutes: readonly AiRoute[];
  readonly l4Routes: readonly L4Route[];
  /** Prices of their own that namespaces of AI routes have. */
  readonly prices?: Readonly<Record<string, PriceList>>;
  /** Injected into requests to names that an L4 route names, where TLS ends at the gateway; AI and MCP routes have their own. */
  readonly credential?: CredentialUse;
}

/** What is known of one message to an MCP server. */
export interface McpFacts {
  /** JSON-RPC method; absent = no request: a stream is opened (GET), a session ended (DELETE), or the server is answered. */
  readonly method?: string;
  /** Name of the tool, of `tools/call`. */
  readonly tool?: string;
  /** URI, of a method about one resource. */
  readonly resource?: string;
}

/** What is known of one request when it is judged. Names are canonical: lower case, no trailing dot, no port. */
export interface RequestFacts {
  readonly host: string;
  readonly port: number;
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  /** What follows the `?`; absent = unknown or nothing. */
  readonly query?: string;
  /** Facts of the body, when a provider file understood it. */
  readonly provider?: string;
  readonly model?: string;
  /** Of a request to an MCP server. */
  readonly mcp?: McpFacts;
}

export interface Decision {
  readonly verdict: 'Allowed' | 'Denied';
  /**
   * A stable word: `Allowed`, `DefaultPolicy` (allow-all), `NoRoute`, `NoListener`, `DeniedByPolicy`, `ClaimedHost`, `ForbiddenAddress`, `AddressMismatch`,
   * `ServerNameMismatch`, `HiddenServerName`, `ModelNotAllowed`, `EndpointNotAllowed`, `ToolNotAllowed`, `BudgetExhausted`, `NotBuilt`, `SecretNotFound`, …
   */
  readonly reason: string;
  /** One sentence for a person. */
  readonly message: string;
  /** HTTP status of a denial: 403, 421, 429, 503, or what an EgressDenyPolicy says. */
  readonly status: number;
  /** `AIProviderRoute/<namespace>/<name>`, or another kind; empty when none matched. */
  readonly route: string;
  /** Index of the rule in its route, or -1. */
  readonly rule: number;
  /** Policies that took part, the one that decided first: `EgressDenyPolicy/<namespace>/<name>`. */
  readonly policies: readonly string[];
  readonly revision: string;
}

/** What is known of one connection when it is judged. It goes to a name (dialled at the address our DNS gave for it) or to an address. */
export interface ConnectionFacts {
  /** `namespace/name` */
  readonly agent: string;
  readonly transport: 'TCP' | 'UDP';
  readonly port: number;
  /** Exactly one of `host` (canonical) and `address` is given. */
  readonly host?: string;
  readonly address?: string;
  /** What the client's first bytes are; `plain` also when it waits for the server's. Without meaning for UDP. */
  readonly speaks: 'tls' | 'plain';
  /** Server name of the client hello; absent = it has none. */
  readonly sni?: string;
  /** The client hello has an encrypted one inside, so that `sni` is not the name that is meant. */
  readonly hidden?: boolean;
  /** Addresses of the worker itself: never dialled. */
  readonly own?: readonly string[];
}

/** What is done with a connection: which half of Envoy takes it. `refuse` = no listener can. */
export type Handling = 'terminate' | 'http' | 'passthrough' | 'tcp' | 'udp' | 'refuse';

export interface ConnectionDecision extends Decision {
  /** Also of a refusal: it says how the refusal looks. */
  readonly handling: Handling;
  /** Name of the listener that takes it; empty when none does. */
  readonly listener: string;
  /** CIDRs the addresses of the name must be in; absent = public addresses (or the hostAlias) alone. */
  readonly ranges?: readonly string[];
  /** An AI or MCP route claims the host: `Allowed` means that the engine judges each request. */
  readonly engine: boolean;
  /** Injected into every request of the connection. */
  readonly credential?: CredentialUse;
}
