import { describe, expect, test } from 'vitest';
import { providerNamed, type BodyFacts, type FormOperation, type JsonObject, type JsonOperation, type Misread } from '#policy';
import { CHAT_TARGET, factsAt, form, operationAt } from './openai-facts.ts';

const openai = providerNamed('openai')!;
const edited = (path: string, body: object, limit?: number, provider = 'openai', query = ''): JsonObject =>
  (operationAt(path, provider, { query }) as JsonOperation).edit({ ...CHAT_TARGET, path, query }, body as JsonObject, limit);

test.each<[string, string, string | undefined]>([
  ['POST', '/v1/chat/completions', 'chat'],
  ['POST', '/v1/responses', 'chat'],
  ['POST', '/v1/completions', 'text_completion'],
  ['POST', '/v1/embeddings', 'embeddings'],
  ['POST', '/v1/images/generations', 'image_generation'],
  ['POST', '/v1/images/edits', 'image_edit'],
  ['POST', '/v1/audio/speech', 'speech'],
  ['POST', '/v1/audio/transcriptions', 'transcription'],
  ['GET', '/v1/models', 'list_models'],
  ['GET', '/v1/models/gpt-4o-mini', 'get_model'],
  ['GET', '/v1/models/ft:gpt-4o:org::id', 'get_model'],
  ...[
    '/v1/files',
    '/v1/batches',
    '/v1/assistants',
    '/v1/threads',
    '/v1/fine_tuning/jobs',
    '/v1/uploads',
    '/v1/realtime/sessions',
    '/v1/vector_stores',
    '/v1/containers',
    '/v1/videos',
    '/v1/moderations',
    '/v1/audio/translations',
    '/v1/images/variations',
    '/v1/responses/resp_1/cancel',
    '/v1/organization/admin_api_keys',
  ].map((path): [string, string, undefined] => ['POST', path, undefined]),
  ['GET', '/v1/responses/resp_1', undefined],
  ['DELETE', '/v1/models/ft:x', undefined],
  ['GET', '/v1/models/a/b', undefined],
  ['GET', '/v1/models/a%2fb', undefined],
  ['GET', '/v1/models/', undefined],
  ['GET', '/v1/responses', undefined],
  ['PUT', '/v1/responses', undefined],
  ['POST', '/v1/Responses', undefined],
  ['POST', '/v1/responses/', undefined],
  ['POST', '/v1/responses%20', undefined],
  ['POST', '//v1/responses', undefined],
  ['POST', '/v1/responses;x', undefined],
  ['POST', '/v2/responses', undefined],
  ['POST', '/v1/constructor', undefined],
])('%s %s is %s', (method, path, name) => expect(openai.operation({ ...CHAT_TARGET, method, path })?.name).toBe(name));

test('the list of models has no body, names no model and costs nothing', () => {
  expect(operationAt('/v1/models', 'openai', { method: 'GET' })).toMatchObject({ body: 'none', free: true });
  const one = operationAt('/v1/models/gpt-4o', 'openai', { method: 'GET' });
  expect(one.body === 'none' && one.read(CHAT_TARGET, undefined)).toMatchObject({ model: 'gpt-4o', fetches: [] });
});

