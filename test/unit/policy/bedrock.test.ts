import { describe, expect, test } from 'vitest';
import { requestTo } from './provider-facts.ts';

const { provider, operationOf, facts, edit } = requestTo('bedrock', 'bedrock-runtime.us-east-1.amazonaws.com');
const CLAUDE = 'anthropic.claude-3-5-sonnet-20241022-v2:0';
const at = (model: string, verb: string) => `/model/${encodeURIComponent(model)}/${verb}`;
const CONVERSE = at(CLAUDE, 'converse');
const messages = [{ role: 'user', content: [{ text: 'hi' }] }];
const converse = (body: object) => facts(CONVERSE, { messages, ...body });
const block = (content: object) => converse({ messages: [{ role: 'user', content: [content] }] });
const invoke = (model: string, body: object, verb = 'invoke') => facts(at(model, verb), body);
const claude = { anthropic_version: 'bedrock-2023-05-31', max_tokens: 100, messages: [{ role: 'user', content: 'hi' }] };

describe('operations', () => {
  test('known ones', () => {
    for (const verb of ['converse', 'converse-stream', 'invoke', 'invoke-with-response-stream'])
      expect(operationOf(at(CLAUDE, verb))).toMatchObject({ name: 'chat' });
    expect(operationOf(at(CLAUDE, 'count-tokens'))).toMatchObject({ free: true });
    expect(operationOf(at('amazon.titan-embed-text-v2:0', 'invoke'))).toMatchObject({ name: 'embeddings' });
    expect(operationOf(`/model/${CLAUDE}/converse`)).toMatchObject({ name: 'chat' });
  });
  test.each([
    ['GET', CONVERSE],
    ['POST', at(CLAUDE, 'invoke-with-bidirectional-stream')],
    ['POST', at(CLAUDE, 'toString')],
    ['POST', '/async-invoke'],
    ['POST', '/guardrail/g/version/1/apply'],
    ['POST', '/openai/v1/chat/completions'],
    ['POST', '/model/a%252Fb/converse'],
    ['POST', '/model/%ff/converse'],
    ['POST', '/model/a/b/converse'],
    ['POST', '/model//converse'],
  ])('not %s %s', (method, path) => expect(operationOf(path, method)).toBeUndefined());
});

describe('the model', () => {
  test('is that of the path, decoded', () => {
    expect(converse({})).toMatchObject({ model: CLAUDE, stream: false });
    const arn = 'arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0';
    expect(facts(at(arn, 'converse-stream'), { messages })).toMatchObject({ model: arn, stream: true });
  });
  test('a managed prompt has no bound', () =>
    expect(facts(at('arn:aws:bedrock:us-east-1:123456789012:prompt/ABC:1', 'converse'), { messages })).toMatchObject({ reason: 'UnknownBound' }));
  test('limits are those of the maker’s model', () => {
    for (const model of [
      'anthropic.claude-opus-4-1-20250805-v1:0',
      'us.anthropic.claude-opus-4-1-20250805-v1:0',
      'arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-1-20250805-v1:0',
      'arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-1-20250805-v1:0',
    ])
      expect(provider.limits(model), model).toMatchObject({ known: true, contextWindow: 200_000, maxOutput: 32_000 });
    expect(provider.limits('amazon.nova-2-lite-v1:0')).toMatchObject({ contextWindow: 1_000_000, hiddenReasoning: true });
    expect(provider.limits('amazon.nova-lite-v1:0')).toMatchObject({ contextWindow: 300_000 });
    expect(provider.limits('us.meta.llama3-3-70b-instruct-v1:0')).toMatchObject({ contextWindow: 128_000, maxOutput: 8_192 });
    expect(provider.limits('arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc')).toMatchObject({ known: false, hiddenReasoning: true });
  });
});

