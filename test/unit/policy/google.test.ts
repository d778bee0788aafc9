import { describe, expect, test } from 'vitest';
import { requestTo } from './provider-facts.ts';

const { provider, operationOf, facts, edit } = requestTo('google', 'generativelanguage.googleapis.com');
const MODEL = '/v1beta/models/gemini-2.5-flash';
const PATH = `${MODEL}:generateContent`;
const contents = [{ role: 'user', parts: [{ text: 'hi' }] }];
const read = (body: object, path = PATH) => facts(path, { contents, ...body });
const withPart = (part: object) => read({ contents: [{ parts: [part] }] });

describe('operations', () => {
  const name = (path: string, method?: string) => operationOf(path, method)?.name;
  test('of the Gemini API', () => {
    for (const version of ['v1', 'v1beta', 'v1alpha']) expect(name(`/${version}/models/gemini-2.5-pro:generateContent`)).toBe('generate_content');
    expect(name(`${MODEL}:streamGenerateContent?alt=sse`)).toBe('generate_content');
    expect(name('/v1beta/tunedModels/mine-1:generateContent')).toBe('generate_content');
    for (const verb of ['embedContent', 'batchEmbedContents']) expect(name(`/v1beta/models/gemini-embedding-001:${verb}`)).toBe('embeddings');
    expect(operationOf(`${MODEL}:countTokens`)).toMatchObject({ name: 'count_tokens', free: true });
    for (const path of ['/v1beta/models', MODEL]) expect(operationOf(path, 'GET')).toMatchObject({ body: 'none', free: true });
  });
  test('of Vertex AI', () => {
    for (const at of [
      '/v1/projects/p-1/locations/us-central1/publishers/google/',
      '/v1beta1/projects/p-1/locations/global/publishers/google/',
      '/v1/publishers/google/',
    ])
      expect(name(`${at}models/gemini-2.5-pro:streamGenerateContent`), at).toBe('generate_content');
    expect(name('/v1/projects/p/locations/us-central1/endpoints/123:generateContent')).toBe('generate_content');
  });
  test.each([
    ['GET', PATH],
    ['POST', '/v1beta/models'],
    ['POST', `${MODEL}:batchGenerateContent`],
    ['POST', `${MODEL}:predict`],
    ['POST', `${MODEL}:toString`],
    ['POST', `${MODEL}:generatecontent`],
    ['POST', '/v1beta/models/gemini-2.5-flash%3AgenerateContent'],
    ['POST', '/v1beta/models/..%2f..:generateContent'],
    ['POST', '/v1beta/models/a/b:generateContent'],
    ['POST', '/v1beta/models/gemini-2.5-flash:generateContent/'],
    ['POST', '/v1beta/cachedContents'],
    ['POST', '/upload/v1beta/files'],
    ['POST', '/v1beta/openai/chat/completions'],
    ['POST', '/batch'],
    ['POST', '/v1/projects/p/locations/us-central1/publishers/anthropic/models/claude-opus-4:generateContent'],
    ['POST', '/v1/projects/p/locations/us-central1/publishers/anthropic/models/count-tokens:rawPredict'],
    ['POST', '/v1/projects/p/locations/us-central1/publishers/meta/models/llama-4:rawPredict'],
  ])('not %s %s', (method, path) => expect(operationOf(path, method)).toBeUndefined());
});

