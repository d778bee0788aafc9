import type { ProviderName } from '#api';
import type { BudgetUnit, BudgetWindow, ReportedUsage } from '#model';
import type { Json, JsonObject } from '../json.ts';

/** What of a request is known before its body. */
export interface RequestTarget {
  readonly method: string;
  /** Canonical name. */
  readonly host: string;
  /** As it was sent, without query: percent-encoding is not undone. */
  readonly path: string;
  /** What follows the `?`, as it was sent; empty when there is none. */
  readonly query: string;
}

/** What a request says that policy, budget or record act on. */
export interface BodyFacts {
  /** Absent where a request names none (a list of models): it matches no rule that asks for a model. */
  readonly model?: string;
  readonly stream: boolean;
  /** How many answers are asked for; the output bound is taken this many times. */
  readonly n: number;
  /** The request's own cap on the output tokens of one answer; 0 = it has no output that is counted in tokens. */
  readonly outputLimit?: number;
  /** No field of the request could lower the output: it fits into the budget whole, or is refused. */
  readonly fixedOutput?: true;
  /** True when a part's size in tokens cannot be read from the request: it counts as the context window. */
  readonly unknownInput: boolean;
  /** Hosts the provider would fetch from on the agent's behalf; `*` = wherever it likes. */
  readonly fetches: readonly string[];
  /** It asks for output that the client may never see, whatever its model does by itself: the bytes of a cut answer bound nothing. */
  readonly hiddenReasoning?: true;
  /** Nobody can say what it uses at most: a rule with a budget refuses it. */
  readonly unbounded?: true;
}

export interface Misread {
  /** A stable word: `InvalidRequest`, `AmbiguousField`, `UnknownBound`. */
  readonly reason: string;
  readonly message: string;
}

export interface ModelLimits {
  /** False for a model that is not in the table: then the context window bounds nothing, only the bytes of the text do. */
  readonly known: boolean;
  /** Tokens of input at most. */
  readonly contextWindow: number;
  /** Tokens of output at most. */
  readonly maxOutput: number;
  /** Output the client never sees counts too, so the bytes of a cut answer bound nothing. */
  readonly hiddenReasoning: boolean;
}

/** One field of a `multipart/form-data` body, in the order sent. */
export interface FormPart {
  readonly name: string;
  /** Present on files. */
  readonly filename?: string;
  /** Media type of the part; absent = text. */
  readonly type?: string;
  readonly data: Uint8Array;
}

/** Forms of a body, by the name operations give them. */
export interface Bodies {
  /** A JSON object, read without ambiguity and forwarded written anew. */
  readonly json: JsonObject;
  /** A form, read without ambiguity and forwarded written anew; no field comes twice unless its name ends with `[]`. */
  readonly multipart: readonly FormPart[];
  /** The request must have no body. */
  readonly none: undefined;
  /** Not understood, forwarded as it is. */
  readonly opaque: Uint8Array;
}
export type BodyKind = keyof Bodies;

interface OperationOf<Kind extends BodyKind> {
  /** `gen_ai.operation.name`: `chat`, `text_completion`, `embeddings`, `generate_content`, … */
  readonly name: string;
  readonly body: Kind;
  /** It uses no tokens and costs nothing: no budget is asked. */
  readonly free?: true;
  /** Whatever is ambiguous or cannot be read is refused. */
  read(target: RequestTarget, body: Bodies[Kind]): BodyFacts | Misread;
  /** The body to forward: output capped at `outputLimit` tokens an answer (when given), usage reported also when streaming. */
  edit(target: RequestTarget, body: Bodies[Kind], outputLimit?: number): Bodies[Kind];
}

/** One call of a provider's API that is understood and metered. */
export type Operation = { readonly [Kind in BodyKind]: OperationOf<Kind> }[BodyKind];
export type JsonOperation = OperationOf<'json'>;
export type FormOperation = OperationOf<'multipart'>;
export type BodilessOperation = OperationOf<'none'>;
export type OpaqueOperation = OperationOf<'opaque'>;

/** Where a provider reports usage in a JSON body, an SSE event or an event of AWS's event stream. */
export interface UsageRule {
  /** Keys from the top: `['usage', 'prompt_tokens']`; `*` = of every element of a list, whose values are joined by commas. */
  readonly selectors: readonly string[];
  readonly key: keyof ReportedUsage;
}

/** What a request used in all, whatever a provider's own fields count in or leave out. */
export interface UsageTotals {
  /** All tokens of input, those read from or written to a cache among them. */
  readonly input?: number;
  /** All tokens of output, hidden reasoning among them. */
  readonly output?: number;
  /** Of the input: read from a cache. */
  readonly cachedInput?: number;
  /** Of the input: written to a cache. */
  readonly cacheCreation?: number;
  /** Of the output: reasoning. */
  readonly reasoning?: number;
}

/** How the budget stands that refused a request. */
export interface BudgetAccount {
  /** The field of the route: `spec.rules[0].filters[0].tokenBudget.maxTokensPerDay`. */
  readonly field: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  readonly limit: number;
  readonly remaining: number;
  /** At least this much is needed. */
  readonly needed: number;
  /** When the counter begins anew, RFC 3339; absent for a run, whose counter never does. */
  readonly reset?: string;
}

/** Our own account of a refusal, part of every answer to a refused request. */
export interface RefusalBody {
  readonly code: string;
  readonly message: string;
  readonly decision: string;
  readonly policy: string;
  readonly route: string;
  readonly gateway: string;
  readonly revision: string;
  /** Of a refusal for want of budget. */
  readonly budget?: BudgetAccount;
}

/** One LLM provider: everything the product knows about it. */
export interface Provider {
  readonly name: ProviderName;
  /** `gen_ai.provider.name` of records. */
  readonly genAiName: string;
  /** Hosts it is reached at, on port 443: names, or globs in which `*` stands for `[a-z0-9-]+` inside one label. */
  readonly hosts: readonly string[];
  /** What a request is, by all but its body; undefined = not metered yet, so not let through. */
  operation(target: RequestTarget): Operation | undefined;
  limits(model: string): ModelLimits;
  readonly usage: readonly UsageRule[];
  totals(usage: ReportedUsage): UsageTotals;
  /** A stream reports usage from its beginning on: what there is of one that was cut, without a finish reason, is not all. */
  readonly usageAlong?: true;
  /** Lower-case headers that carry a credential or choose an account; removed before one is injected. */
  readonly credentialHeaders: readonly string[];
  /** Query parameters that do, compared without case. */
  readonly credentialQuery: readonly string[];
  /** The JSON of a refusal, in a shape that this provider's SDKs read, with our own account of it as `error`. */
  errorBody(refusal: RefusalBody, status: number): { readonly error: RefusalBody } & Readonly<Record<string, Json | object>>;
}
