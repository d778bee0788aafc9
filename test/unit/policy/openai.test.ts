import { describe, expect, test } from 'vitest';
import { CHAT_TARGET, chatOperation, openaiFacts } from './openai-facts.ts';
import { providerNamed, type JsonObject } from '#policy';

const openai = providerNamed('openai')!;
const messages = [{ role: 'user', content: 'hi' }];

test('knows chat completions in one spelling only', () => {
  expect(openai.operation(CHAT_TARGET)?.name).toBe('chat');
  for (const [method, path] of [
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions/'],
    ['POST', '/v1//chat/completions'],
    ['POST', '/V1/chat/completions'],
    ['POST', '/v1/files'],
    ['POST', '/v1/chat%2fcompletions'],
  ] as const)
    expect(openai.operation({ ...CHAT_TARGET, method, path })).toBeUndefined();
});

describe('facts of a body', () => {
  test('defaults', () =>
    expect(openaiFacts({ model: 'gpt-4o', messages })).toEqual({ model: 'gpt-4o', stream: false, n: 1, unknownInput: false, fetches: [] }));
  test('limits, n and stream', () =>
    expect(openaiFacts({ model: 'gpt-4o', messages, max_tokens: 5, max_completion_tokens: 9, n: 3, stream: true })).toMatchObject({
      outputLimit: 9,
      n: 3,
      stream: true,
    }));
  test('null counts as absent', () =>
    expect(openaiFacts({ model: 'm', messages, max_tokens: null, n: null, stream: null })).toMatchObject({ n: 1, stream: false }));
  test('an image has no visible size, and its URL is fetched by the provider', () => {
    const image = (url: string) => ({ model: 'm', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] });
    expect(openaiFacts(image('https://evil.example/x?d=1'))).toMatchObject({ unknownInput: true, fetches: ['evil.example'] });
    expect(openaiFacts(image('data:image/png;base64,AA=='))).toMatchObject({ unknownInput: true, fetches: [] });
    expect(openaiFacts(image('//nonsense'))).toMatchObject({ fetches: ['*'] });
  });
  test('a URL in a part of another kind counts, whatever its field is called', () => {
    const part = (fields: object) => ({ model: 'm', messages: [{ role: 'user', content: [fields] }] });
    expect(openaiFacts(part({ type: 'file', file: { file_url: 'https://evil.example/x' } }))).toMatchObject({ fetches: ['evil.example'] });
    expect(openaiFacts(part({ type: 'input_file', deep: [{ url: ' HTTP://evil.example/' }] }))).toMatchObject({ fetches: ['evil.example'] });
    expect(openaiFacts(part({ type: 'file', file: { filename: 'a: b.txt', file_data: 'data:text/plain;base64,AA==' } }))).toMatchObject({ fetches: [] });
    expect(openaiFacts(part({ type: 'text', text: 'https://evil.example/' }))).toMatchObject({ fetches: [] });
  });
  test('a tool the provider runs reaches any host, one of the agent none', () => {
    const tools = (...all: object[]) => openaiFacts({ model: 'm', messages, tools: all });
    expect(tools({ type: 'function', function: { name: 'f' } }, { type: 'custom' })).toMatchObject({ fetches: [] });
    expect(tools({ type: 'function' }, { type: 'mcp', server_url: 'https://evil.example' })).toMatchObject({ fetches: ['*'] });
    expect(tools({})).toMatchObject({ fetches: ['*'] });
  });
  test('web search reaches any host', () =>
    expect(openaiFacts({ model: 'm', messages, web_search_options: {} })).toMatchObject({ unknownInput: true, fetches: ['*'] }));

  test.each<[string, object]>([
    ['no model', { messages }],
    ['an empty model', { model: '', messages }],
    ['a very long model', { model: 'x'.repeat(300), messages }],
    ['no messages', { model: 'm' }],
    ['messages that are no objects', { model: 'm', messages: ['hi'] }],
    ['a part that is no object', { model: 'm', messages: [{ content: [1] }] }],
    ['n = 0', { model: 'm', messages, n: 0 }],
    ['n = 1.5', { model: 'm', messages, n: 1.5 }],
    ['a negative limit', { model: 'm', messages, max_tokens: -1 }],
    ['a limit that is text', { model: 'm', messages, max_completion_tokens: '5' }],
    ['stream that is text', { model: 'm', messages, stream: 'true' }],
    ['stream_options that are a list', { model: 'm', messages, stream_options: [] }],
  ])('%s is refused', (_, body) => expect(openaiFacts(body)).toHaveProperty('reason', 'InvalidRequest'));

  test('a field that differs only in case is refused', () =>
    expect(openaiFacts({ model: 'm', messages, Model: 'x' })).toHaveProperty('reason', 'AmbiguousField'));
});

describe('the forwarded body', () => {
  const edit = (body: object, limit?: number): JsonObject => chatOperation().edit(CHAT_TARGET, body as JsonObject, limit);
  test('asks a stream for usage and keeps its other options', () =>
    expect(edit({ stream: true, stream_options: { include_usage: false, x: 1 } })).toEqual({ stream: true, stream_options: { include_usage: true, x: 1 } }));
  test('leaves what is not streamed and not metered as it is', () => expect(edit({ model: 'm', max_tokens: 7 })).toEqual({ model: 'm', max_tokens: 7 }));
  test('writes a limit where there is none', () => expect(edit({ model: 'm' }, 50)).toEqual({ model: 'm', max_completion_tokens: 50 }));
  test('lowers whichever limit is given, and never raises it', () => {
    expect(edit({ max_tokens: 100 }, 50)).toEqual({ max_tokens: 50 });
    expect(edit({ max_tokens: 10, max_completion_tokens: 100 }, 50)).toEqual({ max_tokens: 10, max_completion_tokens: 50 });
  });
});

test.each<[string, object]>([
  ['gpt-4o-mini-2024-07-18', { known: true, contextWindow: 128_000, maxOutput: 16_384 }],
  ['gpt-4.1-nano', { known: true, contextWindow: 1_047_576, maxOutput: 32_768 }],
  ['gpt-4', { known: true, contextWindow: 8_192 }],
  ['gpt-4-turbo-2024-04-09', { known: true, contextWindow: 128_000 }],
  ['gpt-4-0125-preview', { known: true, contextWindow: 128_000 }],
  ['gpt-4-something-new', { known: false, maxOutput: 8_192 }],
  ['o3-mini', { known: true, hiddenReasoning: true }],
  ['gpt-5-nano', { known: true, hiddenReasoning: true }],
  ['ft:gpt-4o-mini:org::id', { known: true, maxOutput: 16_384 }],
  ['stranger', { known: false, contextWindow: 128_000, maxOutput: 8_192, hiddenReasoning: true }],
  ['constructor', { known: false }],
])('limits of %s', (model, limits) => expect(openai.limits(model)).toMatchObject(limits));
