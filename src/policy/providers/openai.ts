import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import type { BodyFacts, JsonOperation, Misread, ModelLimits, Provider, RequestTarget } from './provider.ts';

/** OpenAI chat completions. Source: https://platform.openai.com/docs/api-reference/chat/create */

type Row = readonly [models: readonly string[], contextWindow: number, maxOutput: number, hiddenReasoning: boolean];
/** A name stands for itself and its variants (`gpt-4o-mini`, `gpt-4o-2024-08-06`); the longest that fits wins. Source: https://platform.openai.com/docs/models */
const MODELS: readonly Row[] = [
  [['gpt-5', 'gpt-5.1'], 400_000, 128_000, true],
  [['o1', 'o3', 'o4'], 200_000, 100_000, true],
  [['o1-mini'], 128_000, 65_536, true],
  [['o1-preview'], 128_000, 32_768, true],
  [['gpt-4.1'], 1_047_576, 32_768, false],
  [['gpt-4o', 'chatgpt-4o'], 128_000, 16_384, false],
  [['gpt-4-turbo', 'gpt-4-1106-preview', 'gpt-4-0125-preview'], 128_000, 4_096, false],
  [['gpt-4-32k'], 32_768, 32_768, false],
  [['gpt-4-0314', 'gpt-4-0613'], 8_192, 8_192, false],
  [['gpt-3.5-turbo'], 16_385, 4_096, false],
];
const LIMITS: ReadonlyMap<string, ModelLimits> = new Map([
  ...MODELS.flatMap(([models, contextWindow, maxOutput, hiddenReasoning]) =>
    models.map((model) => [model, { known: true, contextWindow, maxOutput, hiddenReasoning }] as const),
  ),
  // Not a family: `gpt-4-…` are models of other sizes.
  ['gpt-4$', { known: true, contextWindow: 8_192, maxOutput: 8_192, hiddenReasoning: false }],
]);
const UNKNOWN_MODEL: ModelLimits = { known: false, contextWindow: 128_000, maxOutput: 8_192, hiddenReasoning: true };

/** Limits of a model, of what it was fine-tuned from (`ft:gpt-4o-mini:org::id`), or safe ones for a stranger. */
const limits = (model: string): ModelLimits => {
  const base = model.startsWith('ft:') ? (model.split(':')[1] ?? '') : model;
  const exact = LIMITS.get(`${base}$`);
  if (exact) return exact;
  for (let name = base; name !== ''; name = name.slice(0, Math.max(0, name.lastIndexOf('-')))) {
    const found = LIMITS.get(name);
    if (found) return found;
  }
  return UNKNOWN_MODEL;
};

/** Both limit fields; `max_completion_tokens` is the one every chat model takes. */
const LIMIT_FIELDS = ['max_completion_tokens', 'max_tokens'] as const;
const ACTED_ON = new Set(['model', 'stream', 'stream_options', 'n', 'messages', 'web_search_options', 'modalities', ...LIMIT_FIELDS]);
/** Content parts whose tokens are bounded by their bytes. */
const TEXT_PARTS = new Set(['text', 'refusal']);

const misread = (message: string): Misread => ({ reason: 'InvalidRequest', message });

/** A positive integer field; null counts as absent, as it does for the provider. */
const count = (body: JsonObject, field: string, max: number): number | undefined | Misread => {
  const value = body[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) return value;
  return misread(`\`${field}\` must be an integer from 1 to ${max}.`);
};

/** Every text in a value, however deep. */
const textsOf = (value: Json | undefined): readonly string[] => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [];
};

/**
 * Hosts of URLs that the provider would fetch; `data:` URLs carry their content themselves. Where an image is named anything
 * else is a URL; in a part that is no text every text that looks like one is, whatever the field is called.
 */
const fetchesOf = (part: JsonObject): readonly string[] => {
  const image = part['image_url'];
  const url = isObject(image) ? image['url'] : image;
  const named = typeof url === 'string' && !/^data:/i.test(url) ? [url] : [];
  const { type } = part;
  const others = typeof type === 'string' && TEXT_PARTS.has(type) ? [] : textsOf(part).filter((text) => /^\s*[a-z][a-z0-9+.-]*:[\\/]{2}/i.test(text));
  return [...new Set([...named, ...others])].map((text) => URL.parse(text)?.hostname || '*');
};

/** Tools the agent runs itself; every other one is run by the provider, which reaches whatever it likes. */
const OWN_TOOLS: ReadonlySet<Json | undefined> = new Set(['function', 'custom']);
const runsTools = (tools: Json | undefined): boolean => Array.isArray(tools) && tools.some((tool) => !isObject(tool) || !OWN_TOOLS.has(tool['type']));

