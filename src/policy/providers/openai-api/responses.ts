import { isJsonObject as isObject, type Json, type JsonObject } from '../../json.ts';
import type { BodyFacts, JsonOperation, Misread } from '../provider.ts';
import { hostOfUrl, isMisread, lookalikeOf, misread, objectsIn } from '../fields.ts';
import { count, fetchesOfPart, given, modelOf, streamOf, type Dialect } from './fields.ts';

/** Responses. Source: https://platform.openai.com/docs/api-reference/responses/create */

const ACTED_ON = new Set([
  'model',
  'stream',
  'input',
  'instructions',
  'max_output_tokens',
  'tools',
  'background',
  'previous_response_id',
  'conversation',
  'prompt',
  'context_management',
]);

/** Parts and items whose tokens are bounded by their bytes. */
const TEXT_PARTS = new Set<Json | undefined>(['input_text', 'output_text', 'text', 'refusal', 'summary_text', 'reasoning_text']);
const TEXT_ITEMS = new Set<Json | undefined>([
  undefined,
  'message',
  'function_call',
  'function_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'reasoning',
]);
/** Where items of these kinds carry parts. */
const PART_FIELDS = ['content', 'output', 'summary'] as const;

type Input = Pick<BodyFacts, 'unknownInput' | 'fetches'>;

/** Parts of an item; text counts as none. */
const partsOf = (item: JsonObject): readonly JsonObject[] | Misread => {
  const parts: JsonObject[] = [];
  for (const field of PART_FIELDS) {
    const value = item[field];
    if (!given(value) || typeof value === 'string') continue;
    const list = objectsIn(value);
    if (!list) return misread(`\`input[].${field}\` must be text or a list of parts.`);
    for (const part of list) parts.push(part);
  }
  return parts;
};

const readInput = (input: Json | undefined): Input | Misread => {
  if (!given(input) || typeof input === 'string') return { unknownInput: false, fetches: [] };
  const items = objectsIn(input);
  if (!items) return misread('`input` must be text or a list of items.');
  let unknownInput = false;
  const fetches: string[] = [];
  for (const item of items) {
    // Of an image, a file, an earlier item, … only a reference may be here.
    const isText = TEXT_ITEMS.has(item['type']);
    const parts = isText ? partsOf(item) : [item];
    if (!Array.isArray(parts)) return parts as Misread;
    const others = isText ? (parts as readonly JsonObject[]).filter(({ type }) => !TEXT_PARTS.has(type)) : (parts as readonly JsonObject[]);
    unknownInput ||= others.length > 0;
    for (const fetch of others.flatMap(fetchesOfPart)) fetches.push(fetch);
  }
  return { unknownInput, fetches };
};

/** Tools the agent runs itself. */
const OWN_TOOLS = new Set<Json | undefined>(['function', 'custom', 'local_shell', 'apply_patch', 'computer', 'computer_use_preview']);

const isOwn = (tool: JsonObject): boolean => {
  const environment = tool['environment'];
  return OWN_TOOLS.has(tool['type']) || (tool['type'] === 'shell' && isObject(environment) && environment['type'] === 'local');
};

/** Where the provider goes for a tool: a remote MCP server has a URL, everything else it runs reaches whatever it likes. */
const fetchOfTool = (tool: Json): readonly string[] => {
  if (!isObject(tool)) return ['*'];
  if (isOwn(tool)) return [];
  const url = tool['server_url'];
  return tool['type'] === 'mcp' && typeof url === 'string' && !given(tool['connector_id']) ? [hostOfUrl(url)] : ['*'];
};

/** What is read at the provider and has no size here. A stored prompt can name tools, too. */
const STORED = ['previous_response_id', 'conversation', 'prompt'] as const;

export const responses = (dialect: Dialect): JsonOperation => ({
  name: 'chat',
  body: 'json',
  read(target, body) {
    const unclear = lookalikeOf(body, ACTED_ON);
    if (unclear) return unclear;
    const named = modelOf(dialect, target, body['model']);
    if (isMisread(named)) return named;
    const stream = streamOf(body);
    if (typeof stream === 'object') return stream;
    if (given(body['background']) && body['background'] !== false)
      return misread('`background` must be false: what such an answer used is said by another call, so it cannot be metered.');
    const stray = dialect.strayFields?.(body);
    if (stray) return stray;
    const limit = count(body, 'max_output_tokens');
    if (typeof limit === 'object') return limit;
    const { instructions, tools } = body;
    if (given(instructions) && typeof instructions !== 'string') return misread('`instructions` must be text.');
    if (given(tools) && !Array.isArray(tools)) return misread('`tools` must be a list.');
    const input = readInput(body['input']);
    if (isMisread(input)) return input;
    const hosted = ((tools ?? []) as readonly Json[]).flatMap(fetchOfTool);
    return {
      ...named,
      stream,
      n: 1,
      ...(limit !== undefined && { outputLimit: limit }),
      // Compaction by the provider writes a summary beside the answer, whose length nothing in the request limits.
      ...(given(body['context_management']) && { unbounded: true }),
      unknownInput: input.unknownInput || hosted.length > 0 || STORED.some((field) => given(body[field])),
      fetches: [...new Set([...input.fetches, ...hosted, ...(given(body['prompt']) ? ['*'] : [])])],
    };
  },
  edit: (_target, body, outputLimit) =>
    outputLimit === undefined
      ? body
      : { ...body, max_output_tokens: typeof body['max_output_tokens'] === 'number' ? Math.min(body['max_output_tokens'], outputLimit) : outputLimit },
});