describe('responses', () => {
  const read = (body: object): BodyFacts | Misread => factsAt('/v1/responses', { model: 'gpt-4.1', input: 'hi', ...body });
  const message = (...content: object[]) => ({ input: [{ type: 'message', role: 'user', content }] });
  const IMAGE = 'https://evil.example/x.png';

  test('defaults', () => expect(read({})).toEqual({ model: 'gpt-4.1', stream: false, n: 1, unknownInput: false, fetches: [] }));
  test('limit and stream', () => expect(read({ stream: true, max_output_tokens: 50 })).toMatchObject({ stream: true, outputLimit: 50 }));
  test.each<[string, object, Partial<BodyFacts>]>([
    [
      'texts of every kind',
      {
        input: [
          { role: 'user', content: 'a' },
          { type: 'reasoning', summary: [{ type: 'summary_text', text: 'b' }] },
          { type: 'function_call_output', call_id: 'c', output: IMAGE },
        ],
      },
      { unknownInput: false, fetches: [] },
    ],
    ['a URL in a text', message({ type: 'input_text', text: IMAGE }), { unknownInput: false, fetches: [] }],
    ['an image by URL', message({ type: 'input_image', image_url: IMAGE }), { unknownInput: true, fetches: ['evil.example'] }],
    ['an image by URL without slashes', message({ type: 'input_image', image_url: 'https:evil.example' }), { fetches: ['*'] }],
    ['an image by URL', message({ type: 'input_image', image_url: 'https://evil.example:8443/a?b=@c' }), { fetches: ['evil.example'] }],
    ['an image in itself', message({ type: 'input_image', image_url: 'data:image/png;base64,AA==' }), { unknownInput: true, fetches: [] }],
    ['an image by id', message({ type: 'input_image', file_id: 'file-1' }), { unknownInput: true, fetches: [] }],
    ['a file by URL', message({ type: 'input_file', file_url: ' HTTP://evil.example' }), { unknownInput: true, fetches: ['evil.example'] }],
    ['a file by a URL nobody can read', message({ type: 'input_file', file_url: '//x' }), { unknownInput: true, fetches: ['*'] }],
    ['a file by id', message({ type: 'input_file', file_id: 'file-1' }), { unknownInput: true, fetches: [] }],
    ['a part of no known kind', message({ type: 'INPUT_TEXT', text: 'x' }), { unknownInput: true }],
    ['a part of no kind', message({ text: 'x' }), { unknownInput: true }],
    [
      'a screenshot as output',
      { input: [{ type: 'computer_call_output', output: { type: 'computer_screenshot', image_url: IMAGE } }] },
      { unknownInput: true, fetches: ['evil.example'] },
    ],
    [
      'an image as output of a function',
      { input: [{ type: 'function_call_output', output: [{ type: 'input_image', image_url: IMAGE }] }] },
      { unknownInput: true, fetches: ['evil.example'] },
    ],
    ['an earlier item', { input: [{ type: 'item_reference', id: 'msg_1' }] }, { unknownInput: true }],
    ['an earlier answer', { previous_response_id: 'resp_1' }, { unknownInput: true, fetches: [] }],
    ['a conversation', { conversation: { id: 'conv_1' } }, { unknownInput: true }],
    ['a stored prompt, which can have tools', { prompt: { id: 'pmpt_1' } }, { unknownInput: true, fetches: ['*'] }],
    [
      'null for all of them',
      {
        previous_response_id: null,
        conversation: null,
        prompt: null,
        tools: null,
        instructions: null,
        stream: null,
        max_output_tokens: null,
        background: null,
      },
      { unknownInput: false, fetches: [] },
    ],
  ])('%s', (_, body, facts) => expect(read(body)).toMatchObject(facts));

  test.each<[object, readonly string[]]>([
    [{ type: 'function', name: 'f' }, []],
    [{ type: 'custom', name: 'f' }, []],
    [{ type: 'local_shell' }, []],
    [{ type: 'shell', environment: { type: 'local' } }, []],
    [{ type: 'shell', environment: { type: 'container_auto' } }, ['*']],
    [{ type: 'shell' }, ['*']],
    [{ type: 'computer_use_preview' }, []],
    [{ type: 'web_search' }, ['*']],
    [{ type: 'web_search_preview' }, ['*']],
    [{ type: 'file_search', vector_store_ids: ['vs_1'] }, ['*']],
    [{ type: 'code_interpreter', container: { type: 'auto' } }, ['*']],
    [{ type: 'image_generation' }, ['*']],
    [{ type: 'mcp', server_url: 'https://mcp.example/sse' }, ['mcp.example']],
    [{ type: 'mcp', server_url: 'https://mcp.example/sse', connector_id: 'connector_gmail' }, ['*']],
    [{ type: 'mcp', connector_id: 'connector_gmail' }, ['*']],
    [{ type: 'mcp', server_url: 5 }, ['*']],
    [{ type: 'Function' }, ['*']],
    [{}, ['*']],
  ])('tool %j reaches %j', (tool, fetches) => expect(read({ tools: [tool] })).toMatchObject({ fetches, unknownInput: fetches.length > 0 }));

  test.each<[string, object]>([
    ['no model', { model: undefined }],
    ['a model that is a number', { model: 4 }],
    ['a stream that is text', { stream: 'true' }],
    ['a limit of 0', { max_output_tokens: 0 }],
    ['a limit beyond numbers', { max_output_tokens: 1e300 }],
    ['a limit that is text', { max_output_tokens: '16' }],
    ['input that is a number', { input: 5 }],
    ['input that is one item', { input: { role: 'user' } }],
    ['items that are texts', { input: ['hi'] }],
    ['parts that are texts', { input: [{ role: 'user', content: ['hi'] }] }],
    ['content that is an object', { input: [{ role: 'user', content: { type: 'input_image' } }] }],
    ['instructions that are a list', { instructions: [{ role: 'user', content: [{ type: 'input_image', image_url: IMAGE }] }] }],
    ['tools that are an object', { tools: { type: 'web_search' } }],
    ['an answer in the background', { background: true }],
  ])('%s is refused', (_, body) => expect(read(body)).toHaveProperty('reason', 'InvalidRequest'));
  test.each(['Model', 'INPUT', 'Tools', 'max_Output_tokens', 'Previous_response_id', 'Background'])('%s is refused', (field) =>
    expect(read({ [field]: 'x' })).toHaveProperty('reason', 'AmbiguousField'),
  );
  test('a huge number keeps its digits and is no limit', () =>
    expect(factsAt('/v1/responses', '{"model":"m","input":"x","max_output_tokens":99999999999999999999}')).toHaveProperty('reason', 'InvalidRequest'));

  test('the limit is written, and never raised', () => {
    expect(edited('/v1/responses', { model: 'm' }, 50)).toEqual({ model: 'm', max_output_tokens: 50 });
    expect(edited('/v1/responses', { max_output_tokens: 20 }, 50)).toEqual({ max_output_tokens: 20 });
    expect(edited('/v1/responses', { max_output_tokens: 100 }, 50)).toEqual({ max_output_tokens: 50 });
    expect(edited('/v1/responses', { stream: true })).toEqual({ stream: true });
  });
});

