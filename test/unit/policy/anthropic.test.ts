import { describe, expect, test } from 'vitest';
import { requestTo } from './provider-facts.ts';

const { provider, operationOf, facts, edit } = requestTo('anthropic', 'api.anthropic.com');
const PATH = '/v1/messages';
const messages = [{ role: 'user', content: 'hi' }];
const chat = { model: 'claude-sonnet-4-5', max_tokens: 100, messages };
const read = (body: object) => facts(PATH, { ...chat, ...body });
const withBlock = (block: object) => read({ messages: [{ role: 'user', content: [block] }] });

test('knows messages, counting and models, and nothing that is paid for later', () => {
  expect(operationOf(PATH)).toMatchObject({ name: 'chat', body: 'json' });
  expect(operationOf(PATH)).not.toHaveProperty('free');
  expect(operationOf('/v1/messages/count_tokens')).toMatchObject({ name: 'count_tokens', free: true });
  for (const path of ['/v1/models', '/v1/models/claude-opus-4-1']) expect(operationOf(path, 'GET')).toMatchObject({ body: 'none', free: true });
  for (const [method, path] of [
    ['GET', PATH],
    ['POST', '/v1/messages/'],
    ['POST', '/v1/messages/batches'],
    ['GET', '/v1/messages/batches/x'],
    ['POST', '/v1/files'],
    ['POST', '/v1/complete'],
    ['POST', '/v1/skills'],
    ['POST', '/v1/models'],
    ['POST', '/V1/messages'],
    ['POST', '/v1/messages%2fcount_tokens'],
  ] as const)
    expect(operationOf(path, method), `${method} ${path}`).toBeUndefined();
});

