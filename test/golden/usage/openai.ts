import type { Shape } from './shapes.ts';

/**
 * Answers of every call of OpenAI's API but chat, and of servers that speak it: as they are documented at
 * https://platform.openai.com/docs/api-reference, and as nobody should write them.
 */

const JSON_TYPE = { 'content-type': 'application/json' };
const SSE = { 'content-type': 'text/event-stream; charset=utf-8' };

const events = (...all: readonly { readonly type?: string; readonly [field: string]: unknown }[]): string =>
  all.map((data) => `${data.type === undefined ? '' : `event: ${data.type}\n`}data: ${JSON.stringify(data)}\n\n`).join('');

const RESPONSE = { id: 'resp_1', object: 'response', model: 'gpt-4.1-2025-04-14', metadata: { usage: { input_tokens: 1 } }, tools: [{ usage: { output_tokens: 1 } }] };
const RESPONSE_USAGE = {
  input_tokens: 36,
  input_tokens_details: { cached_tokens: 12 },
  output_tokens: 87,
  output_tokens_details: { reasoning_tokens: 20 },
  total_tokens: 123,
};
const NAMED = { responseModel: 'gpt-4.1-2025-04-14', responseId: 'resp_1' };
const READ = { input: 36, output: 87, total: 123, cachedInput: 12, reasoning: 20 };
const TOTALS = { input: 36, output: 87, cachedInput: 12, reasoning: 20 };

const json = (name: string, body: object | string, usage: Shape['usage'], totals: Shape['totals'] = {}, provider: Shape['provider'] = 'openai'): Shape => ({
  name: `${provider}: ${name}`,
  provider,
  headers: JSON_TYPE,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  usage,
  totals,
});

const stream = (name: string, body: string, usage: Shape['usage'], totals: Shape['totals'] = {}, more: Partial<Shape> = {}): Shape => ({
  name: `${more.provider ?? 'openai'}: ${name}`,
  provider: 'openai',
  stream: true,
  headers: SSE,
  body,
  usage,
  totals,
  ...more,
});

const created = { type: 'response.created', sequence_number: 0, response: { ...RESPONSE, status: 'in_progress', usage: null, incomplete_details: null } };
const delta = { type: 'response.output_text.delta', sequence_number: 1, item_id: 'msg_1', delta: '{"usage":{"output_tokens":1}}' };
const completed = (response: object = {}) => ({
  type: 'response.completed',
  sequence_number: 2,
  response: { ...RESPONSE, status: 'completed', usage: RESPONSE_USAGE, incomplete_details: null, ...response },
});