describe('completions', () => {
  const read = (body: object): BodyFacts | Misread => factsAt('/v1/completions', { model: 'gpt-3.5-turbo-instruct', prompt: 'hi', ...body });
  test.each<[object, Partial<BodyFacts>]>([
    [{}, { n: 1, outputLimit: 16, stream: false, unknownInput: false }],
    [
      { max_tokens: 5, n: 2, stream: true },
      { n: 2, outputLimit: 5, stream: true },
    ],
    [{ max_tokens: 0, echo: true }, { outputLimit: 0 }],
    [{ prompt: ['a', 'b', 'c'], n: 2, best_of: 4 }, { n: 12 }],
    [{ prompt: [1, 2, 3] }, { n: 1 }],
    [{ prompt: [[1, 2], [3]] }, { n: 2 }],
    [{ prompt: null }, { n: 1 }],
  ])('%j', (body, facts) => expect(read(body)).toMatchObject(facts));
  test.each<[object]>([
    [{ prompt: [] }],
    [{ prompt: [{}] }],
    [{ prompt: 5 }],
    [{ prompt: ['a', [{}]] }],
    [{ best_of: 1.5 }],
    [{ n: 1e9 }],
    [{ max_tokens: -1 }],
    [{ model: null }],
    [{ stream_options: 'x' }],
  ])('%j is refused', (body) => expect(read(body)).toHaveProperty('reason', 'InvalidRequest'));
  test('the limit is written, below what is the default', () => {
    expect(edited('/v1/completions', {}, 50)).toEqual({ max_tokens: 16 });
    expect(edited('/v1/completions', {}, 5)).toEqual({ max_tokens: 5 });
    expect(edited('/v1/completions', { max_tokens: 100 }, 50)).toEqual({ max_tokens: 50 });
    expect(edited('/v1/completions', { stream: true })).toEqual({ stream: true, stream_options: { include_usage: true } });
  });
});

