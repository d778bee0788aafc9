import { errorBody, operationsOf, totalsOf, UNKNOWN_MODEL, USAGE } from './openai-api/index.ts';
import type { JsonObject } from '../json.ts';
import { ambiguous, foldedName } from './fields.ts';
import type { Misread, OpaqueOperation, Provider } from './provider.ts';

/** Servers that speak OpenAI's API have it below any base: `/v1/chat/completions`, `/api/openai/v1/chat/completions`. */
const CALL =
  /\/(chat\/completions|responses|completions|embeddings|images\/generations|images\/edits|audio\/speech|audio\/transcriptions|models|models\/[^/]+)$/;

/** Those of them that use tokens. */
const METERED = /\/(chat\/completions|responses|completions|embeddings|images\/generations|images\/edits|audio\/speech|audio\/transcriptions)$/i;

/** The one of these that a server which decodes, folds case or drops slashes and parameters might take a path for. */
const maybeCall = (path: string): string | undefined => {
  const decoded = path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const plain = decoded
    .replace(/;[^/]*/g, '')
    .replace(/\/+/g, '/')
    .replace(/\/$/, '');
  return METERED.exec(plain)?.[1]?.toLowerCase();
};

/**
 * Limits of output and numbers of answers by the names that servers of OpenAI's API have for them beside its own; some take them before
 * those. Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://docs.ollama.com/api,
 * https://docs.vllm.ai/en/latest/serving/openai_compatible_server
 */
const STRAY_LIMITS = new Set([
  'n_predict', 'num_predict', 'n_cmpl', 'max_new_tokens', 'max_length', 'max_gen_len', 'max_tokens_to_sample', 'num_return_sequences',
  'num_generations', 'candidate_count', 'use_beam_search',
]); // prettier-ignore

/** A field that may choose another model (`models`, `fallbacks`, `route`, …), or stand before the limits of OpenAI's API. */
const strayFields = (body: JsonObject): Misread | undefined => {
  for (const key of Object.keys(body)) {
    const name = foldedName(key);
    if (STRAY_LIMITS.has(name)) return ambiguous(`\`${key}\` might stand before what limits the output; use \`max_tokens\` and \`n\`.`);
    if (name !== 'model' && /models?$|fallback/.test(name)) return ambiguous(`\`${key}\` may name another model than \`model\`.`);
  }
  return undefined;
};

const call = operationsOf({
  modelOptional: true,
  strayFields,
  // The one that servers of every age know.
  chatLimitField: () => 'max_tokens',
  reportsStreamUsage: () => true,
});

/** Any other call: nobody here knows what its body means, or what it costs. */
const opaque: OpaqueOperation = {
  name: 'custom',
  body: 'opaque',
  read: () => ({ stream: false, n: 1, unbounded: true, unknownInput: true, fetches: [] }),
  edit: (_target, body) => body,
};

/** Whatever a rule names by host and path. Calls whose path ends like one of OpenAI's API are read as such. */
export const custom: Provider = {
  name: 'custom',
  genAiName: 'custom',
  hosts: [],
  operation({ method, path }) {
    const known = CALL.exec(path)?.[1];
    const other = maybeCall(path);
    if (other !== undefined && other !== known) return undefined;
    return (known === undefined ? undefined : call(method, known)) ?? opaque;
  },
  limits: () => UNKNOWN_MODEL,
  usage: USAGE,
  // Some servers say with every piece what was used so far (`continuous_usage_stats`).
  usageAlong: true,
  totals: totalsOf,
  credentialHeaders: ['authorization', 'api-key', 'x-api-key', 'x-goog-api-key', 'x-auth-token', 'cookie'],
  credentialQuery: ['key', 'api_key', 'api-key', 'apikey', 'access_token', 'token'],
  errorBody,
};
