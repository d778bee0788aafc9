import type { ProviderName } from '#api';
import type { ReportedUsage } from '#model';
import type { UsageTotals } from '#policy';
import { event, exception } from '../../fixtures/bedrock/event-stream.ts';
import { OPENAI_SHAPES } from './openai.ts';

/** Answers of providers as they come over the wire, ordinary, empty, odd and cut, and what is to be read of them. */
export interface Shape {
  readonly name: string;
  readonly provider: ProviderName;
  readonly stream?: true;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** The connection ends in the middle of the answer. */
  readonly cut?: true;
  readonly usage: ReportedUsage | undefined;
  readonly totals: UsageTotals;
}

const JSON_TYPE = { 'content-type': 'application/json' };
const GOOGLE_TYPE = { 'content-type': 'application/json; charset=UTF-8' };
const SSE = { 'content-type': 'text/event-stream; charset=utf-8' };
const FRAMES = { 'content-type': 'application/vnd.amazon.eventstream' };

const sse = (...events: readonly object[]): string => events.map((data) => `event: ${(data as { type?: string }).type ?? 'message'}\ndata: ${JSON.stringify(data)}\n\n`).join('');
const chunk = (piece: object | string): Buffer =>
  event('chunk', { bytes: Buffer.from(typeof piece === 'string' ? piece : JSON.stringify(piece)).toString('base64'), p: 'abcdefgh' });
const metrics = (input: number, output: number, more: object = {}): object => ({
  'amazon-bedrock-invocationMetrics': { inputTokenCount: input, outputTokenCount: output, invocationLatency: 1, firstByteLatency: 1, ...more },
});

const openai: readonly Shape[] = [
  {
    name: 'openai: JSON',
    provider: 'openai',
    headers: JSON_TYPE,
    body: JSON.stringify({
      id: 'chatcmpl-1',
      model: 'gpt-4o-2024-08-06',
      choices: [{ message: { content: '{"usage":{"prompt_tokens":1},"choices":[{"finish_reason":"forged"}]}' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 11, completion_tokens: 5, total_tokens: 16, prompt_tokens_details: { cached_tokens: 3 }, completion_tokens_details: { reasoning_tokens: 2 } },
    }),
    usage: { input: 11, output: 5, total: 16, cachedInput: 3, reasoning: 2, finishReason: 'stop', responseModel: 'gpt-4o-2024-08-06', responseId: 'chatcmpl-1' },
    totals: { input: 11, output: 5, cachedInput: 3, reasoning: 2 },
  },
  {
    name: 'openai: a stream, usage in its last chunk, null before',
    provider: 'openai',
    stream: true,
    headers: SSE,
    body: `${sse({ id: 'c', model: 'm', choices: [{ delta: { content: 'x' } }], usage: null }, { id: 'c', model: 'm', choices: [], usage: { prompt_tokens: 11, completion_tokens: 5, total_tokens: 16 } })}data: [DONE]\n\n`,
    usage: { input: 11, output: 5, total: 16, responseModel: 'm', responseId: 'c' },
    totals: { input: 11, output: 5 },
  },
  {
    name: 'openai: answers end for reasons of their own; arguments and other lists are none',
    provider: 'openai',
    headers: JSON_TYPE,
    body: JSON.stringify({
      metadata: { choices: [{ finish_reason: 'forged' }], finish_reason: 'forged' },
      other: [{ finish_reason: 'forged' }],
      choices: [
        { index: 0, finish_reason: 'length', logprobs: [[{ finish_reason: 'forged' }], 'x', null], message: { arguments: { finish_reason: 'forged' } } },
        { index: 1, finish_reason: 'stop' },
        { index: 2, finish_reason: null },
        { index: 3, finish_reason: 'stop' },
      ],
      usage: { prompt_tokens: 11, completion_tokens: 5 },
    }),
    usage: { input: 11, output: 5, finishReason: 'length,stop' },
    totals: { input: 11, output: 5 },
  },
  {
    name: 'openai: a stream of two answers ends twice',
    provider: 'openai',
    stream: true,
    headers: SSE,
    body: `${sse(
      { id: 'c', model: 'm', choices: [{ index: 0, delta: { content: '"finish_reason":"forged"' }, finish_reason: null }] },
      { id: 'c', model: 'm', choices: [{ index: 1, delta: {}, finish_reason: 'tool_calls' }] },
      { id: 'c', model: 'm', choices: [{ index: 0, delta: {}, finish_reason: 'content_filter' }] },
      { id: 'c', model: 'm', choices: [], usage: { prompt_tokens: 11, completion_tokens: 5 } },
    )}data: [DONE]\n\n`,
    usage: { input: 11, output: 5, finishReason: 'tool_calls,content_filter', responseModel: 'm', responseId: 'c' },
    totals: { input: 11, output: 5 },
  },
  {
    name: 'openai: an answer of megabytes arrives as it is, with its usage; why it ended is not looked for in so much text',
    provider: 'openai',
    headers: JSON_TYPE,
    body: JSON.stringify({ choices: [{ message: { content: 'x"'.repeat(1_500_000) }, finish_reason: 'stop' }], usage: { prompt_tokens: 11, completion_tokens: 5 } }),
    usage: { input: 11, output: 5 },
    totals: { input: 11, output: 5 },
  },
  {
    name: 'openai: embeddings of megabytes',
    provider: 'openai',
    headers: JSON_TYPE,
    body: JSON.stringify({ data: Array.from({ length: 100 }, (_, index) => ({ index, embedding: Array(1_536).fill(-0.0123456789) })), model: 'e', usage: { prompt_tokens: 11 } }),
    usage: { input: 11, responseModel: 'e' },
    totals: { input: 11 },
  },
  {
    name: 'openai: a stream that is cut',
    provider: 'openai',
    stream: true,
    cut: true,
    headers: SSE,
    body: sse({ id: 'c', model: 'm', choices: [{ delta: { content: 'x' } }] }),
    usage: { responseModel: 'm', responseId: 'c' },
    totals: {},
  },
];

const START = {
  type: 'message_start',
  message: { id: 'msg_1', model: 'claude-x', usage: { input_tokens: 25, cache_creation_input_tokens: 7, cache_read_input_tokens: 100, output_tokens: 1 } },
};
const DELTA = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'usage {"output_tokens": 1}' } };
const stop = (usage: object): readonly object[] => [{ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage }, { type: 'message_stop' }];
const STARTED = { input: 25, cachedInput: 100, cacheCreation: 7, responseModel: 'claude-x', responseId: 'msg_1' };

