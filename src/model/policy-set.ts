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
  /** False: accepted, but not built yet, so it admits nothing. */
  readonly built: boolean;
}

export interface TokenBudget {
  /** Ledger key: `budget/<namespace>/<route>/<rule index>/<gateway>`; the ledger adds the UTC day. */
  readonly key: string;
  readonly maxTokensPerDay: number;
}

export interface CredentialUse {
  /** Policy that injects, `namespace/name`. */
  readonly policy: string;
  /** `cred:<namespace>/<policy>`; its value is never in a PolicySet. */
  readonly credential: string;
  /** Lower-case header to set, verbatim. */
  readonly header: string;
  /** Why it cannot inject (`SecretNotFound`, `SecretKeyNotFound`): then the request is refused with this reason. */
  readonly missing?: string;
}

export interface AiMatch {
  /** Canonical provider name: `openai`, … */
  readonly provider: string;
  /** Model globs; absent = any. */
  readonly models?: readonly string[];
  /** Path globs; absent or empty = every path of the provider. */
  readonly endpoints?: readonly string[];
}

export interface AiRule {
  readonly index: number;
  /** No match at all = every request of every provider is NOT implied: a rule without matches matches nothing. */
  readonly matches: readonly AiMatch[];
  readonly budgets: readonly TokenBudget[];
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
  /** Hosts (lower-case) this route claims, from the provider table; each is reached on port 443 only. */
  readonly hosts: readonly string[];
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
  readonly aiRoutes: readonly AiRoute[];
}

/** What is known of one request when it is judged. Names are canonical: lower case, no trailing dot, no port. */
export interface RequestFacts {
  readonly host: string;
  readonly port: number;
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  /** Facts of the body, when a provider file understood it. */
  readonly provider?: string;
  readonly model?: string;
}

export interface Decision {
  readonly verdict: 'Allowed' | 'Denied';
  /** A stable word: `Allowed`, `NoRoute`, `DeniedByPolicy`, `ModelNotAllowed`, `EndpointNotAllowed`, `BudgetExhausted`, `NotBuilt`, `SecretNotFound`, … */
  readonly reason: string;
  /** One sentence for a person. */
  readonly message: string;
  /** HTTP status of a denial: 403, 421, 429, 503, or what an EgressDenyPolicy says. */
  readonly status: number;
  /** `AIProviderRoute/<namespace>/<name>`; empty when none matched. */
  readonly route: string;
  /** Index of the rule in its route, or -1. */
  readonly rule: number;
  /** Policies that took part, the one that decided first: `EgressDenyPolicy/<namespace>/<name>`. */
  readonly policies: readonly string[];
  readonly revision: string;
}
