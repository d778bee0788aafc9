import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import { ambiguous, countAt, hostOfUrl, isAbsent, isMisread, misread, objectsIn, urlHostsIn } from './fields.ts';
import type { Misread } from './provider.ts';

/**
 * Bodies of generateContent and its kin. Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching#Tool and
 * https://protobuf.dev/programming-guides/json/: every field is read in camelCase and by its original name, at every depth.
 */

// Each run of underscores is tried from its beginning alone, so that a long one takes no quadratic time.
const camel = (name: string): string => name.replace(/(?<!_)_+([a-z0-9])/g, (_, next: string) => next.toUpperCase());
const bare = (name: string): string => name.replaceAll('_', '').toLowerCase();

/** Fields in camelCase. One that is spelled in both ways, or in a third that a looser reader could take for it, is refused. */
const fieldsOf = (message: JsonObject, actedOn: readonly string[]): ReadonlyMap<string, { readonly key: string; readonly value: Json }> | Misread => {
  const fields = new Map<string, { key: string; value: Json }>();
  const known = new Map(actedOn.map((name) => [bare(name), name]));
  for (const [key, value] of Object.entries(message)) {
    const name = camel(key);
    const meant = known.get(bare(key));
    if (fields.has(name)) return ambiguous(`\`${key}\` is there in two spellings.`);
    if (meant !== undefined && meant !== name) return ambiguous(`\`${key}\` differs from \`${meant}\` only in its spelling.`);
    if (!isAbsent(value)) fields.set(name, { key, value });
  }
  return fields;
};

/** How the agent spelled the field, or how we do. */
const spelled = (message: JsonObject, name: string): string => Object.keys(message).find((key) => camel(key) === name) ?? name;

interface Content {
  readonly unknownInput: boolean;
  readonly fetches: readonly string[];
}
const NOTHING: Content = { unknownInput: false, fetches: [] };
const joined = (all: readonly Content[]): Content => ({
  unknownInput: all.some(({ unknownInput }) => unknownInput),
  fetches: [...new Set(all.flatMap(({ fetches }) => fetches))],
});
const each = <T>(items: readonly T[], read: (item: T) => Content | Misread): Content | Misread => {
  const all: Content[] = [];
  for (const item of items) {
    const one = read(item);
    if (isMisread(one)) return one;
    all.push(one);
  }
  return joined(all);
};

/** Fields of a part whose tokens are bounded by their bytes. */
const BOUNDED = new Set([
  'text',
  'functionCall',
  'executableCode',
  'codeExecutionResult',
  'thought',
  'thoughtSignature',
  'videoMetadata',
  'mediaResolution',
  'partMetadata',
]);
const PART = [...BOUNDED, 'inlineData', 'fileData', 'functionResponse'];

const readPart = (part: JsonObject): Content | Misread => {
  const fields = fieldsOf(part, PART);
  if (isMisread(fields)) return fields;
  return each([...fields], ([name, { value }]) => {
    if (BOUNDED.has(name)) return NOTHING;
    if (name === 'functionResponse' && isObject(value)) return readParts(value['parts']);
    if (name !== 'fileData' || !isObject(value)) return { unknownInput: true, fetches: urlHostsIn(value) };
    const file = fieldsOf(value, ['fileUri', 'mimeType']);
    return isMisread(file) ? file : { unknownInput: true, fetches: [hostOfUrl(file.get('fileUri')?.value)] };
  });
};

/** A list that has one element may stand without brackets. */
const listOf = (value: Json | undefined): readonly JsonObject[] | undefined => (isAbsent(value) ? [] : isObject(value) ? [value] : objectsIn(value));

const readParts = (parts: Json | undefined): Content | Misread => {
  const list = listOf(parts);
  return list ? each(list, readPart) : misread('`parts` must be a list of objects.');
};

const readContent = (content: JsonObject): Content | Misread => {
  const fields = fieldsOf(content, ['parts', 'role']);
  return isMisread(fields) ? fields : readParts(fields.get('parts')?.value);
};

/** Tools the agent runs itself; Google runs any other, and with it reaches what it likes. */
const OWN_TOOLS = new Set(['functionDeclarations', 'computerUse']);
const readTools = (tools: Json | undefined): Content | Misread => {
  const list = listOf(tools);
  if (!list) return misread('`tools` must be a list of objects.');
  return list.every((tool) => Object.entries(tool).every(([key, value]) => isAbsent(value) || OWN_TOOLS.has(camel(key))))
    ? NOTHING
    : { unknownInput: true, fetches: ['*'] };
};