describe('facts of a body', () => {
  test('plain', () => expect(read({})).toEqual({ model: 'claude-sonnet-4-5', stream: false, n: 1, outputLimit: 100, unknownInput: false, fetches: [] }));
  test('a stream', () => expect(read({ stream: true })).toMatchObject({ stream: true }));
  test('thinking is output that may be hidden, as asked for or as the model does', () => {
    expect(read({ thinking: { type: 'enabled', budget_tokens: 1024 } })).toMatchObject({ hiddenReasoning: true });
    expect(read({ thinking: { type: 'adaptive' } })).toMatchObject({ hiddenReasoning: true });
    expect(read({ thinking: { type: 'disabled' } })).not.toHaveProperty('hiddenReasoning');
    expect(read({ model: 'claude-opus-5-5' })).toMatchObject({ hiddenReasoning: true });
    expect(read({ model: 'claude-opus-5-5', thinking: { type: 'disabled' } })).not.toHaveProperty('hiddenReasoning');
    expect(read({ model: 'stranger' })).toMatchObject({ hiddenReasoning: true });
  });
  test('blocks of text are bounded by their bytes, also inside of results and documents', () => {
    for (const block of [
      { type: 'text', text: 'https://evil.example/' },
      { type: 'tool_use', id: 't', name: 'f', input: { url: 'https://evil.example/' } },
      { type: 'tool_result', tool_use_id: 't', content: 'text' },
      { type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'https://evil.example/' }] },
      { type: 'thinking', thinking: 'hm', signature: 'c2ln' },
      { type: 'redacted_thinking', data: 'ZGF0YQ==' },
      { type: 'compaction', content: 'what was said' },
      { type: 'tool_addition', tool: { type: 'tool_reference', name: 'f' } },
      { type: 'tool_addition', tool: { type: 'tool_definition', definition: { name: 'f', input_schema: {} } } },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } },
      { type: 'document', source: { type: 'content', content: [{ type: 'text', text: 'x' }] } },
    ])
      expect(withBlock(block), JSON.stringify(block)).toMatchObject({ unknownInput: false, fetches: [] });
    expect(read({ system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] })).toMatchObject({ unknownInput: false });
  });
  test('images, PDFs and files have no visible size', () => {
    for (const block of [
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } },
      { type: 'image', source: { type: 'file', file_id: 'file_1' } },
      { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'AA==' } },
      { type: 'container_upload', file_id: 'file_1' },
      { type: 'tool_result', tool_use_id: 't', content: [{ type: 'image', source: { type: 'base64', data: 'AA==' } }] },
      { type: 'document', source: { type: 'content', content: [{ type: 'image', source: { type: 'base64', data: 'AA==' } }] } },
      {},
    ])
      expect(withBlock(block), JSON.stringify(block)).toMatchObject({ unknownInput: true, fetches: [] });
  });
  test('what the provider would fetch is named', () => {
    const url = { type: 'url', url: 'https://evil.example/x?d=1' };
    expect(withBlock({ type: 'image', source: url })).toMatchObject({ fetches: ['evil.example'] });
    expect(withBlock({ type: 'document', source: url })).toMatchObject({ fetches: ['evil.example'] });
    expect(withBlock({ type: 'document', source: { ...url, url: '//nonsense' } })).toMatchObject({ fetches: ['*'] });
    expect(withBlock({ type: 'tool_result', tool_use_id: 't', content: [{ type: 'image', source: url }] })).toMatchObject({ fetches: ['evil.example'] });
    expect(withBlock({ type: 'later', deep: [{ link: 'HTTPS://evil.example' }] })).toMatchObject({ fetches: ['evil.example'] });
    expect(read({ system: [{ type: 'document', source: url }] })).toMatchObject({ fetches: ['evil.example'] });
    expect(read({ mcp_servers: [{ type: 'url', url: 'https://mcp.example/sse', name: 'm' }] })).toMatchObject({ unknownInput: true, fetches: ['mcp.example'] });
    expect(read({ mcp_servers: {} })).toMatchObject({ fetches: ['*'] });
    expect(read({ container: 'container_1' })).toMatchObject({ fetches: ['*'] });
    expect(read({ container: { skills: [{ type: 'anthropic', skill_id: 'pdf' }] } })).toMatchObject({ fetches: ['*'] });
  });
  test('tools that the provider runs reach any host, those of the agent none', () => {
    const tools = (...all: object[]) => read({ tools: all });
    expect(
      tools(
        { name: 'f', input_schema: {} },
        { type: 'custom', name: 'g' },
        { type: 'bash_20250124', name: 'bash' },
        { type: 'computer_20250124' },
        { type: 'browser_toolset_20260801' },
      ),
    ).toMatchObject({ unknownInput: false, fetches: [] });
    for (const type of ['web_search_20250305', 'web_fetch_20250910', 'code_execution_20250825', 'advisor_20260301', 'bash', ''])
      expect(tools({ type, name: 'x' }), type).toMatchObject({ unknownInput: true, fetches: ['*'] });
    expect(read({ tools: {} })).toMatchObject({ fetches: ['*'] });
    for (const tool of [{ type: 'tool_definition', definition: { type: 'web_search_20260318' } }, { type: 'later' }, null])
      expect(withBlock({ type: 'tool_addition', tool }), JSON.stringify(tool)).toMatchObject({ unknownInput: true, fetches: ['*'] });
  });
  test('what the provider keeps of a thread has no visible size', () => {
    expect(read({ thread: { type: 'continue', previous_message_id: 'msg_1' } })).toMatchObject({ unknownInput: true });
    expect(read({ thread: { type: 'create' } })).toMatchObject({ unknownInput: false });
    expect(read({ context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] } })).toMatchObject({ unknownInput: false });
  });

  test.each<[string, object, string]>([
    ['no model', { model: undefined }, 'InvalidRequest'],
    ['a model that is a list', { model: ['claude-sonnet-4-5'] }, 'InvalidRequest'],
    ['no limit', { max_tokens: undefined }, 'InvalidRequest'],
    ['a limit of 0', { max_tokens: 0 }, 'InvalidRequest'],
    ['a limit that is text', { max_tokens: '5' }, 'InvalidRequest'],
    ['stream that is text', { stream: 'true' }, 'InvalidRequest'],
    ['thinking that is text', { thinking: 'enabled' }, 'InvalidRequest'],
    ['no messages', { messages: undefined }, 'InvalidRequest'],
    ['messages that are no objects', { messages: ['hi'] }, 'InvalidRequest'],
    ['content that is a number', { messages: [{ role: 'user', content: 1 }] }, 'InvalidRequest'],
    ['a block that is no object', { messages: [{ role: 'user', content: ['hi'] }] }, 'InvalidRequest'],
    ['a field that differs in case', { Max_Tokens: 100_000 }, 'AmbiguousField'],
    ['another model beside', { fallback_model: 'claude-opus-5-5' }, 'AmbiguousField'],
    ['compaction', { compaction: { type: 'summarize' } }, 'UnknownBound'],
    ['compaction among the edits', { context_management: { edits: [{ type: 'compact_20260112' }] } }, 'UnknownBound'],
    ['other models beside', { fallbacks: [{ model: 'claude-opus-5-5' }] }, 'AmbiguousField'],
  ])('%s is refused', (_, body, reason) => expect(read(body)).toMatchObject({ reason }));

  test('counting needs no limit, and is judged for what it would fetch', () => {
    const count = (body: object) => facts('/v1/messages/count_tokens', { model: 'claude-sonnet-4-5', messages, ...body });
    expect(count({})).toMatchObject({ model: 'claude-sonnet-4-5', unknownInput: false });
    expect(count({ messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'https://evil.example' } }] }] })).toMatchObject({
      fetches: ['evil.example'],
    });
  });
});