describe('facts', () => {
  test('the model is that of the path', () => {
    expect(read({})).toEqual({ model: 'gemini-2.5-flash', stream: false, n: 1, unknownInput: false, fetches: [] });
    expect(read({ model: 'models/gemini-2.5-flash' })).toMatchObject({ model: 'gemini-2.5-flash' });
    expect(read({ model: 'models/gemini-2.5-pro' })).toMatchObject({ reason: 'AmbiguousField' });
    expect(read({}, '/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro:streamGenerateContent')).toMatchObject({
      model: 'gemini-2.5-pro',
      stream: true,
    });
    expect(read({}, '/v1beta/tunedModels/mine-1:generateContent')).toMatchObject({ model: 'tunedModels/mine-1' });
  });
  test('limits and candidates, in both spellings', () => {
    expect(read({ generationConfig: { maxOutputTokens: 9, candidateCount: 2 } })).toMatchObject({ outputLimit: 9, n: 2 });
    expect(read({ generation_config: { max_output_tokens: 9, candidate_count: 2 } })).toMatchObject({ outputLimit: 9, n: 2 });
    expect(read({ generationConfig: null })).not.toHaveProperty('outputLimit');
  });
  test('parts of text are bounded, a single one may stand without its list', () => {
    expect(read({ contents: { parts: { text: 'https://evil.example' } } })).toMatchObject({ unknownInput: false, fetches: [] });
    expect(read({ systemInstruction: { parts: [{ text: 'x' }] } })).toMatchObject({ unknownInput: false });
    for (const part of [{ functionCall: { name: 'f', args: { u: 'https://x.example' } } }, { thought: true, text: 'x', thoughtSignature: 'AA==' }])
      expect(withPart(part)).toMatchObject({ unknownInput: false, fetches: [] });
    expect(withPart({ functionResponse: { name: 'f', response: { output: 'x' } } })).toMatchObject({ unknownInput: false });
  });
  test('what has no visible size', () => {
    for (const part of [{ inlineData: { mimeType: 'image/png', data: 'AA==' } }, { inline_data: { mime_type: 'image/png', data: 'AA==' } }, { later: {} }])
      expect(withPart(part), JSON.stringify(part)).toMatchObject({ unknownInput: true, fetches: [] });
    expect(withPart({ functionResponse: { name: 'f', parts: [{ inlineData: {} }] } })).toMatchObject({ unknownInput: true });
    expect(read({ cachedContent: 'cachedContents/1' })).toMatchObject({ unknownInput: true });
    expect(read({ cached_content: 'cachedContents/1' })).toMatchObject({ unknownInput: true });
  });
  test('files are fetched from where their URI says', () => {
    const file = (fileUri: string) => withPart({ fileData: { fileUri, mimeType: 'video/mp4' } });
    expect(file('https://evil.example/x')).toMatchObject({ unknownInput: true, fetches: ['evil.example'] });
    expect(file('gs://bucket/object')).toMatchObject({ fetches: ['storage.googleapis.com'] });
    expect(file('https://generativelanguage.googleapis.com/v1beta/files/1')).toMatchObject({ fetches: ['generativelanguage.googleapis.com'] });
    expect(withPart({ file_data: { file_uri: 'https://evil.example/x' } })).toMatchObject({ fetches: ['evil.example'] });
    expect(withPart({ fileData: {} })).toMatchObject({ fetches: ['*'] });
    expect(read({ system_instruction: { parts: [{ file_data: { file_uri: 'https://evil.example/x' } }] } })).toMatchObject({ fetches: ['evil.example'] });
    expect(withPart({ functionResponse: { parts: [{ fileData: { fileUri: 'https://evil.example' } }] } })).toMatchObject({ fetches: ['evil.example'] });
  });
  test('tools Google runs reach any host, those of the agent none', () => {
    expect(read({ tools: [{ functionDeclarations: [{ name: 'f' }] }, { function_declarations: [] }, { computerUse: {} }] })).toMatchObject({ fetches: [] });
    for (const tool of [
      'googleSearch',
      'google_search',
      'urlContext',
      'url_context',
      'codeExecution',
      'code_execution',
      'googleMaps',
      'fileSearch',
      'retrieval',
      'later',
    ])
      expect(read({ tools: [{ functionDeclarations: [], [tool]: {} }] }), tool).toMatchObject({ unknownInput: true, fetches: ['*'] });
    expect(read({ tools: { googleSearch: {} } })).toMatchObject({ fetches: ['*'] });
  });
  test.each<[string, object, string]>([
    ['a limit in both spellings', { generationConfig: { maxOutputTokens: 5, max_output_tokens: 9 } }, 'AmbiguousField'],
    ['a config in both spellings', { generationConfig: {}, generation_config: {} }, 'AmbiguousField'],
    ['tools in another case', { Tools: [{ googleSearch: {} }] }, 'AmbiguousField'],
    ['a limit in another case', { generationConfig: { maxoutputtokens: 5 } }, 'AmbiguousField'],
    ['a file in both spellings', { contents: [{ parts: [{ fileData: {}, file_data: {} }] }] }, 'AmbiguousField'],
    ['a limit that is text', { generationConfig: { maxOutputTokens: '5' } }, 'InvalidRequest'],
    ['a limit of 0', { generationConfig: { maxOutputTokens: 0 } }, 'InvalidRequest'],
    ['contents that are text', { contents: 'hi' }, 'InvalidRequest'],
    ['parts that are text', { contents: [{ parts: 'hi' }] }, 'InvalidRequest'],
    ['another model', { generationConfig: { routingConfig: { manualMode: { modelName: 'gemini-3-pro' } } } }, 'AmbiguousField'],
    ['tools that are text', { tools: 'googleSearch' }, 'InvalidRequest'],
  ])('%s is refused', (_, body, reason) => expect(read(body)).toMatchObject({ reason }));

  test('parameters that change the answer are refused, those that carry a credential are for its injection', () => {
    const query = (text: string, verb = 'streamGenerateContent') => read({}, `${MODEL}:${verb}?${text}`);
    for (const text of ['alt=sse', 'alt=json', '$alt=sse', 'alt=sse&key=k', 'key=k&prettyPrint=false', '']) expect(query(text), text).toHaveProperty('model');
    for (const text of ['alt=proto', 'alt=media', '%24alt=proto', 'fields=candidates', '$fields=candidates', 'callback=f', 'ALT=proto'])
      expect(query(text), text).toMatchObject({ reason: 'UnsupportedQuery' });
    expect(query('alt=json&alt=sse')).toMatchObject({ reason: 'AmbiguousField' });
    expect(query('alt=sse', 'generateContent')).toMatchObject({ reason: 'UnsupportedQuery' });
  });

  test('texts to embed have no output', () => {
    const at = (verb: string) => `/v1beta/models/gemini-embedding-001:${verb}`;
    const content = { parts: [{ text: 'x' }] };
    expect(facts(at('embedContent'), { content })).toMatchObject({ outputLimit: 0, unknownInput: false });
    expect(facts(at('batchEmbedContents'), { requests: [{ model: 'models/gemini-embedding-001', content }] })).toMatchObject({ outputLimit: 0 });
    expect(facts(at('batchEmbedContents'), { requests: [{ model: 'models/other', content }] })).toMatchObject({ reason: 'AmbiguousField' });
    // The window is that of each text, so it bounds no request.
    expect(provider.limits('gemini-embedding-001').known).toBe(false);
  });
  test('counting is judged for what it would fetch', () => {
    const parts = [{ fileData: { fileUri: 'https://evil.example' } }];
    expect(facts(`${MODEL}:countTokens`, { generateContentRequest: { model: 'models/gemini-2.5-flash', contents: [{ parts }] } })).toMatchObject({
      fetches: ['evil.example'],
    });
    expect(facts(`${MODEL}:countTokens`, { contents: [{ parts }] })).toMatchObject({ fetches: ['evil.example'] });
  });
});