describe('embeddings', () => {
  const read = (body: object): BodyFacts | Misread => factsAt('/v1/embeddings', { model: 'text-embedding-3-small', ...body });
  test.each<[object]>([[{ input: 'a' }], [{ input: ['a', 'b'] }], [{ input: [1, 2] }], [{ input: [[1], [2, 3]] }]])('%j', (body) =>
    expect(read(body)).toEqual({ model: 'text-embedding-3-small', stream: false, n: 1, outputLimit: 0, unknownInput: false, fetches: [] }),
  );
  test.each<[object]>([
    [{}],
    [{ input: null }],
    [{ input: [] }],
    [{ input: { image_url: 'x' } }],
    [{ input: [{ type: 'image_url' }] }],
    [{ input: 'x', model: ['m'] }],
  ])('%j is refused', (body) => expect(read(body)).toHaveProperty('reason', 'InvalidRequest'));
  test('their bytes bound them: windows are of one text', () => expect(openai.limits('text-embedding-3-small').known).toBe(false));
});

describe('images and audio', () => {
  const read = (path: string, body: object): BodyFacts | Misread => factsAt(path, body);
  test('generations', () => {
    expect(read('/v1/images/generations', { model: 'gpt-image-1', prompt: 'https://x.example a cat', n: 3, stream: true })).toEqual({
      model: 'gpt-image-1',
      stream: true,
      n: 3,
      fixedOutput: true,
      unknownInput: false,
      fetches: [],
    });
    expect(read('/v1/images/generations', { prompt: 'a cat' })).not.toHaveProperty('model');
    expect(read('/v1/images/generations', { prompt: 'a', image: ['https://evil.example/a'] })).toMatchObject({ fetches: ['evil.example'] });
    for (const body of [{}, { prompt: 5 }, { prompt: 'a', n: 11 }, { prompt: 'a', stream: 1 }, { prompt: 'a', model: 5 }])
      expect(read('/v1/images/generations', body)).toHaveProperty('reason', 'InvalidRequest');
    expect(read('/v1/images/generations', { prompt: 'a', N: 10 })).toHaveProperty('reason', 'AmbiguousField');
  });
  test('speech', () => {
    expect(read('/v1/audio/speech', { model: 'gpt-4o-mini-tts', input: 'hi', voice: 'alloy' })).toMatchObject({ fixedOutput: true, stream: false });
    expect(read('/v1/audio/speech', { model: 'gpt-4o-mini-tts', input: 'hi', stream_format: 'sse' })).toMatchObject({ stream: true });
    expect(read('/v1/audio/speech', { model: 'm', input: ['hi'] })).toHaveProperty('reason', 'InvalidRequest');
  });
  const forms = (path: string, fields: Parameters<typeof form>[0]): BodyFacts | Misread =>
    (operationAt(path) as FormOperation).read({ ...CHAT_TARGET, path }, form(fields));
  test('edits and transcriptions', () => {
    expect(forms('/v1/images/edits', { model: 'gpt-image-1', prompt: 'hat', 'image[]': { file: 'x' }, n: '2', stream: 'true' })).toEqual({
      model: 'gpt-image-1',
      stream: true,
      n: 2,
      fixedOutput: true,
      unknownInput: true,
      fetches: [],
    });
    expect(forms('/v1/audio/transcriptions', { model: 'whisper-1', file: { file: 'x' } })).toMatchObject({ model: 'whisper-1', stream: false, n: 1 });
  });
  test.each<[string, string, Parameters<typeof form>[0], string]>([
    ['a model in another case', '/v1/audio/transcriptions', { model: 'a', Model: 'b', file: { file: '' } }, 'AmbiguousField'],
    ['no model', '/v1/audio/transcriptions', { file: { file: 'x' } }, 'InvalidRequest'],
    ['a model that is a file', '/v1/audio/transcriptions', { model: { file: 'm' }, file: { file: 'x' } }, 'InvalidRequest'],
    ['a file that is a text', '/v1/audio/transcriptions', { model: 'm', file: 'https://evil.example/a.mp3' }, 'InvalidRequest'],
    ['a file nobody knows', '/v1/images/edits', { prompt: 'p', other: { file: 'x' } }, 'InvalidRequest'],
    ['n that is no number', '/v1/images/edits', { prompt: 'p', n: '0x5' }, 'InvalidRequest'],
    ['too many', '/v1/images/edits', { prompt: 'p', n: '11' }, 'InvalidRequest'],
    ['a stream that is neither', '/v1/images/edits', { prompt: 'p', stream: 'TRUE' }, 'InvalidRequest'],
  ])('%s is refused', (_, path, fields, reason) => expect(forms(path, fields)).toHaveProperty('reason', reason));
  test('a text that is not UTF-8 is refused', () =>
    expect((operationAt('/v1/images/edits') as FormOperation).read(CHAT_TARGET, [{ name: 'prompt', data: Buffer.from([0xff]) }])).toHaveProperty(
      'reason',
      'InvalidRequest',
    ));
});