describe('the forwarded body', () => {
  test('is as it was without a limit of ours, also of a stream: its usage comes unasked', () => {
    expect(edit(PATH, { ...chat, stream: true })).toEqual({ ...chat, stream: true });
    expect(edit('/v1/messages/count_tokens', { model: 'm', messages }, 5)).toEqual({ model: 'm', messages });
  });
  test('has the smaller limit', () => {
    expect(edit(PATH, chat, 40)).toEqual({ ...chat, max_tokens: 40 });
    expect(edit(PATH, chat, 400)).toEqual(chat);
  });
  test('has a budget for thinking that fits below it', () => {
    const thinking = { type: 'enabled', budget_tokens: 8_000 };
    expect(edit(PATH, { ...chat, max_tokens: 10_000, thinking }, 4_000)).toEqual({
      ...chat,
      max_tokens: 4_000,
      thinking: { type: 'enabled', budget_tokens: 3_999 },
    });
    expect(edit(PATH, { ...chat, max_tokens: 10_000, thinking }, 9_000)).toMatchObject({ max_tokens: 9_000, thinking });
    expect(edit(PATH, { ...chat, max_tokens: 10_000, thinking }, 500)).toMatchObject({ max_tokens: 500, thinking: { budget_tokens: 1_024 } });
  });
});

test('limits of models and their variants', () => {
  const limits = (model: string) => {
    const { contextWindow, maxOutput, known } = provider.limits(model);
    return [known, contextWindow, maxOutput];
  };
  expect(limits('claude-opus-4-1-20250805')).toEqual([true, 200_000, 32_000]);
  expect(limits('claude-opus-4-20250514')).toEqual([true, 200_000, 32_000]);
  expect(limits('claude-opus-4-5')).toEqual([true, 200_000, 64_000]);
  expect(limits('claude-sonnet-4-5-20250929')).toEqual([true, 1_000_000, 64_000]);
  expect(limits('claude-haiku-5-5')).toEqual([true, 1_000_000, 128_000]);
  expect(limits('claude-3-5-haiku-latest')).toEqual([true, 200_000, 8_192]);
  expect(limits('claude')).toEqual([false, 1_000_000, 8_192]);
});

test('totals: what went through the cache is input, too', () => {
  expect(provider.totals({ input: 10, output: 5, cachedInput: 100, cacheCreation: 20 })).toEqual({
    input: 130,
    output: 5,
    cachedInput: 100,
    cacheCreation: 20,
  });
  expect(provider.totals({ input: 10 })).toEqual({ input: 10 });
  expect(provider.totals({ input: 10, output: 9, reasoning: 4 })).toEqual({ input: 10, output: 9, reasoning: 4 });
  expect(provider.totals({})).toEqual({});
});

test('a refusal has the shape of the API, with our account of it inside', () => {
  const refusal = { code: 'ModelNotAllowed', message: 'no', decision: 'd', policy: '', route: 'r', gateway: 'g', revision: '1' };
  expect(provider.errorBody(refusal, 403)).toEqual({ type: 'error', error: { type: 'permission_error', ...refusal } });
  expect(provider.errorBody(refusal, 429)).toMatchObject({ error: { type: 'rate_limit_error' } });
});