describe('Claude on Vertex AI', () => {
  const at = (verb: string) => `/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:${verb}`;
  const body = { anthropic_version: 'vertex-2023-10-16', max_tokens: 100, messages: [{ role: 'user', content: 'hi' }] };
  test('is read as its own API is, the model being that of the path', () => {
    expect(operationOf(at('rawPredict'))).toMatchObject({ name: 'chat' });
    expect(facts(at('streamRawPredict'), { ...body, stream: true })).toEqual({
      model: 'claude-sonnet-4-5@20250929', stream: true, n: 1, outputLimit: 100, unknownInput: false, fetches: [],
    }); // prettier-ignore
    expect(facts(at('rawPredict'), { ...body, model: 'claude-opus-5-5' })).toMatchObject({ reason: 'AmbiguousField' });
    expect(facts(at('rawPredict'), { ...body, max_tokens: undefined })).toMatchObject({ reason: 'InvalidRequest' });
    expect(facts(at('rawPredict'), { ...body, tools: [{ type: 'web_search_20250305' }] })).toMatchObject({ fetches: ['*'] });
    expect(edit(at('rawPredict'), body, 50)).toEqual({ ...body, max_tokens: 50 });
    expect(provider.limits('claude-opus-4-1@20250805')).toMatchObject({ known: true, contextWindow: 200_000, maxOutput: 32_000 });
  });
  test('its usage leaves caches out of the input', () => {
    expect(provider.totals({ input: 10, output: 5, cachedInput: 100, cacheCreation: 20, finishReason: 'end_turn' })).toMatchObject({ input: 130, output: 5 });
    expect(provider.totals({ input: 10, cachedInput: 100 })).toMatchObject({ input: 110 });
    expect(provider.totals({ input: 10, cachedInput: 100 })).not.toHaveProperty('output');
  });
});