export const OPENAI_SHAPES: readonly Shape[] = [
  json('responses', { ...RESPONSE, status: 'completed', incomplete_details: null, output: [{ usage: { input_tokens: 5 } }], usage: RESPONSE_USAGE }, { ...READ, ...NAMED }, TOTALS),
  json(
    'responses, cut by its limit',
    { ...RESPONSE, status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, usage: RESPONSE_USAGE },
    { ...READ, ...NAMED, finishReason: 'max_output_tokens' },
    TOTALS,
  ),
  stream('responses, streamed', events(created, delta, completed()), { ...READ, ...NAMED }, TOTALS),
  stream('responses, streamed and failed', events(created, { ...completed({ status: 'failed', usage: null }), type: 'response.failed' }), NAMED),
  stream('responses, a stream that is cut', events(created, delta), NAMED, {}, { cut: true }),
  json('completions', { id: 'cmpl-1', model: 'gpt-3.5-turbo-instruct', choices: [{ text: 'x' }], usage: { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 } }, {
    input: 5,
    output: 7,
    total: 12,
    responseModel: 'gpt-3.5-turbo-instruct',
    responseId: 'cmpl-1',
  }, { input: 5, output: 7 }),
  json('embeddings, which have no output', { object: 'list', model: 'text-embedding-3-small', data: [{ embedding: [0.1] }], usage: { prompt_tokens: 8, total_tokens: 8 } }, {
    input: 8,
    total: 8,
    responseModel: 'text-embedding-3-small',
  }, { input: 8 }),
  json('an image', { created: 1, data: [{ b64_json: 'AA==' }], usage: { total_tokens: 100, input_tokens: 50, output_tokens: 50, input_tokens_details: { text_tokens: 10, image_tokens: 40 } } }, {
    input: 50,
    output: 50,
    total: 100,
  }, { input: 50, output: 50 }),
  json('an image of a model without tokens', { created: 1, data: [{ url: 'https://img.example/1' }] }, undefined),
  stream(
    'an image, streamed',
    events(
      { type: 'image_generation.partial_image', b64_json: 'AA==', partial_image_index: 0 },
      { type: 'image_generation.completed', b64_json: 'A'.repeat(1_200_000), usage: { total_tokens: 100, input_tokens: 50, output_tokens: 50 } },
    ),
    { input: 50, output: 50, total: 100 },
    { input: 50, output: 50 },
  ),
  stream('speech as events', events({ type: 'speech.audio.delta', audio: 'AA==' }, { type: 'speech.audio.done', usage: { input_tokens: 14, output_tokens: 101, total_tokens: 115 } }), { input: 14, output: 101, total: 115 }, { input: 14, output: 101 }),
  { name: 'openai: speech as sound', provider: 'openai', headers: { 'content-type': 'audio/mpeg' }, body: Buffer.from('{"usage":{"input_tokens":1}}'), usage: undefined, totals: {} },
  json('a transcription', { text: 'hello', usage: { type: 'tokens', input_tokens: 14, input_token_details: { text_tokens: 0, audio_tokens: 14 }, output_tokens: 45, total_tokens: 59 } }, { input: 14, output: 45, total: 59 }, { input: 14, output: 45 }),
  json('a transcription by its length', { text: 'hello', usage: { type: 'duration', seconds: 27 } }, undefined),
  stream('a transcription, streamed', events({ type: 'transcript.text.delta', delta: 'he' }, { type: 'transcript.text.done', text: 'hello', usage: { type: 'tokens', input_tokens: 14, output_tokens: 45, total_tokens: 59 } }), { input: 14, output: 45, total: 59 }, { input: 14, output: 45 }),
  { name: 'openai: a transcription as text', provider: 'openai', headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'hello', usage: undefined, totals: {} },
  json('an error', { error: { message: 'no', type: 'invalid_request_error', param: null, code: 'model_not_found' } }, undefined),
  json('a list of models', { object: 'list', data: [{ id: 'gpt-4o', object: 'model' }] }, undefined),

  stream(
    'a stream that begins with what its filters found',
    events(
      { id: '', model: '', choices: [], prompt_filter_results: [{ prompt_index: 0 }] },
      { id: 'c', model: 'gpt-4o', choices: [{ delta: { content: 'x' } }], usage: null },
      { id: 'c', model: 'gpt-4o', choices: [], usage: { prompt_tokens: 11, completion_tokens: 5, total_tokens: 16 } },
    ),
    { input: 11, output: 5, total: 16, responseModel: 'gpt-4o', responseId: 'c' },
    { input: 11, output: 5 },
    { provider: 'azure-openai' },
  ),
  stream(
    'a server that counts in every chunk',
    events({ id: 'c', model: 'm', usage: { prompt_tokens: 11, completion_tokens: 1 } }, { id: 'c', model: 'm', usage: { prompt_tokens: 11, completion_tokens: 9 } }),
    { input: 11, output: 9, responseModel: 'm', responseId: 'c' },
    { input: 11, output: 9 },
    { provider: 'custom' },
  ),
  stream(
    'events with the other line ends, comments, fields nobody knows and no space',
    ': keep-alive\r\n\r\nid: 1\r\nretry: 5\r\ndata:{"id":"c","usage":\r\ndata:{"prompt_tokens":11,"completion_tokens":5}}\r\n\r\ndata:[DONE]\r\n\r\n',
    { input: 11, output: 5, responseId: 'c' },
    { input: 11, output: 5 },
    { provider: 'custom' },
  ),
  json('usage that is null', { id: 'c', usage: null }, { responseId: 'c' }, {}, 'custom'),
  json('usage that is a list', { id: 'c', usage: [{ prompt_tokens: 5 }] }, { responseId: 'c' }, {}, 'custom'),
  json('numbers that are none', { usage: { prompt_tokens: 'many', completion_tokens: { n: 1 } } }, undefined, {}, 'custom'),
  json('no JSON', '{"usage":{"prompt_tokens":5', undefined, {}, 'custom'),
  json('a list of answers', '[{"usage":{"prompt_tokens":5}}]', { input: 5 }, { input: 5 }, 'custom'),
];
