import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import { ambiguous, countAt, hostOfUrl, isAbsent, isMisread, limitsByFamily, lookalikeOf, misread, objectsIn, urlHostsIn, type Family } from './fields.ts';
import type { Misread } from './provider.ts';

/** Claude's Messages body, as the Anthropic API and Bedrock's `invoke` take it. Source: https://platform.claude.com/docs/en/api/messages */

/**
 * Sources: https://platform.claude.com/docs/en/about-claude/models/overview and /model-deprecations. Where a beta header widens the
 * window to a million tokens (Sonnet 4 and 4.5) the wide one stands. Later models think unless they are told not to.
 */
const FAMILIES: readonly Family[] = [
  [['claude-fable', 'claude-mythos', 'claude-opus-5', 'claude-sonnet-5', 'claude-haiku-5'], 1_000_000, 128_000, true],
  [['claude-opus-4-6', 'claude-opus-4-7', 'claude-opus-4-8', 'claude-sonnet-4-6'], 1_000_000, 128_000, true],
  [['claude-sonnet-4', 'claude-sonnet-4-5'], 1_000_000, 64_000, false],
  [['claude-opus-4-5', 'claude-haiku-4-5'], 200_000, 64_000, false],
  [['claude-opus-4', 'claude-opus-4-1'], 200_000, 32_000, false],
  [['claude-3-7-sonnet'], 200_000, 128_000, false],
  [['claude-3-5-sonnet', 'claude-3-5-haiku'], 200_000, 8_192, false],
  [['claude-3-opus', 'claude-3-sonnet', 'claude-3-haiku'], 200_000, 4_096, false],
  [['claude-2', 'claude-v2'], 200_000, 4_096, false],
  [['claude-instant'], 100_000, 4_096, false],
];
export const claudeLimits = limitsByFamily(FAMILIES, { known: false, contextWindow: 1_000_000, maxOutput: 8_192, hiddenReasoning: true });

/** Blocks whose tokens are bounded by their bytes. What is encrypted in them is no shorter than what it stands for. */
const BOUNDED = new Set([
  'text',
  'thinking',
  'redacted_thinking',
  'tool_use',
  'server_tool_use',
  'mcp_tool_use',
  'tool_reference',
  'tool_removal',
  'compaction',
]);
/** Blocks that hold blocks in `content`. */
const NESTED = new Set(['tool_result', 'search_result', 'mcp_tool_result']);

/** Tools the agent runs itself, by the beginning of their type, and a search among its own tools; any other is run by the provider. */
const OWN_TOOLS = /^(?:custom$|bash_|text_editor_|computer_|browser_|memory_|tool_search_tool_|mcp_toolset$)/;
const isOwn = ({ type }: JsonObject): boolean => isAbsent(type) || (typeof type === 'string' && OWN_TOOLS.test(type));
/** Tools that are added later are defined there, or named alone. */
const addsOwn = (tool: Json | undefined): boolean =>
  isObject(tool) &&
  (tool['type'] === 'tool_definition' ? isObject(tool['definition']) && isOwn(tool['definition']) : String(tool['type']).endsWith('_reference'));

interface Content {
  readonly unknownInput: boolean;
  readonly fetches: readonly string[];
}

const joined = (all: readonly Content[]): Content => ({
  unknownInput: all.some(({ unknownInput }) => unknownInput),
  fetches: all.flatMap(({ fetches }) => fetches),
});

const readContent = (content: Json | undefined, name: string): Content | Misread => {
  if (isAbsent(content) || typeof content === 'string') return { unknownInput: false, fetches: [] };
  const blocks = objectsIn(content);
  if (!blocks) return misread(`\`${name}\` must be text or a list of blocks.`);
  const read: Content[] = [];
  for (const block of blocks) {
    const one = readBlock(block, name);
    if (isMisread(one)) return one;
    read.push(one);
  }
  return joined(read);
};

const readBlock = (block: JsonObject, name: string): Content | Misread => {
  const { type, source, content } = block;
  if (typeof type === 'string' && BOUNDED.has(type)) return { unknownInput: false, fetches: [] };
  if (typeof type === 'string' && NESTED.has(type)) return readContent(content, `${name}[].content`);
  if (type === 'tool_addition') return addsOwn(block['tool']) ? { unknownInput: false, fetches: [] } : { unknownInput: true, fetches: ['*'] };
  if (type === 'document' && isObject(source) && source['type'] === 'text') return { unknownInput: false, fetches: [] };
  if (type === 'document' && isObject(source) && source['type'] === 'content') return readContent(source['content'], `${name}[].source.content`);
  const url = isObject(source) && source['type'] === 'url' ? [hostOfUrl(source['url'])] : [];
  return { unknownInput: true, fetches: [...new Set([...url, ...urlHostsIn(block)])] };
};