test('the limit goes into the field as it is spelled, or as the API documents it', () => {
  expect(edit(PATH, { contents }, 50)).toEqual({ contents, generationConfig: { maxOutputTokens: 50 } });
  expect(edit(PATH, { generationConfig: { topP: 1, maxOutputTokens: 90 } }, 50)).toEqual({ generationConfig: { topP: 1, maxOutputTokens: 50 } });
  expect(edit(PATH, { generation_config: { max_output_tokens: 9 } }, 50)).toEqual({ generation_config: { max_output_tokens: 9 } });
  expect(edit(PATH, { generation_config: { top_p: 1 } }, 50)).toEqual({ generation_config: { top_p: 1, maxOutputTokens: 50 } });
  expect(edit(PATH, { contents })).toEqual({ contents });
});

test('totals: thinking is output, what tools bring is input', () => {
  expect(provider.totals({ input: 10, output: 5, reasoning: 7, total: 22, cachedInput: 4 })).toEqual({ input: 10, output: 12, reasoning: 7, cachedInput: 4 });
  expect(provider.totals({ input: 10, output: 5, total: 40 })).toEqual({ input: 35, output: 5 });
  expect(provider.totals({ input: 10, total: 10 })).toEqual({ input: 10, output: 0 });
  expect(provider.totals({})).toEqual({});
});

test('limits of models', () => {
  const limits = (model: string) => [provider.limits(model).contextWindow, provider.limits(model).maxOutput, provider.limits(model).hiddenReasoning];
  for (const model of ['gemini-2.5-pro', 'gemini-3-pro-preview', 'gemini-3.5-flash', 'gemini-flash-latest'])
    expect(limits(model)).toEqual([1_048_576, 65_536, true]);
  expect(limits('gemini-2.0-flash-001')).toEqual([1_048_576, 8_192, false]);
  expect(limits('gemini-1.5-pro-002')).toEqual([2_097_152, 8_192, false]);
  expect(provider.limits('endpoints/123')).toMatchObject({ known: false, hiddenReasoning: true });
});

test('hosts and names', () => {
  expect(provider.genAiName).toBe('google_genai');
  expect(provider.errorBody({ code: 'X', message: 'm', decision: '', policy: '', route: '', gateway: '', revision: '' }, 429)).toMatchObject({
    error: { code: 'X', message: 'm', status: 'RESOURCE_EXHAUSTED' },
  });
});

test('a name of a field takes time in proportion to its length', () => {
  const before = performance.now();
  expect(read({ ['_'.repeat(1_000_000)]: 1, ['a_'.repeat(500_000)]: 1 })).toMatchObject({ model: 'gemini-2.5-flash' });
  expect(performance.now() - before).toBeLessThan(1_000);
});
