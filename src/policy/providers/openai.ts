import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import type { BodyFacts, Misread, ModelLimits, Provider } from './provider.ts';

/** OpenAI chat completions. Source: https://platform.openai.com/docs/api-reference/chat/create */

/** First prefix that fits wins. Source: https://platform.openai.com/docs/models */
const MODELS: readonly (readonly [prefix: string, limits: ModelLimits])[] = [
  ['gpt-5', { contextWindow: 400_000, maxOutput: 128_000, hiddenReasoning: true }],
  ['gpt-4.1', { contextWindow: 1_047_576, maxOutput: 32_768, hiddenReasoning: false }],
  ['gpt-4o', { contextWindow: 128_000, maxOutput: 16_384, hiddenReasoning: false }],
  ['chatgpt-4o', { contextWindow: 128_000, maxOutput: 16_384, hiddenReasoning: false }],
  ['gpt-4-turbo', { contextWindow: 128_000, maxOutput: 4_096, hiddenReasoning: false }],
  ['gpt-4-32k', { contextWindow: 32_768, maxOutput: 32_768, hiddenReasoning: false }],
  ['gpt-4-0', { contextWindow: 8_192, maxOutput: 8_192, hiddenReasoning: false }],
  ['gpt-3.5-turbo', { contextWindow: 16_385, maxOutput: 4_096, hiddenReasoning: false }],
  ['o1-mini', { contextWindow: 128_000, maxOutput: 65_536, hiddenReasoning: true }],
  ['o1-preview', { contextWindow: 128_000, maxOutput: 32_768, hiddenReasoning: true }],
  ['o1', { contextWindow: 200_000, maxOutput: 100_000, hiddenReasoning: true }],
  ['o3', { contextWindow: 200_000, maxOutput: 100_000, hiddenReasoning: true }],
  ['o4', { contextWindow: 200_000, maxOutput: 100_000, hiddenReasoning: true }],
];
const GPT_4: ModelLimits = { contextWindow: 8_192, maxOutput: 8_192, hiddenReasoning: false };
const UNKNOWN_MODEL: ModelLimits = { contextWindow: 128_000, maxOutput: 8_192, hiddenReasoning: true };

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

/** Hosts of URLs that the provider would fetch; `data:` URLs carry their content themselves. */
const fetchesOf = (part: JsonObject): readonly string[] => {
  const image = part['image_url'];
  const url = isObject(image) ? image['url'] : image;
  if (typeof url !== 'string' || /^data:/i.test(url)) return [];
  return [URL.parse(url)?.hostname ?? '*'];
};

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

const read = (_operation: string, body: JsonObject): BodyFacts | Misread => {
  const other = Object.keys(body).find((key) => !ACTED_ON.has(key) && ACTED_ON.has(key.toLowerCase()));
  if (other !== undefined) return { reason: 'AmbiguousField', message: `\`${other}\` differs from a known field only in case.` };
  const { model, stream, stream_options: streamOptions } = body;
  if (typeof model !== 'string' || model === '') return misread('`model` must be the name of a model.');
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
  const search = body['web_search_options'] !== undefined && body['web_search_options'] !== null;
  return {
    model,
    stream: stream === true,
    n: n ?? 1,
    ...(limits.length > 0 && { outputLimit: Math.max(...limits) }),
    unknownInput: messages.unknownInput || search,
    fetches: search ? [...messages.fetches, '*'] : messages.fetches,
  };
};

const edit = (_operation: string, body: JsonObject, outputLimit?: number): JsonObject => {
  const edited: Record<string, Json | undefined> = { ...body };
  if (outputLimit !== undefined) {
    const given = LIMIT_FIELDS.filter((field) => typeof body[field] === 'number');
    for (const field of given) edited[field] = Math.min(body[field] as number, outputLimit);
    if (given.length === 0) edited['max_completion_tokens'] = outputLimit;
  }
  if (body['stream'] === true) edited['stream_options'] = { ...(body['stream_options'] as JsonObject | null | undefined), include_usage: true };
  return edited;
};

export const openai: Provider = {
  name: 'openai',
  hosts: ['api.openai.com'],
  operation: (method, path) => (method === 'POST' && path === '/v1/chat/completions' ? 'chat' : undefined),
  read,
  limits: (model) => {
    const base = model.startsWith('ft:') ? model.slice(3) : model;
    if (base === 'gpt-4') return GPT_4;
    return MODELS.find(([prefix]) => base.startsWith(prefix))?.[1] ?? UNKNOWN_MODEL;
  },
  edit,
  usage: [
    { selectors: ['usage', 'prompt_tokens'], key: 'input' },
    { selectors: ['usage', 'completion_tokens'], key: 'output' },
  ],
  credentialHeaders: ['authorization', 'api-key', 'x-api-key', 'openai-organization', 'openai-project', 'cookie'],
};