/** What the provider is asked to do itself: tools, MCP servers, and code in a container reach what they like. */
export const readServerSide = (body: JsonObject): Content => {
  const { tools, mcp_servers: servers, container } = body;
  const own = isAbsent(tools) || objectsIn(tools)?.every(isOwn);
  const asked = isAbsent(servers) || (Array.isArray(servers) && servers.length === 0) ? [] : (objectsIn(servers)?.map(({ url }) => hostOfUrl(url)) ?? ['*']);
  const anywhere = !own || !isAbsent(container);
  return { unknownInput: anywhere || asked.length > 0, fetches: anywhere ? [...asked, '*'] : asked };
};

export interface ClaudeFacts extends Content {
  readonly outputLimit?: number;
  readonly stream: boolean;
  /** Whether the request asks for thinking; undefined when it does not say. */
  readonly thinking?: boolean;
}

const ACTED_ON = new Set([
  'model', 'stream', 'max_tokens', 'messages', 'system', 'tools', 'mcp_servers', 'container', 'thinking', 'thread', 'compaction', 'context_management',
]); // prettier-ignore

/** The summary of a long context is written by a request of its own, whose tokens the answer's usage leaves out. */
const compacts = ({ compaction, context_management: management }: JsonObject): boolean =>
  !isAbsent(compaction) || (isObject(management) && JSON.stringify(management).includes('"compact'));

/** Facts of a body, but for the model. */
export const readClaude = (body: JsonObject): ClaudeFacts | Misread => {
  const other = lookalikeOf(body, ACTED_ON);
  if (other) return other;
  // Another model than the one that was judged would answer.
  const elsewhere = Object.keys(body).find((key) => key !== 'model' && /model|fallback/i.test(key));
  if (elsewhere !== undefined) return ambiguous(`\`${elsewhere}\` may name another model than \`model\`.`);
  if (compacts(body))
    return {
      reason: 'UnknownBound',
      message: 'Compaction by the provider spends tokens that the answer does not report, so nothing bounds them; compact in the agent.',
    };
  const { stream, thinking, thread } = body;
  if (!isAbsent(stream) && typeof stream !== 'boolean') return misread('`stream` must be true or false.');
  if (!isAbsent(thinking) && !isObject(thinking)) return misread('`thinking` must be an object.');
  const outputLimit = countAt(body['max_tokens'], 'max_tokens');
  if (isMisread(outputLimit)) return outputLimit;
  const messages = objectsIn(body['messages']);
  if (!messages) return misread('`messages` must be a list of objects.');
  const contents: Content[] = [readServerSide(body)];
  for (const content of [body['system'], ...messages.map((message) => message['content'])]) {
    const read = readContent(content, 'messages[].content');
    if (isMisread(read)) return read;
    contents.push(read);
  }
  // What was said before in a thread is named alone.
  if (isObject(thread) && thread['type'] !== 'create') contents.push({ unknownInput: true, fetches: [] });
  return {
    ...joined(contents),
    stream: stream === true,
    ...(outputLimit !== undefined && { outputLimit }),
    ...(isObject(thinking) && { thinking: thinking['type'] !== 'disabled' }),
  };
};

/** Thinking that would not fit below the limit any more gets a smaller budget. */
export const editClaude = (body: JsonObject, outputLimit?: number): JsonObject => {
  if (outputLimit === undefined) return body;
  const { max_tokens: given, thinking } = body;
  const limit = typeof given === 'number' ? Math.min(given, outputLimit) : outputLimit;
  const budget = isObject(thinking) ? thinking['budget_tokens'] : undefined;
  return {
    ...body,
    max_tokens: limit,
    // The API takes no budget below 1,024; a limit that leaves no room for it is refused there.
    ...(isObject(thinking) && typeof budget === 'number' && budget >= limit && { thinking: { ...thinking, budget_tokens: Math.max(1_024, limit - 1) } }),
  };
};