describe('chat, as Azure and others have it', () => {
  test('data sources are fetched by the provider', () => {
    const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
    const source = { type: 'azure_search', parameters: { endpoint: 'https://evil.search.windows.net' } };
    expect(factsAt(CHAT_TARGET.path, { ...body, data_sources: [source] })).toMatchObject({ unknownInput: true, fetches: ['evil.search.windows.net', '*'] });
    expect(factsAt(CHAT_TARGET.path, { ...body, data_sources: 'x' })).toMatchObject({ fetches: ['*'] });
    expect(factsAt(CHAT_TARGET.path, { ...body, data_sources: [] })).toMatchObject({ unknownInput: false, fetches: [] });
    expect(factsAt(CHAT_TARGET.path, { ...body, prediction: { type: 'content', content: 'x' } })).toMatchObject({ unknownInput: true, fetches: [] });
  });
});

describe('azure-openai', () => {
  const azure = providerNamed('azure-openai')!;
  const at = (path: string, method = 'POST') => azure.operation({ ...CHAT_TARGET, host: 'a.openai.azure.com', method, path });
  test.each<[string, string, string | undefined]>([
    ['POST', '/openai/deployments/my-gpt/chat/completions', 'chat'],
    ['POST', '/openai/deployments/my-gpt/embeddings', 'embeddings'],
    ['POST', '/openai/deployments/my-gpt/images/edits', 'image_edit'],
    ['POST', '/openai/deployments/my-gpt/audio/transcriptions', 'transcription'],
    ['POST', '/openai/v1/chat/completions', 'chat'],
    ['POST', '/openai/v1/responses', 'chat'],
    ['POST', '/openai/responses', 'chat'],
    ['GET', '/openai/v1/models', 'list_models'],
    ['GET', '/openai/models', 'list_models'],
    ['GET', '/openai/v1/models/my-gpt', 'get_model'],
    ['GET', '/openai/deployments/my-gpt/models', undefined],
    ['GET', '/openai/deployments', undefined],
    ['POST', '/openai/deployments/my-gpt/extensions/chat/completions', undefined],
    ['POST', '/openai/deployments/my%2Fgpt/chat/completions', undefined],
    ['POST', '/openai/deployments/a/../b/chat/completions', undefined],
    ['POST', '/OpenAI/deployments/my-gpt/chat/completions', undefined],
    ['POST', '/openai/files', undefined],
    ['POST', '/openai/chat/completions', undefined],
    ['POST', '/models/chat/completions', undefined],
    ['POST', '/v1/chat/completions', undefined],
  ])('%s %s is %s', (method, path, name) => expect(at(path, method)?.name).toBe(name));
  test('the deployment is the model, whatever the body says', () => {
    const body = { model: 'gpt-4o-mini', messages: [] };
    expect(factsAt('/openai/deployments/prod/chat/completions', body, 'azure-openai')).toMatchObject({ model: 'prod' });
    expect(factsAt('/openai/v1/chat/completions', body, 'azure-openai')).toMatchObject({ model: 'gpt-4o-mini' });
    expect(factsAt('/openai/v1/chat/completions', { messages: [] }, 'azure-openai')).toHaveProperty('reason', 'InvalidRequest');
  });
  test('older versions of the API get the fields they know', () => {
    const path = '/openai/deployments/d/chat/completions';
    const body = { stream: true };
    expect(edited(path, body, 9, 'azure-openai', 'api-version=2024-06-01')).toEqual({ stream: true, max_tokens: 9 });
    const now = { stream: true, max_completion_tokens: 9, stream_options: { include_usage: true } };
    for (const query of ['api-version=2024-10-21', 'api-version=2024-09-01-preview', 'api-version=preview', ''])
      expect(edited(path, body, 9, 'azure-openai', query)).toEqual(now);
  });
  test('the name of a deployment proves nothing about its model', () => expect(azure.limits('gpt-4')).toMatchObject({ known: false, hiddenReasoning: true }));
});