export interface GeminiFacts extends Content {
  readonly n: number;
  readonly outputLimit?: number;
}

const REQUEST = ['contents', 'systemInstruction', 'generationConfig', 'tools', 'toolConfig', 'cachedContent', 'model'];
const CONFIG = ['maxOutputTokens', 'candidateCount', 'routingConfig', 'modelSelectionConfig'];

/** Facts of a request for `model`, which is named in the path. */
export const readGemini = (body: JsonObject, model: string): GeminiFacts | Misread => {
  const fields = fieldsOf(body, REQUEST);
  if (isMisread(fields)) return fields;
  const named = fields.get('model')?.value;
  if (named !== undefined && !(typeof named === 'string' && (named === model || named.endsWith(`models/${model}`))))
    return ambiguous('`model` names another model than the path.');
  const config = fields.get('generationConfig')?.value ?? {};
  if (!isObject(config)) return misread('`generationConfig` must be an object.');
  const settings = fieldsOf(config, CONFIG);
  if (isMisread(settings)) return settings;
  if (settings.has('routingConfig') || settings.has('modelSelectionConfig'))
    return ambiguous('`generationConfig` may choose another model than the path names.');
  const outputLimit = countAt(settings.get('maxOutputTokens')?.value, 'generationConfig.maxOutputTokens');
  if (isMisread(outputLimit)) return outputLimit;
  const n = countAt(settings.get('candidateCount')?.value, 'generationConfig.candidateCount', 128);
  if (isMisread(n)) return n;
  const contents = listOf(fields.get('contents')?.value);
  if (!contents) return misread('`contents` must be a list of objects.');
  const instruction = fields.get('systemInstruction')?.value;
  if (instruction !== undefined && !isObject(instruction)) return misread('`systemInstruction` must be an object.');
  const content = each([...contents, ...(instruction ? [instruction] : [])], readContent);
  if (isMisread(content)) return content;
  const tools = readTools(fields.get('tools')?.value);
  if (isMisread(tools)) return tools;
  // What was cached before is named alone.
  const cached: Content = { unknownInput: fields.has('cachedContent'), fetches: [] };
  return { ...joined([content, tools, cached]), n: n ?? 1, ...(outputLimit !== undefined && { outputLimit }) };
};

export const editGemini = (body: JsonObject, outputLimit?: number): JsonObject => {
  if (outputLimit === undefined) return body;
  const at = spelled(body, 'generationConfig');
  const given = body[at];
  const config = isObject(given) ? given : {};
  const field = spelled(config, 'maxOutputTokens');
  const limit = config[field];
  return { ...body, [at]: { ...config, [field]: typeof limit === 'number' ? Math.min(limit, outputLimit) : outputLimit } };
};

/** Facts of one request to embed; nothing comes back that is counted. */
export const readEmbed = (body: JsonObject, model: string): Content | Misread => {
  const fields = fieldsOf(body, ['content', 'model']);
  if (isMisread(fields)) return fields;
  const named = fields.get('model')?.value;
  if (named !== undefined && !(typeof named === 'string' && (named === model || named.endsWith(`models/${model}`))))
    return ambiguous('`model` names another model than the path.');
  const content = fields.get('content')?.value;
  return isObject(content) ? readContent(content) : misread('`content` must be an object.');
};

export const readEmbeds = (body: JsonObject, model: string): Content | Misread => {
  const fields = fieldsOf(body, ['requests']);
  if (isMisread(fields)) return fields;
  const requests = listOf(fields.get('requests')?.value);
  return requests ? each(requests, (request) => readEmbed(request, model)) : misread('`requests` must be a list of objects.');
};

/** Counting takes the contents alone, or a whole request. */
export const readCount = (body: JsonObject, model: string): Content | Misread => {
  const fields = fieldsOf(body, [...REQUEST, 'generateContentRequest']);
  if (isMisread(fields)) return fields;
  const whole = fields.get('generateContentRequest')?.value;
  if (whole === undefined) return readGemini(body, model);
  return isObject(whole) ? each([whole, body], (request) => readGemini(request, model)) : misread('`generateContentRequest` must be an object.');
};