const anthropic: readonly Shape[] = [
  {
    name: 'anthropic: JSON',
    provider: 'anthropic',
    headers: JSON_TYPE,
    body: JSON.stringify({
      id: 'msg_1',
      type: 'message',
      model: 'claude-x',
      content: [],
      stop_reason: 'end_turn',
      usage: { input_tokens: 25, output_tokens: 15, cache_creation_input_tokens: 7, cache_read_input_tokens: 100, output_tokens_details: { thinking_tokens: 4 } },
    }),
    usage: { input: 25, output: 15, cachedInput: 100, cacheCreation: 7, reasoning: 4, finishReason: 'end_turn', responseModel: 'claude-x', responseId: 'msg_1' },
    totals: { input: 132, output: 15, cachedInput: 100, cacheCreation: 7, reasoning: 4 },
  },
  {
    name: 'anthropic: JSON with null where nothing is counted',
    provider: 'anthropic',
    headers: JSON_TYPE,
    body: JSON.stringify({ id: 'msg_1', stop_reason: null, usage: { input_tokens: 25, output_tokens: 15, cache_creation_input_tokens: null, cache_read_input_tokens: null } }),
    usage: { input: 25, output: 15, responseId: 'msg_1' },
    totals: { input: 25, output: 15 },
  },
  {
    name: 'anthropic: a stream splits its usage, and counts output from the start',
    provider: 'anthropic',
    stream: true,
    headers: SSE,
    body: sse(START, { type: 'ping' }, DELTA, ...stop({ output_tokens: 15 })),
    usage: { ...STARTED, output: 15, finishReason: 'end_turn' },
    totals: { input: 132, output: 15, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'anthropic: null at the end of a stream takes nothing back',
    provider: 'anthropic',
    stream: true,
    headers: SSE,
    body: sse(START, DELTA, ...stop({ input_tokens: null, cache_creation_input_tokens: null, cache_read_input_tokens: null, output_tokens: 15, output_tokens_details: null })),
    usage: { ...STARTED, output: 15, finishReason: 'end_turn' },
    totals: { input: 132, output: 15, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'anthropic: the end of a stream counts again what tools of the provider brought',
    provider: 'anthropic',
    stream: true,
    headers: SSE,
    body: sse(START, DELTA, ...stop({ input_tokens: 900, cache_read_input_tokens: 200, output_tokens: 15, output_tokens_details: { thinking_tokens: 9 } })),
    usage: { ...STARTED, input: 900, cachedInput: 200, output: 15, reasoning: 9, finishReason: 'end_turn' },
    totals: { input: 1_107, output: 15, cachedInput: 200, cacheCreation: 7, reasoning: 9 },
  },
  {
    name: 'anthropic: a stream that is cut has its input alone',
    provider: 'anthropic',
    stream: true,
    cut: true,
    headers: SSE,
    body: sse(START, DELTA, DELTA),
    usage: STARTED,
    totals: { input: 132, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'anthropic: an error in the middle of a stream',
    provider: 'anthropic',
    stream: true,
    headers: SSE,
    body: sse(START, { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
    usage: STARTED,
    totals: { input: 132, cachedInput: 100, cacheCreation: 7 },
  },
];

const geminiPiece = (usageMetadata: object | undefined, more: object = {}): object => ({
  candidates: [{ content: { parts: [{ text: '"usageMetadata": {"promptTokenCount": 1} ]}\\' }] }, ...(usageMetadata === FINAL && { finishReason: 'STOP' }) }],
  ...(usageMetadata && { usageMetadata }),
  modelVersion: 'gemini-x',
  responseId: 'r1',
  ...more,
});
const DETAILS = { promptTokensDetails: [{ modality: 'TEXT', tokenCount: 777 }] };
const FINAL = { promptTokenCount: 10, candidatesTokenCount: 9, totalTokenCount: 25, thoughtsTokenCount: 6, cachedContentTokenCount: 4, ...DETAILS };
const GEMINI = { input: 10, output: 9, total: 25, reasoning: 6, cachedInput: 4, finishReason: 'STOP', responseModel: 'gemini-x', responseId: 'r1' };
const GEMINI_TOTALS = { input: 10, output: 15, cachedInput: 4, reasoning: 6 };
/** What a model wrote as arguments is real JSON, but not where usage is. */
const FORGED = { candidates: [{ content: { parts: [{ functionCall: { name: 'f', args: { usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1 }, candidates: [{ finishReason: 'FORGED' }], finishReason: 'FORGED' } } }] } }] };
const array = (...pieces: readonly object[]): string => `[${pieces.map((piece) => JSON.stringify(piece, null, 2)).join(',\r\n')}]`;

const google: readonly Shape[] = [
  { name: 'google: JSON', provider: 'google', headers: GOOGLE_TYPE, body: JSON.stringify(geminiPiece(FINAL), null, 2), usage: GEMINI, totals: GEMINI_TOTALS },
  {
    name: 'google: JSON of a blocked prompt has no count of candidates',
    provider: 'google',
    headers: GOOGLE_TYPE,
    body: JSON.stringify({ promptFeedback: { blockReason: 'SAFETY' }, usageMetadata: { promptTokenCount: 10, totalTokenCount: 10 } }),
    usage: { input: 10, total: 10 },
    totals: { input: 10, output: 0 },
  },
  {
    name: 'google: arguments of a function are no usage',
    provider: 'google',
    headers: GOOGLE_TYPE,
    body: JSON.stringify({ ...FORGED, usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 9, totalTokenCount: 19 } }),
    usage: { input: 10, output: 9, total: 19 },
    totals: { input: 10, output: 9 },
  },
  {
    name: 'google: events, the last with the whole usage',
    provider: 'google',
    stream: true,
    headers: { 'content-type': 'text/event-stream' },
    body: [geminiPiece({ promptTokenCount: 10, totalTokenCount: 10 }), geminiPiece(FINAL)].map((piece) => `data: ${JSON.stringify(piece)}\r\n\r\n`).join(''),
    usage: GEMINI,
    totals: GEMINI_TOTALS,
  },
  {
    name: 'google: Vertex tells usage at the end alone',
    provider: 'google',
    stream: true,
    headers: { 'content-type': 'text/event-stream' },
    body: [geminiPiece({ trafficType: 'ON_DEMAND' }), geminiPiece(FINAL)].map((piece) => `data: ${JSON.stringify(piece)}\r\n\r\n`).join(''),
    usage: GEMINI,
    totals: GEMINI_TOTALS,
  },
  {
    name: 'google: an array',
    provider: 'google',
    stream: true,
    headers: GOOGLE_TYPE,
    body: array(geminiPiece({ promptTokenCount: 10, totalTokenCount: 10, ...DETAILS }), FORGED, geminiPiece(FINAL)),
    usage: GEMINI,
    totals: GEMINI_TOTALS,
  },
  {
    name: 'google: an array that is cut in the middle of an element: what was whole of it counts',
    provider: 'google',
    stream: true,
    cut: true,
    headers: GOOGLE_TYPE,
    body: `${array(geminiPiece({ promptTokenCount: 10, candidatesTokenCount: 2, totalTokenCount: 12 })).slice(0, -1)},\r\n${JSON.stringify(geminiPiece(FINAL)).slice(0, -20)}`,
    usage: GEMINI,
    totals: GEMINI_TOTALS,
  },
  {
    name: 'google: Claude on Vertex AI',
    provider: 'google',
    stream: true,
    headers: SSE,
    body: sse(START, DELTA, ...stop({ output_tokens: 15 })),
    usage: { ...STARTED, output: 15, finishReason: 'end_turn' },
    totals: { input: 132, output: 15, cachedInput: 100, cacheCreation: 7 },
  },
  { name: 'google: an empty array', provider: 'google', stream: true, headers: GOOGLE_TYPE, body: '[]', usage: undefined, totals: {} },
  { name: 'google: an array that is none', provider: 'google', stream: true, headers: GOOGLE_TYPE, body: ']]]}}}"{[', usage: undefined, totals: {} },
];

const CONVERSE = { inputTokens: 30, outputTokens: 12, totalTokens: 162, cacheReadInputTokens: 100, cacheWriteInputTokens: 20 };
const CONVERSED = { input: 30, output: 12, total: 162, cachedInput: 100, cacheCreation: 20, finishReason: 'end_turn' };
const CONVERSE_TOTALS = { input: 150, output: 12, cachedInput: 100, cacheCreation: 20 };
const CLAUDE_PIECES = [START, DELTA, { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 15 } }];

const bedrock: readonly Shape[] = [
  {
    name: 'bedrock: converse',
    provider: 'bedrock',
    headers: JSON_TYPE,
    body: JSON.stringify({ output: { message: { content: [{ text: 'x' }] } }, stopReason: 'end_turn', usage: CONVERSE, metrics: { latencyMs: 1 } }),
    usage: CONVERSED,
    totals: CONVERSE_TOTALS,
  },
  {
    name: 'bedrock: converse-stream',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([
      event('messageStart', { role: 'assistant', p: 'ab' }),
      event('contentBlockDelta', { delta: { text: 'usage' }, contentBlockIndex: 0, p: 'abc' }),
      event('messageStop', { stopReason: 'end_turn', p: 'a' }),
      event('metadata', { usage: CONVERSE, metrics: { latencyMs: 1 }, p: 'abcd' }),
    ]),
    usage: CONVERSED,
    totals: CONVERSE_TOTALS,
  },
  {
    name: 'bedrock: converse-stream that ends in an exception',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([event('messageStart', { role: 'assistant' }), exception('throttlingException', 'Too many tokens')]),
    usage: undefined,
    totals: {},
  },
  {
    name: 'bedrock: converse-stream that is cut in the middle of its usage',
    provider: 'bedrock',
    stream: true,
    cut: true,
    headers: FRAMES,
    body: Buffer.concat([event('messageStop', { stopReason: 'end_turn' }), event('metadata', { usage: CONVERSE }).subarray(0, -9)]),
    usage: { finishReason: 'end_turn' },
    totals: {},
  },
  {
    name: 'bedrock: invoke tells its usage in headers, whatever the body',
    provider: 'bedrock',
    headers: { ...JSON_TYPE, 'x-amzn-bedrock-input-token-count': '9', 'x-amzn-bedrock-output-token-count': '8' },
    body: JSON.stringify({ generation: 'x', prompt_token_count: 9, generation_token_count: 8 }),
    usage: { input: 9, output: 8 },
    totals: { input: 9, output: 8 },
  },
  {
    name: 'bedrock: invoke of Claude has it in both',
    provider: 'bedrock',
    headers: {
      ...JSON_TYPE,
      'x-amzn-bedrock-input-token-count': '25',
      'x-amzn-bedrock-output-token-count': '15',
      'x-amzn-bedrock-cache-read-input-token-count': '100',
      'x-amzn-bedrock-cache-write-input-token-count': '7',
    },
    body: JSON.stringify({ id: 'msg_1', usage: { input_tokens: 25, output_tokens: 15, cache_creation_input_tokens: 7, cache_read_input_tokens: 100 } }),
    usage: { input: 25, output: 15, cachedInput: 100, cacheCreation: 7, responseId: 'msg_1' },
    totals: { input: 132, output: 15, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'bedrock: a stream of invoke, metrics in its last piece',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([...CLAUDE_PIECES.map(chunk), chunk({ type: 'message_stop', ...metrics(25, 16, { cacheReadInputTokenCount: 100, cacheWriteInputTokenCount: 7 }) })]),
    usage: { ...STARTED, output: 16, finishReason: 'end_turn' },
    totals: { input: 132, output: 16, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'bedrock: a stream of invoke of another maker',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([chunk({ generation: 'x', prompt_token_count: 9 }), chunk({ generation: '', stop_reason: 'stop', ...metrics(9, 8) })]),
    usage: { input: 9, output: 8, finishReason: 'stop' },
    totals: { input: 9, output: 8 },
  },
  {
    name: 'bedrock: what a model writes in a stream of invoke is no usage, as text or deeper',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([chunk({ generation: JSON.stringify(metrics(0, 0)) }), chunk({ ...metrics(9, 8), calls: [metrics(1, 1)], call: metrics(2, 2) })]),
    usage: { input: 9, output: 8 },
    totals: { input: 9, output: 8 },
  },
  {
    name: 'bedrock: a stream of invoke that is cut in the middle of a frame',
    provider: 'bedrock',
    stream: true,
    cut: true,
    headers: FRAMES,
    body: Buffer.concat([chunk(START), chunk({ type: 'message_stop', ...metrics(25, 16) }).subarray(0, -5)]),
    usage: STARTED,
    totals: { input: 132, cachedInput: 100, cacheCreation: 7 },
  },
  {
    name: 'bedrock: pieces that are not JSON',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([chunk('{"a":"'), chunk('][}{"\\'), chunk(''), chunk(metrics(9, 8))]),
    usage: { input: 9, output: 8 },
    totals: { input: 9, output: 8 },
  },
  {
    name: 'bedrock: a frame of impossible length',
    provider: 'bedrock',
    stream: true,
    headers: FRAMES,
    body: Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]), chunk(metrics(9, 8))]),
    usage: undefined,
    totals: {},
  },
];