const readMessages = (messages: Json | undefined): Pick<BodyFacts, 'unknownInput' | 'fetches'> | Misread => {
  if (!Array.isArray(messages) || !messages.every(isObject)) return misread('`messages` must be a list of objects.');
  const parts: JsonObject[] = [];
  for (const { content } of messages as readonly JsonObject[]) {
    if (content === undefined || content === null || typeof content === 'string') continue;
    if (!Array.isArray(content) || !content.every(isObject)) return misread('`messages[].content` must be text or a list of parts.');
    parts.push(...(content as readonly JsonObject[]));
  }
  // An `audio` of an earlier answer is named by its id alone.
  const audio = (messages as readonly JsonObject[]).some((message) => isObject(message['audio']));
  return {
    unknownInput: audio || parts.some(({ type }) => typeof type !== 'string' || !TEXT_PARTS.has(type)),
    fetches: parts.flatMap(fetchesOf),
  };
};

const read = (_target: RequestTarget, body: JsonObject): BodyFacts | Misread => {
  const other = Object.keys(body).find((key) => !ACTED_ON.has(key) && ACTED_ON.has(key.toLowerCase()));
  if (other !== undefined) return { reason: 'AmbiguousField', message: `\`${other}\` differs from a known field only in case.` };
  const { model, stream, stream_options: streamOptions } = body;
  if (typeof model !== 'string' || model === '' || model.length > 256) return misread('`model` must be the name of a model.');
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') return misread('`stream` must be true or false.');
  if (streamOptions !== undefined && streamOptions !== null && !isObject(streamOptions)) return misread('`stream_options` must be an object.');
  const n = count(body, 'n', 128);
  if (typeof n === 'object') return n;
  const limits: number[] = [];
  for (const field of LIMIT_FIELDS) {
    const limit = count(body, field, 2 ** 31);
    if (typeof limit === 'object') return limit;
    if (limit !== undefined) limits.push(limit);
  }
  const messages = readMessages(body['messages']);
  if ('reason' in messages) return messages;
  const search = (body['web_search_options'] !== undefined && body['web_search_options'] !== null) || runsTools(body['tools']);
  return {
    model,
    stream: stream === true,
    n: n ?? 1,
    ...(limits.length > 0 && { outputLimit: Math.max(...limits) }),
    unknownInput: messages.unknownInput || search,
    fetches: search ? [...messages.fetches, '*'] : messages.fetches,
  };
};

const edit = (_target: RequestTarget, body: JsonObject, outputLimit?: number): JsonObject => {
  const edited: Record<string, Json | undefined> = { ...body };
  if (outputLimit !== undefined) {
    const given = LIMIT_FIELDS.filter((field) => typeof body[field] === 'number');
    for (const field of given) edited[field] = Math.min(body[field] as number, outputLimit);
    if (given.length === 0) edited['max_completion_tokens'] = outputLimit;
  }
  if (body['stream'] === true) edited['stream_options'] = { ...(body['stream_options'] as JsonObject | null | undefined), include_usage: true };
  return edited;
};

const chat: JsonOperation = { name: 'chat', body: 'json', read, edit };

export const openai: Provider = {
  name: 'openai',
  genAiName: 'openai',
  hosts: ['api.openai.com'],
  operation: ({ method, path }) => (method === 'POST' && path === '/v1/chat/completions' ? chat : undefined),
  limits,
  usage: [
    { selectors: ['usage', 'prompt_tokens'], key: 'input' },
    { selectors: ['usage', 'completion_tokens'], key: 'output' },
    { selectors: ['usage', 'total_tokens'], key: 'total' },
    { selectors: ['usage', 'prompt_tokens_details', 'cached_tokens'], key: 'cachedInput' },
    { selectors: ['usage', 'completion_tokens_details', 'reasoning_tokens'], key: 'reasoning' },
    { selectors: ['model'], key: 'responseModel' },
    { selectors: ['id'], key: 'responseId' },
  ],
  // Cached tokens are part of `prompt_tokens`, reasoning is part of `completion_tokens`.
  totals: ({ input, output, cachedInput, reasoning }) => ({
    ...(input !== undefined && { input }),
    ...(output !== undefined && { output }),
    ...(cachedInput !== undefined && { cachedInput }),
    ...(reasoning !== undefined && { reasoning }),
  }),
  credentialHeaders: ['authorization', 'api-key', 'x-api-key', 'openai-organization', 'openai-project', 'cookie'],
  credentialQuery: [],
  credentialCookies: ['*'],
  // The SDKs read `error.message`, `type`, `code` and `param`.
  errorBody: (error) => ({ error: { ...error, type: 'clrk_refused', param: null } }),
};