describe('converse', () => {
  test('limits, thinking, texts', () => {
    expect(converse({ inferenceConfig: { maxTokens: 9 } })).toEqual({ model: CLAUDE, stream: false, n: 1, outputLimit: 9, unknownInput: false, fetches: [] });
    expect(converse({ additionalModelRequestFields: { thinking: { type: 'enabled', budget_tokens: 1024 } } })).toMatchObject({ hiddenReasoning: true });
    for (const content of [
      { text: 'https://evil.example' },
      { cachePoint: { type: 'default' } },
      { toolUse: { toolUseId: 't', name: 'f', input: {} } },
      { toolResult: { toolUseId: 't', content: [{ json: { a: 1 } }, { text: 'x' }] } },
      { guardContent: { text: { text: 'x' } } },
      { reasoningContent: { reasoningText: { text: 'x' } } },
      { document: { format: 'txt', name: 'd', source: { text: 'x' } } },
    ])
      expect(block(content), JSON.stringify(content)).toMatchObject({ unknownInput: false, fetches: [] });
  });
  test('what has no visible size, and what is fetched for it', () => {
    for (const content of [
      { image: { format: 'png', source: { bytes: 'AA==' } } },
      { document: { format: 'pdf', name: 'd', source: { bytes: 'AA==' } } },
      { toolResult: { toolUseId: 't', content: [{ image: { format: 'png', source: { bytes: 'AA==' } } }] } },
      { guardContent: { image: { format: 'png', source: { bytes: 'AA==' } } } },
      { later: {} },
    ])
      expect(block(content), JSON.stringify(content)).toMatchObject({ unknownInput: true, fetches: [] });
    const s3 = { s3Location: { uri: 's3://their-bucket/x' } };
    expect(block({ video: { format: 'mp4', source: s3 } })).toMatchObject({ unknownInput: true, fetches: ['their-bucket.s3.amazonaws.com'] });
    expect(block({ toolResult: { toolUseId: 't', content: [{ document: { source: s3 } }] } })).toMatchObject({ fetches: ['their-bucket.s3.amazonaws.com'] });
    expect(converse({ system: [{ image: { source: s3 } }] })).toMatchObject({ fetches: ['their-bucket.s3.amazonaws.com'] });
    // A bucket is no host, though it may have the name of one.
    expect(block({ image: { source: { s3Location: { uri: 'S3://api.openai.com/x' } } } })).toMatchObject({ fetches: ['api.openai.com.s3.amazonaws.com'] });
  });
  test('tools', () => {
    expect(converse({ toolConfig: { tools: [{ toolSpec: { name: 'f' } }, { cachePoint: { type: 'default' } }] } })).toMatchObject({ fetches: [] });
    expect(converse({ toolConfig: { tools: [{ systemTool: { name: 'nova_grounding' } }] } })).toMatchObject({ unknownInput: true, fetches: ['*'] });
    expect(converse({ additionalModelRequestFields: { tools: [{ type: 'bash_20250124', name: 'bash' }] } })).toMatchObject({ fetches: [] });
    expect(converse({ additionalModelRequestFields: { tools: [{ type: 'web_search_20250305' }] } })).toMatchObject({ fetches: ['*'] });
    expect(converse({ additionalModelRequestFields: { mcp_servers: [{ url: 'https://mcp.example' }] } })).toMatchObject({ fetches: ['mcp.example'] });
  });
  test.each<[string, object, string]>([
    ['a second limit for the model', { additionalModelRequestFields: { max_tokens: 9_999 } }, 'AmbiguousField'],
    ['one deeper', { additionalModelRequestFields: { inferenceConfig: { maxTokens: 9_999 } } }, 'AmbiguousField'],
    ['messages for the model', { additionalModelRequestFields: { messages: [] } }, 'AmbiguousField'],
    ['a limit in another case', { inferenceConfig: { maxtokens: 5 } }, 'AmbiguousField'],
    ['a limit of another maker', { inferenceConfig: { max_new_tokens: 5 } }, 'AmbiguousField'],
    ['a limit that is text', { inferenceConfig: { maxTokens: '5' } }, 'InvalidRequest'],
    ['messages that are text', { messages: 'hi' }, 'InvalidRequest'],
    ['content that is text', { messages: [{ role: 'user', content: 'hi' }] }, 'InvalidRequest'],
    ['variables of a managed prompt', { promptVariables: { a: { text: 'x' } } }, 'UnknownBound'],
  ])('%s is refused', (_, body, reason) => expect(converse(body)).toMatchObject({ reason }));
  test('the forwarded limit', () => {
    expect(edit(CONVERSE, { messages }, 50)).toEqual({ messages, inferenceConfig: { maxTokens: 50 } });
    expect(edit(CONVERSE, { messages, inferenceConfig: { maxTokens: 9, topP: 1 } }, 50)).toEqual({ messages, inferenceConfig: { maxTokens: 9, topP: 1 } });
  });
});

