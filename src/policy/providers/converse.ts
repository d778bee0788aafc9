import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import { LIMIT_NAMES } from './bedrock-models.ts';
import { readServerSide } from './claude.ts';
import { ambiguous, countAt, isAbsent, isMisread, lookalikeOf, misread, objectsIn, urlHostsIn } from './fields.ts';
import type { Misread } from './provider.ts';

/** Bodies of Bedrock's Converse. Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html */

export interface Content {
  readonly unknownInput: boolean;
  readonly fetches: readonly string[];
}
const NOTHING: Content = { unknownInput: false, fetches: [] };
export const joined = (all: readonly Content[]): Content => ({
  unknownInput: all.some(({ unknownInput }) => unknownInput),
  fetches: [...new Set(all.flatMap(({ fetches }) => fetches))],
});

/** Members of a block whose tokens are bounded by their bytes. */
const BOUNDED = new Set(['text', 'json', 'toolUse', 'cachePoint', 'reasoningContent', 'citationsContent', 'searchResult']);

const readBlock = (block: JsonObject): Content =>
  joined(
    Object.entries(block).map(([name, value]) => {
      if (isAbsent(value) || BOUNDED.has(name)) return NOTHING;
      if ((name === 'toolResult' || name === 'guardContent') && isObject(value)) {
        const nested = name === 'guardContent' ? [value] : objectsIn(value['content']);
        return nested ? joined(nested.map(readBlock)) : { unknownInput: true, fetches: urlHostsIn(value) };
      }
      const source = isObject(value) ? value['source'] : undefined;
      if (name === 'document' && isObject(source) && Object.keys(source).every((kind) => kind === 'text')) return NOTHING;
      return { unknownInput: true, fetches: urlHostsIn(value) };
    }),
  );

/** A guarded text is an object of its own: `{text: {text, qualifiers}}`. */
export const readBlocks = (content: Json | undefined, name: string): Content | Misread => {
  if (isAbsent(content)) return NOTHING;
  const blocks = objectsIn(content);
  return blocks ? joined(blocks.map(readBlock)) : misread(`\`${name}\` must be a list of objects.`);
};

export const readTurns = (body: JsonObject): Content | Misread => {
  const messages = objectsIn(body['messages']);
  if (!messages) return misread('`messages` must be a list of objects.');
  const all: Content[] = [];
  for (const [name, content] of [['system', body['system']] as const, ...messages.map((message) => ['messages[].content', message['content']] as const)]) {
    const read = readBlocks(content, name);
    if (isMisread(read)) return read;
    all.push(read);
  }
  const { toolConfig } = body;
  const tools = isObject(toolConfig) ? objectsIn(toolConfig['tools']) : [];
  // A system tool is run by AWS and reaches what it likes.
  const own = isAbsent(toolConfig) || tools?.every((tool) => Object.keys(tool).every((kind) => kind === 'toolSpec' || kind === 'cachePoint'));
  return joined([...all, ...(own ? [] : [{ unknownInput: true, fetches: ['*'] }])]);
};

/** A limit of the output beside the one that is judged might be the one that counts. */
export const strayLimit = (body: JsonObject, judged: readonly string[]): Misread | undefined => {
  const stray = Object.keys(body).find((key) => LIMIT_NAMES.has(key) && !judged.includes(key));
  return stray === undefined
    ? undefined
    : ambiguous(`\`${stray}\` is not how this model's output is limited; use ${judged.map((name) => `\`${name}\``).join(' or ')}.`);
};

export interface ConverseFacts extends Content {
  readonly outputLimit?: number;
  readonly thinking?: boolean;
}

const ACTED_ON = new Set(['messages', 'system', 'inferenceConfig', 'toolConfig', 'additionalModelRequestFields', 'promptVariables']);

export const readConverse = (body: JsonObject): ConverseFacts | Misread => {
  const other = lookalikeOf(body, ACTED_ON);
  if (other) return other;
  const { inferenceConfig = null, additionalModelRequestFields: more = null, promptVariables } = body;
  if (!isAbsent(promptVariables))
    return { reason: 'UnknownBound', message: 'A managed prompt has texts that are not in the request, so nothing bounds its tokens.' };
  if (inferenceConfig !== null && !isObject(inferenceConfig)) return misread('`inferenceConfig` must be an object.');
  if (more !== null && !isObject(more)) return misread('`additionalModelRequestFields` must be an object.');
  const config = inferenceConfig ?? {};
  const stray = lookalikeOf(config, new Set(['maxTokens'])) ?? strayLimit(config, ['maxTokens']) ?? strayFields(more ?? {});
  if (stray) return stray;
  const outputLimit = countAt(config['maxTokens'], 'inferenceConfig.maxTokens');
  if (isMisread(outputLimit)) return outputLimit;
  const turns = readTurns(body);
  if (isMisread(turns)) return turns;
  const thinking = more?.['thinking'] ?? more?.['reasoning_config'] ?? more?.['reasoningConfig'];
  return {
    ...joined([turns, readServerSide(more ?? {})]),
    ...(outputLimit !== undefined && { outputLimit }),
    ...(isObject(thinking) && { thinking: thinking['type'] !== 'disabled' }),
  };
};

/** Fields for the model itself are laid over what Converse makes of the request: no limit, no message may come by them. */
const strayFields = (more: JsonObject): Misread | undefined => {
  const stray = Object.entries(more).find(
    ([key, value]) =>
      LIMIT_NAMES.has(key) ||
      ACTED_ON.has(key) ||
      /^(?:prompt|inputText|model|textGenerationConfig)$/i.test(key) ||
      (isObject(value) && Object.keys(value).some((name) => LIMIT_NAMES.has(name))),
  );
  return (
    stray &&
    ambiguous(`\`additionalModelRequestFields.${stray[0]}\` might stand in for a field of the request; use \`inferenceConfig.maxTokens\` to limit the output.`)
  );
};

export const editConverse = (body: JsonObject, outputLimit?: number): JsonObject => {
  if (outputLimit === undefined) return body;
  const config = isObject(body['inferenceConfig']) ? body['inferenceConfig'] : {};
  const given = config['maxTokens'];
  return { ...body, inferenceConfig: { ...config, maxTokens: typeof given === 'number' ? Math.min(given, outputLimit) : outputLimit } };
};
