import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import { shapeOf, type Shape } from './bedrock-models.ts';
import { editClaude, readClaude } from './claude.ts';
import { readTurns, strayLimit, type Content } from './converse.ts';
import { countAt, isAbsent, isMisread, misread, objectsIn } from './fields.ts';
import { fetchesOfPart } from './openai-api/fields.ts';
import type { BodyFacts, Misread } from './provider.ts';

/** Bodies of Bedrock's InvokeModel: each maker's own. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html */

const at = (body: JsonObject, path: readonly string[]): Json | undefined =>
  path.reduce<Json | undefined>((value, key) => (isObject(value) ? value[key] : undefined), body);

/** Messages of the OpenAI kind, or a prompt: parts that are no text have no visible size. */
const readChat = (body: JsonObject): Content | Misread => {
  const { messages, prompt } = body;
  if (typeof prompt === 'string' && isAbsent(messages)) return readText(body);
  const list = objectsIn(messages);
  if (!list) return misread('`messages` must be a list of objects.');
  const parts = list.flatMap(({ content }) => (isAbsent(content) || typeof content === 'string' ? [] : (objectsIn(content) ?? [{}])));
  const others = parts.filter(({ type }) => type !== 'text');
  return { unknownInput: others.length > 0, fetches: others.flatMap(fetchesOfPart) };
};

/** Texts and numbers; images have no visible size. */
const readText = (body: JsonObject): Content => {
  const images = Object.entries(body).filter(([key, value]) => /image|audio|video|document_url/i.test(key) && !isAbsent(value));
  return { unknownInput: images.length > 0, fetches: images.flatMap(([key, value]) => fetchesOfPart({ [key]: value })) };
};

/** The fields of an embedding that are texts; with an input of any other kind there is no bound, and what it names may be fetched. */
const readEmbedding = (body: JsonObject): Content => {
  const others = Object.entries(body).filter(([key]) => /image|audio|video|inputs/i.test(key));
  // A text that is a URL is a text.
  const media = JSON.parse(JSON.stringify(Object.fromEntries(others)), (key, value: unknown) => (key === 'text' ? undefined : value)) as JsonObject;
  return { unknownInput: others.length > 0, fetches: fetchesOfPart(media) };
};

export type InvokeFacts = Pick<BodyFacts, 'n' | 'outputLimit' | 'unknownInput' | 'fetches'> & { readonly thinking?: boolean };

const readShape = (shape: Shape, body: JsonObject): Content | Misread => {
  switch (shape.reader) {
    case 'nova':
      return readTurns(body);
    case 'chat':
      return readChat(body);
    case 'embedding':
      return readEmbedding(body);
    default:
      return readText(body);
  }
};

export const readInvoke = (modelId: string, body: JsonObject): InvokeFacts | Misread => {
  const shape = shapeOf(modelId, body);
  if (!shape)
    return {
      reason: 'UnknownBound',
      message: `How a body of ${JSON.stringify(modelId.slice(0, 200))} limits its output is not known, so nothing bounds its tokens. Use the Converse API, which limits every model alike.`,
    };
  const top = shape.limits.flatMap(([first]) => first ?? []);
  const stray = strayLimit(body, top);
  if (stray) return stray;
  if (shape.reader === 'claude') {
    if (!isAbsent(body['prompt'])) return { reason: 'UnknownBound', message: 'Text completions of Claude are not metered; use `messages`.' };
    const facts = readClaude(body);
    if (isMisread(facts)) return facts;
    const { stream: _, ...rest } = facts;
    return facts.outputLimit === undefined ? misread('`max_tokens` is required.') : { ...rest, n: 1 };
  }
  const limits: number[] = [];
  for (const path of shape.limits) {
    const inner = path.length > 1 ? at(body, path.slice(0, -1)) : undefined;
    if (!isAbsent(inner) && !isObject(inner)) return misread(`\`${path[0]!}\` must be an object.`);
    const beside = isObject(inner)
      ? strayLimit(
          inner,
          shape.limits.map((limit) => limit.at(-1)!),
        )
      : undefined;
    if (beside) return beside;
    const limit = countAt(at(body, path), path.join('.'));
    if (isMisread(limit)) return limit;
    if (limit !== undefined) limits.push(limit);
  }
  const n = shape.n === undefined ? undefined : countAt(body[shape.n], shape.n, 128);
  if (isMisread(n)) return n;
  const content = readShape(shape, body);
  if (isMisread(content)) return content;
  const outputLimit = shape.limits.length === 0 ? 0 : limits.length > 0 ? Math.max(...limits) : undefined;
  return { ...content, n: n ?? 1, ...(outputLimit !== undefined && { outputLimit }) };
};

const withLimit = (body: JsonObject, [key, ...rest]: readonly string[], limit: number): JsonObject => {
  const inner = body[key!];
  return { ...body, [key!]: rest.length === 0 ? limit : withLimit(isObject(inner) ? inner : {}, rest, limit) };
};

export const editInvoke = (modelId: string, body: JsonObject, outputLimit?: number): JsonObject => {
  const shape = shapeOf(modelId, body);
  if (outputLimit === undefined || !shape || shape.limits.length === 0) return body;
  if (shape.reader === 'claude') return editClaude(body, outputLimit);
  const given = shape.limits.filter((path) => typeof at(body, path) === 'number');
  return (given.length > 0 ? given : shape.limits.slice(0, 1)).reduce<JsonObject>((edited, path) => {
    const limit = at(body, path);
    return withLimit(edited, path, typeof limit === 'number' ? Math.min(limit, outputLimit) : outputLimit);
  }, body);
};