describe('custom', () => {
  const custom = providerNamed('custom')!;
  const at = (path: string, method = 'POST') => custom.operation({ ...CHAT_TARGET, host: 'llm.test', method, path })!;
  test.each<[string, string, string]>([
    ['POST', '/v1/chat/completions', 'chat'],
    ['POST', '/api/openai/v1/responses', 'chat'],
    ['POST', '/embeddings', 'embeddings'],
    ['GET', '/v1/models', 'list_models'],
    ['GET', '/v1/models/llama-3', 'get_model'],
    ['POST', '/v1/models', 'custom'],
    ['GET', '/v1/chat/completions', 'custom'],
    ['POST', '/v1/rerank', 'custom'],
    ['POST', '/v1/chat/completions/more', 'custom'],
    ['DELETE', '/', 'custom'],
  ])('%s %s is %s', (method, path, name) => expect(at(path, method).name).toBe(name));
  test('what is not understood has no model, no bound, and is forwarded as it is', () => {
    const operation = at('/v1/rerank');
    const bytes = Buffer.from('anything');
    expect(operation.body === 'opaque' && operation.read(CHAT_TARGET, bytes)).toMatchObject({ unbounded: true });
    expect(operation.body === 'opaque' && operation.edit(CHAT_TARGET, bytes, 5)).toBe(bytes);
  });
  test('a limit goes to the field that every server knows, and a model may be left out', () => {
    expect(edited('/v1/chat/completions', {}, 9, 'custom')).toEqual({ max_tokens: 9 });
    expect(factsAt('/v1/chat/completions', { messages: [] }, 'custom')).not.toHaveProperty('model');
    expect(factsAt('/v1/completions', { prompt: 'x' }, 'custom')).not.toHaveProperty('outputLimit');
    expect(edited('/v1/completions', {}, 9, 'custom')).toEqual({ max_tokens: 9 });
  });
});

test('totals count caches and reasoning once', () => {
  const usage = { input: 10, output: 5, total: 15, cachedInput: 4, reasoning: 2, responseModel: 'x' };
  for (const name of ['openai', 'azure-openai', 'custom'])
    expect(providerNamed(name)!.totals(usage)).toEqual({ input: 10, output: 5, cachedInput: 4, reasoning: 2 });
  expect(openai.totals({})).toEqual({});
});

test('a refusal has our own account, and what the SDKs read', () => {
  const refusal = { code: 'ModelNotAllowed', message: 'no', decision: 'd', policy: 'p', route: 'r', gateway: 'g', revision: 'v' };
  expect(openai.errorBody(refusal, 403)).toEqual({ error: { ...refusal, type: 'clrk_refused', param: null } });
});