describe('invoke: the body of each maker', () => {
  test.each<[string, object, object, object]>([
    [CLAUDE, claude, { outputLimit: 100 }, { ...claude, max_tokens: 50 }],
    ['us.meta.llama3-1-8b-instruct-v1:0', { prompt: 'hi' }, {}, { prompt: 'hi', max_gen_len: 50 }],
    ['meta.llama3-1-8b-instruct-v1:0', { prompt: 'hi', max_gen_len: 70 }, { outputLimit: 70 }, { prompt: 'hi', max_gen_len: 50 }],
    [
      'amazon.titan-text-express-v1',
      { inputText: 'hi', textGenerationConfig: { maxTokenCount: 70, topP: 1 } },
      { outputLimit: 70 },
      { inputText: 'hi', textGenerationConfig: { maxTokenCount: 50, topP: 1 } },
    ],
    ['amazon.titan-text-express-v1', { inputText: 'hi' }, {}, { inputText: 'hi', textGenerationConfig: { maxTokenCount: 50 } }],
    ['amazon.nova-pro-v1:0', { messages }, {}, { messages, inferenceConfig: { maxTokens: 50 } }],
    ['amazon.nova-pro-v1:0', { messages, inferenceConfig: { max_new_tokens: 70 } }, { outputLimit: 70 }, { messages, inferenceConfig: { max_new_tokens: 50 } }],
    ['mistral.mistral-7b-instruct-v0:2', { prompt: 'hi', max_tokens: 9 }, { outputLimit: 9 }, { prompt: 'hi', max_tokens: 9 }],
    ['cohere.command-r-plus-v1:0', { message: 'hi' }, {}, { message: 'hi', max_tokens: 50 }],
    [
      'cohere.command-text-v14',
      { prompt: 'hi', num_generations: 3, max_tokens: 9 },
      { n: 3, outputLimit: 9 },
      { prompt: 'hi', num_generations: 3, max_tokens: 9 },
    ],
    [
      'openai.gpt-oss-120b-1:0',
      { messages: claude.messages, n: 2 },
      { n: 2, hiddenReasoning: true },
      { messages: claude.messages, n: 2, max_completion_tokens: 50 },
    ],
    ['amazon.titan-embed-text-v2:0', { inputText: 'hi' }, { outputLimit: 0 }, { inputText: 'hi' }],
    ['cohere.embed-english-v3', { texts: ['hi'], input_type: 'search_query' }, { outputLimit: 0 }, { texts: ['hi'], input_type: 'search_query' }],
    ['arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc', claude, { outputLimit: 100 }, { ...claude, max_tokens: 50 }],
  ])('%s', (model, body, expected, forwarded) => {
    expect(invoke(model, body)).toMatchObject({ model, unknownInput: false, fetches: [], n: 1, ...expected });
    expect(edit(at(model, 'invoke'), body, 50)).toEqual(forwarded);
    expect(edit(at(model, 'invoke'), body)).toEqual(body);
  });
  test('without a limit there is none among the facts', () =>
    expect(invoke('meta.llama3-1-8b-instruct-v1:0', { prompt: 'hi' })).not.toHaveProperty('outputLimit'));
  test('a stream', () => expect(invoke(CLAUDE, claude, 'invoke-with-response-stream')).toMatchObject({ stream: true }));
  test('images have no visible size', () => {
    expect(invoke('amazon.titan-embed-image-v1', { inputText: 'x', inputImage: 'AA==' })).toMatchObject({ unknownInput: true });
    expect(invoke('meta.llama3-2-11b-instruct-v1:0', { prompt: 'x', images: ['AA=='] })).toMatchObject({ unknownInput: true });
    const content = [{ type: 'image_url', image_url: { url: 'https://evil.example/x' } }];
    expect(invoke('mistral.pixtral-large-2502-v1:0', { messages: [{ role: 'user', content }] })).toMatchObject({
      unknownInput: true,
      fetches: ['evil.example'],
    });
  });
  test.each<[string, string, object, string]>([
    ['a maker nobody knows', 'new.model-v1:0', { prompt: 'hi', max_tokens: 5 }, 'UnknownBound'],
    ['an account’s own model of unknown kind', 'arn:aws:bedrock:us-east-1:1:imported-model/abc', { prompt: 'hi' }, 'UnknownBound'],
    ['pictures', 'stability.sd3-5-large-v1:0', { prompt: 'hi' }, 'UnknownBound'],
    ['pictures of a maker of texts', 'amazon.nova-canvas-v1:0', { taskType: 'TEXT_IMAGE' }, 'InvalidRequest'],
    ['text completions of Claude', CLAUDE, { ...claude, messages: undefined, prompt: 'Human:' }, 'UnknownBound'],
    ['no limit for Claude', CLAUDE, { ...claude, max_tokens: undefined }, 'InvalidRequest'],
    ['the limit of another maker', 'meta.llama3-1-8b-instruct-v1:0', { prompt: 'hi', max_tokens: 5 }, 'AmbiguousField'],
    ['a second one beside it', CLAUDE, { ...claude, max_gen_len: 9_999 }, 'AmbiguousField'],
    ['one beside it, deeper', 'amazon.nova-pro-v1:0', { messages, inferenceConfig: { maxTokens: 5, max_tokens: 9_999 } }, 'AmbiguousField'],
    ['a limit that is text', 'meta.llama3-1-8b-instruct-v1:0', { prompt: 'hi', max_gen_len: '5' }, 'InvalidRequest'],
    ['a config that is text', 'amazon.titan-text-express-v1', { inputText: 'x', textGenerationConfig: 'x' }, 'InvalidRequest'],
  ])('%s is refused', (_, model, body, reason) => expect(invoke(model, body)).toMatchObject({ reason }));
});

test('counting is judged for what it would fetch, in either form', () => {
  const count = (input: object) => facts(at(CLAUDE, 'count-tokens'), { input });
  const base64 = (body: object) => Buffer.from(JSON.stringify(body)).toString('base64');
  expect(count({ converse: { messages } })).toMatchObject({ fetches: [] });
  const image = [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'https://evil.example' } }] }];
  expect(count({ invokeModel: { body: base64({ ...claude, messages: image }) } })).toMatchObject({ fetches: ['evil.example'] });
  expect(count({ invokeModel: { body: 'x' } })).toMatchObject({ reason: 'InvalidRequest' });
  expect(count({})).toMatchObject({ reason: 'InvalidRequest' });
});

test('totals and errors', () => {
  expect(provider.totals({ input: 10, output: 5, cachedInput: 100, cacheCreation: 20, total: 135 })).toEqual({
    input: 130,
    output: 5,
    cachedInput: 100,
    cacheCreation: 20,
  });
  const refusal = { code: 'X', message: 'm', decision: '', policy: '', route: '', gateway: '', revision: '' };
  expect(provider.errorBody(refusal, 403)).toEqual({ __type: 'AccessDeniedException', message: 'm', error: refusal });
});
