import { isJsonObject as isObject, type Json, type JsonObject } from '../../json.ts';
import type { BodyFacts, JsonOperation, Misread } from '../provider.ts';
import { isMisread, lookalikeOf, misread, objectsIn, urlHostsIn } from '../fields.ts';
import { count, fetchesOfPart, given, modelOf, streamOf, type Dialect } from './fields.ts';

/** Chat completions. Source: https://platform.openai.com/docs/api-reference/chat/create */

/** Both limit fields; models that reason take `max_completion_tokens` alone, older servers only the other. */
const LIMIT_FIELDS = ['max_completion_tokens', 'max_tokens'] as const;
/** What makes servers search for an answer: OpenAI's, xAI's, OpenRouter's, DashScope's. */
const SEARCH_FIELDS = ['web_search_options', 'search_parameters', 'plugins', 'enable_search'] as const;
const ACTED_ON = new Set([
  'model',
  'stream',
  'stream_options',
  'n',
  'messages',
  'tools',
  'modalities',
  'prediction',
  'data_sources',
  'best_of',
  ...SEARCH_FIELDS,
  ...LIMIT_FIELDS,
]);
/** Content parts whose tokens are bounded by their bytes. */
const TEXT_PARTS = new Set<Json | undefined>(['text', 'refusal']);

/** Tools the agent runs itself; every other one is run by the provider, which reaches whatever it likes. */
const OWN_TOOLS: ReadonlySet<Json | undefined> = new Set(['function', 'custom']);
const runsTools = (tools: Json | undefined): boolean => Array.isArray(tools) && tools.some((tool) => !isObject(tool) || !OWN_TOOLS.has(tool['type']));

const readMessages = (value: Json | undefined): Pick<BodyFacts, 'unknownInput' | 'fetches'> | Misread => {
  const messages = objectsIn(value);
  if (!messages) return misread('`messages` must be a list of objects.');
  const parts: JsonObject[] = [];
  for (const { content } of messages) {
    if (!given(content) || typeof content === 'string') continue;
    const list = objectsIn(content);
    if (!list) return misread('`messages[].content` must be text or a list of parts.');
    for (const part of list) parts.push(part);
  }
  // An `audio` of an earlier answer is named by its id alone.
  const audio = messages.some((message) => given(message['audio']));
  const others = parts.filter(({ type }) => !TEXT_PARTS.has(type));
  return { unknownInput: audio || others.length > 0, fetches: others.flatMap(fetchesOfPart) };
};

/** Searches and databases that the provider reads for an answer, by the hosts they name; `*` where they name none. */
const searchesOf = (body: JsonObject, always: boolean): readonly string[] => {
  const data = body['data_sources'];
  const sources = given(data) && !(Array.isArray(data) && data.length === 0) ? [...urlHostsIn(data), '*'] : [];
  const searches = always || SEARCH_FIELDS.some((field) => given(body[field]) && body[field] !== false);
  return searches || runsTools(body['tools']) ? [...sources, '*'] : sources;
};

const limitOf = (body: JsonObject): number | undefined | Misread => {
  const limits: number[] = [];
  for (const field of LIMIT_FIELDS) {
    const limit = count(body, field);
    if (typeof limit === 'object') return limit;
    if (limit !== undefined) limits.push(limit);
  }
  return limits.length > 0 ? Math.max(...limits) : undefined;
};

export const chat = (dialect: Dialect): JsonOperation => ({
  name: 'chat',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, ACTED_ON);
    if (unclear) return unclear;
    const named = modelOf(dialect, target, body['model']);
    if (isMisread(named)) return named;
    const stream = streamOf(body);
    if (typeof stream === 'object') return stream;
    const streamOptions = body['stream_options'];
    if (given(streamOptions) && !isObject(streamOptions)) return misread('`stream_options` must be an object.');
    const n = count(body, 'n', 128);
    if (typeof n === 'object') return n;
    const bestOf = count(body, 'best_of', 128);
    if (typeof bestOf === 'object') return bestOf;
    const stray = dialect.strayFields?.(body);
    if (stray) return stray;
    const limit = limitOf(body);
    if (typeof limit === 'object') return limit;
    const messages = readMessages(body['messages']);
    if (isMisread(messages)) return messages;
    const searches = searchesOf(body, dialect.searches?.(named.model ?? '') ?? false);
    return {
      ...named,
      stream,
      // OpenAI knows no `best_of` here; servers that do write that many.
      n: Math.max(n ?? 1, bestOf ?? 1),
      ...(limit !== undefined && { outputLimit: limit }),
      // What was predicted and not taken is billed as output beyond every limit.
      unknownInput: messages.unknownInput || searches.length > 0 || given(body['prediction']),
      fetches: [...new Set([...messages.fetches, ...searches])],
    };
  },
  edit(target, body, outputLimit) {
    const edited: Record<string, Json | undefined> = { ...body };
    if (outputLimit !== undefined) {
      const set = LIMIT_FIELDS.filter((field) => typeof body[field] === 'number');
      for (const field of set) edited[field] = Math.min(body[field] as number, outputLimit);
      if (set.length === 0) edited[dialect.chatLimitField(target)] = outputLimit;
    }
    return withStreamUsage(dialect, target, edited);
  },
});

/** A stream reports usage only when it is asked to. */
export const withStreamUsage = (dialect: Dialect, target: Parameters<Dialect['reportsStreamUsage']>[0], body: JsonObject): JsonObject =>
  body['stream'] === true && dialect.reportsStreamUsage(target)
    ? { ...body, stream_options: { ...(body['stream_options'] as JsonObject | null | undefined), include_usage: true } }
    : body;
