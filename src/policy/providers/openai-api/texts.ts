import { isJsonObject as isObject, type Json } from '../../json.ts';
import type { JsonOperation } from '../provider.ts';
import { withStreamUsage } from './chat.ts';
import { isMisread, lookalikeOf, misread } from '../fields.ts';
import { count, given, modelOf, streamOf, type Dialect } from './fields.ts';

/** Operations on texts: completions and embeddings. */

const isTokens = (value: Json | undefined): boolean => Array.isArray(value) && value.every((item) => typeof item === 'number');

/** How many texts a field has: text, tokens, or a list of either; undefined for anything else. A token has at least one digit. */
const textsIn = (value: Json | undefined): number | undefined => {
  if (typeof value === 'string') return 1;
  if (!Array.isArray(value) || value.length === 0) return undefined;
  if (isTokens(value)) return 1;
  return value.every((item) => typeof item === 'string' || isTokens(item)) ? value.length : undefined;
};

const COMPLETION_FIELDS = new Set(['model', 'prompt', 'stream', 'stream_options', 'n', 'best_of', 'max_tokens']);

/** Source: https://platform.openai.com/docs/api-reference/completions/create */
export const completions = (dialect: Dialect): JsonOperation => ({
  name: 'text_completion',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, COMPLETION_FIELDS);
    if (unclear) return unclear;
    const named = modelOf(dialect, target, body['model']);
    if (isMisread(named)) return named;
    const stream = streamOf(body);
    if (typeof stream === 'object') return stream;
    if (given(body['stream_options']) && !isObject(body['stream_options'])) return misread('`stream_options` must be an object.');
    const stray = dialect.strayFields?.(body);
    if (stray) return stray;
    const prompts = given(body['prompt']) ? textsIn(body['prompt']) : 1;
    if (prompts === undefined) return misread('`prompt` must be text, tokens, or a list of them.');
    const n = count(body, 'n', 128);
    if (typeof n === 'object') return n;
    const bestOf = count(body, 'best_of', 128);
    if (typeof bestOf === 'object') return bestOf;
    // 0 asks for the prompt alone.
    const limit = body['max_tokens'] === 0 ? 0 : (count(body, 'max_tokens') ?? dialect.completionTokens);
    if (typeof limit === 'object') return limit;
    return {
      ...named,
      stream,
      n: prompts * Math.max(n ?? 1, bestOf ?? 1),
      ...(limit !== undefined && { outputLimit: limit }),
      unknownInput: false,
      fetches: [],
    };
  },
  edit(target, body, outputLimit) {
    const own = typeof body['max_tokens'] === 'number' ? body['max_tokens'] : dialect.completionTokens;
    return withStreamUsage(dialect, target, {
      ...body,
      ...(outputLimit !== undefined && { max_tokens: Math.min(own ?? outputLimit, outputLimit) }),
    });
  },
});

const EMBEDDING_FIELDS = new Set(['model', 'input']);

/** Source: https://platform.openai.com/docs/api-reference/embeddings/create */
export const embeddings = (dialect: Dialect): JsonOperation => ({
  name: 'embeddings',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, EMBEDDING_FIELDS);
    if (unclear) return unclear;
    const named = modelOf(dialect, target, body['model']);
    if (isMisread(named)) return named;
    if (textsIn(body['input']) === undefined) return misread('`input` must be text, tokens, or a list of them.');
    return { ...named, stream: false, n: 1, outputLimit: 0, unknownInput: false, fetches: [] };
  },
  edit: (_target, body) => body,
});