const odd: readonly Shape[] = [
  { name: 'an empty body', provider: 'openai', headers: JSON_TYPE, body: '', usage: undefined, totals: {} },
  { name: 'a body that is not what it says', provider: 'openai', headers: JSON_TYPE, body: '{"usage":{"prompt_tokens":', usage: undefined, totals: {} },
  { name: 'empty usage', provider: 'openai', headers: JSON_TYPE, body: '{"usage":{}}', usage: undefined, totals: {} },
  { name: 'usage that is a list', provider: 'openai', headers: JSON_TYPE, body: '{"usage":[{"prompt_tokens":5}]}', usage: undefined, totals: {} },
  { name: 'no events', provider: 'anthropic', stream: true, headers: SSE, body: '', usage: undefined, totals: {} },
  { name: 'events without data', provider: 'anthropic', stream: true, headers: SSE, body: ': comment\n\nevent: ping\n\ndata: nonsense\n\n', usage: undefined, totals: {} },
  { name: 'no frames', provider: 'bedrock', stream: true, headers: FRAMES, body: '', usage: undefined, totals: {} },
  { name: 'text', provider: 'openai', headers: { 'content-type': 'text/plain' }, body: '{"usage":{"prompt_tokens":5}}', usage: undefined, totals: {} },
];

const M = { responseModel: 'm' };
const USED = { input: 1, output: 2 };
const lie = (name: string, stream: boolean, body: string | Buffer, usage: ReportedUsage | undefined): Shape => ({
  name: `custom: ${stream ? 'a stream' : 'JSON'}, ${name}`,
  provider: 'custom',
  ...(stream && { stream }),
  headers: stream ? SSE : JSON_TYPE,
  body: stream ? Buffer.concat([Buffer.from('data: '), Buffer.from(body), Buffer.from('\n\n')]) : body,
  usage,
  totals: usage?.input === undefined ? {} : { input: usage.input, output: usage.output! },
});
const numbers: readonly (readonly [name: string, text: string, json: number | undefined, stream: ReportedUsage | undefined])[] = [
  // Of the log; what is settled and recorded takes no negative number.
  ['negative', '-5', undefined, { input: -5, output: -5, ...M }],
  ['too large for a number', '1e999', undefined, undefined],
  ['a long number', '9'.repeat(400), undefined, undefined],
  ['a number with a fraction', '1.5', 1.5, { input: 1.5, output: 1.5, ...M }],
  ['not a number', 'NaN', undefined, undefined],
];
const models: readonly (readonly [name: string, text: string | Buffer, json: string | undefined, stream: ReportedUsage | undefined])[] = [
  ['a line break', 'a\nb', 'a\nb', undefined],
  ['NUL', 'a\0b', 'a', undefined],
  ['what is no UTF-8', Buffer.from('a\xff\xfeb', 'latin1'), 'a\xff\xfeb', undefined],
  ['an escaped line break', 'a\\u000ab', undefined, { ...USED, responseModel: 'a\nb' }],
  ['two megabytes', 'a'.repeat(2_000_000), undefined, { ...USED, responseModel: 'a'.repeat(256) }],
  ['many letters', 'a'.repeat(10_000), 'a'.repeat(256), { ...USED, responseModel: 'a'.repeat(256) }],
];
/** Servers that an agent may have made itself: nothing they say may break a line of the log, make it endless, or count for less than nothing. */
const lies: readonly Shape[] = [
  ...numbers.flatMap(([name, text, json, stream]) => {
    const body = `{"usage":{"prompt_tokens":${text},"completion_tokens":${text}},"model":"m"}`;
    return [lie(`usage is ${name}`, false, body, { ...(json !== undefined && { input: json, output: json }), ...M }), lie(`usage is ${name}`, true, body, stream)];
  }),
  ...models.flatMap(([name, text, json, stream]) => {
    const body = Buffer.concat([Buffer.from('{"usage":{"prompt_tokens":1,"completion_tokens":2},"model":"'), Buffer.from(text), Buffer.from('"}')]);
    return [lie(`the model has ${name}`, false, body, { ...USED, ...(json !== undefined && { responseModel: json }) }), lie(`the model has ${name}`, true, body, stream)];
  }),
  lie('the name of a field has megabytes', false, `{"${'a'.repeat(2_000_000)}":1,"usage":{"prompt_tokens":1,"completion_tokens":2}}`, USED),
];

/** What providers say. */
export const HONEST: readonly Shape[] = [...openai, ...OPENAI_SHAPES, ...anthropic, ...google, ...bedrock, ...odd];
export const SHAPES: readonly Shape[] = [...HONEST, ...lies];
