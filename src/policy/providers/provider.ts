import type { ProviderName } from '#api';
import type { JsonObject } from '../json.ts';

/** What the body of a request says that policy, budget or record act on. */
export interface BodyFacts {
  readonly model: string;
  readonly stream: boolean;
  /** How many answers are asked for; the output bound is taken this many times. */
  readonly n: number;
  /** The request's own cap on the output tokens of one answer. */
  readonly outputLimit?: number;
  /** True when a part's size in tokens cannot be read from the request: it counts as the context window. */
  readonly unknownInput: boolean;
  /** Hosts the provider would fetch from on the agent's behalf; `*` = wherever it likes. */
  readonly fetches: readonly string[];
}

export interface Misread {
  /** A stable word: `InvalidRequest`, `AmbiguousField`. */
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

/** Where a provider reports usage in a JSON body or SSE event. */
export interface UsageRule {
  /** Keys from the top: `['usage', 'prompt_tokens']`. */
  readonly selectors: readonly string[];
  readonly key: 'input' | 'output';
}

/** One LLM provider: everything the product knows about it. */
export interface Provider {
  readonly name: ProviderName;
  /** Hosts it is reached at, on port 443. */
  readonly hosts: readonly string[];
  /** The operation of a request by method and path without query; undefined = not metered yet, so not let through. */
  operation(method: string, path: string): string | undefined;
  read(operation: string, body: JsonObject): BodyFacts | Misread;
  limits(model: string): ModelLimits;
  /** The body to forward: output capped at `outputLimit` tokens an answer (when given), usage reported also when streaming. */
  edit(operation: string, body: JsonObject, outputLimit?: number): JsonObject;
  readonly usage: readonly UsageRule[];
  /** Lower-case headers that carry a credential or choose an account; removed before one is injected. */
  readonly credentialHeaders: readonly string[];
}
