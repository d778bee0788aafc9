import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAccess } from '../../../src/telemetry/recorder/lines.ts';
import { recordOfAccess } from '../../../src/telemetry/recorder/record.ts';
import { compile, route } from '../policy/objects.ts';
import { createHarness, type Answer, type Harness } from './harness.ts';

/** Requests of every provider through the engine, as their records say them; and what a provider would fetch for them. */

interface Provider {
  readonly provider: string;
  readonly genAi: string;
  readonly host: string;
  readonly address: string;
  readonly endpoints?: string[];
}
const OPENAI: Provider = { provider: 'openai', genAi: 'openai', host: 'api.openai.com', address: '198.18.0.1' };
const AZURE: Provider = { provider: 'azure-openai', genAi: 'azure.ai.openai', host: 'a.openai.azure.com', address: '198.18.0.5' };
const ANTHROPIC: Provider = { provider: 'anthropic', genAi: 'anthropic', host: 'api.anthropic.com', address: '198.18.0.8' };
const GOOGLE: Provider = { provider: 'google', genAi: 'google_genai', host: 'generativelanguage.googleapis.com', address: '198.18.0.7' };
const BEDROCK: Provider = { provider: 'bedrock', genAi: 'aws.bedrock', host: 'bedrock-runtime.us-east-1.amazonaws.com', address: '198.18.0.6' };
const CUSTOM: Provider = { provider: 'custom', genAi: 'custom', host: 'a.llm.test', address: '198.18.0.4', endpoints: ['a.llm.test'] };
const ALL = [OPENAI, AZURE, ANTHROPIC, GOOGLE, BEDROCK, CUSTOM];

const policyOf = (rule: object = {}, models: (provider: Provider) => string[] | undefined = () => undefined) =>
  compile({
    aiRoutes: [
      route({
        rules: ALL.map((each) => ({
          matches: [{ provider: each.provider, ...(each.endpoints && { endpoints: each.endpoints }), ...(models(each) && { models: models(each)! }) }],
          ...rule,
        })),
      }),
    ],
    credentialPolicies: [],
  }).policySet;

let engine: Harness;
beforeAll(() => {
  engine = createHarness();
});
afterAll(() => engine[Symbol.asyncDispose]());

const ask = async ({ host, address }: Provider, path: string, body?: object): Promise<Answer> =>
  engine.send(
    body ?? '',
    { ':authority': host, ':path': path, ':method': body ? 'POST' : 'GET', 'x-clrk-destination': `${address}:443` },
    body ? {} : { endOfStream: true },
  );

/** The record of the line Envoy writes about it. */
const recordOf = (answer: Answer) => {
  const line = { time: '2026-11-26T02:02:12.969Z', id: 'd', chain: 'http', gateway: 'demo/egress', source: '', status: answer.status, engine: answer.engine };
  const { provider, operation, model, stream, maxTokens, routeMatched, providerFetches, verdict, reason } = recordOfAccess(
    parseAccess(JSON.stringify(line))!,
    undefined,
    '0',
  );
  return { provider, operation, model, stream, maxTokens, routeMatched, providerFetches, verdict, reason };
};

const messages = [{ role: 'user', content: 'hi' }];
const turns = [{ role: 'user', content: [{ text: 'hi' }] }];
const contents = [{ role: 'user', parts: [{ text: 'hi' }] }];
const CLAUDE = 'anthropic.claude-sonnet-4-5-20250929-v1:0';
const model = (id: string, verb: string) => `/model/${encodeURIComponent(id)}/${verb}`;
const gemini = (call: string) => `/v1beta/models/gemini-2.5-flash:${call}`;

type Call = readonly [of: Provider, path: string, body: object | undefined, operation: string, model: string, more?: { stream?: boolean; maxTokens?: number }];
const CALLS: readonly Call[] = [
  [OPENAI, '/v1/chat/completions', { model: 'gpt-4o', messages, stream: true, max_tokens: 9 }, 'chat', 'gpt-4o', { stream: true, maxTokens: 9 }],
  [OPENAI, '/v1/responses', { model: 'gpt-4o', input: 'hi', max_output_tokens: 20 }, 'chat', 'gpt-4o', { maxTokens: 20 }],
  [OPENAI, '/v1/completions', { model: 'gpt-3.5-turbo-instruct', prompt: 'a', max_tokens: 5 }, 'text_completion', 'gpt-3.5-turbo-instruct', { maxTokens: 5 }],
  [OPENAI, '/v1/embeddings', { model: 'text-embedding-3-small', input: 'a' }, 'embeddings', 'text-embedding-3-small'],
  [OPENAI, '/v1/images/generations', { model: 'gpt-image-1', prompt: 'a' }, 'image_generation', 'gpt-image-1'],
  [OPENAI, '/v1/audio/speech', { model: 'gpt-4o-mini-tts', input: 'a', voice: 'alloy' }, 'speech', 'gpt-4o-mini-tts'],
  [OPENAI, '/v1/models/gpt-4o', undefined, 'get_model', 'gpt-4o'],
  [AZURE, '/openai/deployments/prod/chat/completions?api-version=2025-01-01', { messages }, 'chat', 'prod'],
  [AZURE, '/openai/v1/embeddings', { model: 'prod-embed', input: 'a' }, 'embeddings', 'prod-embed'],
  [
    ANTHROPIC,
    '/v1/messages',
    { model: 'claude-sonnet-4-5', max_tokens: 7, messages, stream: true },
    'chat',
    'claude-sonnet-4-5',
    { stream: true, maxTokens: 7 },
  ],
  [ANTHROPIC, '/v1/messages/count_tokens', { model: 'claude-sonnet-4-5', messages }, 'count_tokens', 'claude-sonnet-4-5'],
  [GOOGLE, gemini('generateContent'), { contents, generationConfig: { maxOutputTokens: 8 } }, 'generate_content', 'gemini-2.5-flash', { maxTokens: 8 }],
  [GOOGLE, gemini('streamGenerateContent?alt=sse'), { contents }, 'generate_content', 'gemini-2.5-flash', { stream: true }],
  [GOOGLE, gemini('embedContent'), { content: contents[0] }, 'embeddings', 'gemini-2.5-flash'],
  [GOOGLE, gemini('countTokens'), { contents }, 'count_tokens', 'gemini-2.5-flash'],
  [BEDROCK, model(CLAUDE, 'converse'), { messages: turns, inferenceConfig: { maxTokens: 6 } }, 'chat', CLAUDE, { maxTokens: 6 }],
  [BEDROCK, model(CLAUDE, 'converse-stream'), { messages: turns }, 'chat', CLAUDE, { stream: true }],
  [BEDROCK, model('amazon.titan-embed-text-v2:0', 'invoke'), { inputText: 'hi' }, 'embeddings', 'amazon.titan-embed-text-v2:0'],
  [CUSTOM, '/v1/chat/completions', { model: 'llama', messages }, 'chat', 'llama'],
  [CUSTOM, '/rerank', { anything: true }, 'custom', ''],
];

describe('the record says provider, operation, model, streaming and limit', () => {
  test.each(CALLS.map((call) => [call[0].provider, call[1], call] as const))('%s %s', async (_, __, [of, path, body, operation, asked, more = {}]) => {
    const said = { provider: of.genAi, operation, stream: false, maxTokens: undefined, providerFetches: [], ...more };
    engine.policy = policyOf();
    const allowed = await ask(of, path, body);
    expect(allowed.status, allowed.text).toBe(200);
    expect(recordOf(allowed)).toEqual({ ...said, model: asked, routeMatched: true, verdict: 'Allowed', reason: 'Allowed' });

    engine.policy = policyOf({}, () => ['none-of-these']);
    const refused = await ask(of, path, body);
    expect(refused.status).toBe(403);
    // A call that nobody understands names no model that could be another.
    expect(recordOf(refused)).toEqual({ ...said, model: asked, routeMatched: false, verdict: 'Denied', reason: 'ModelNotAllowed' });
  });
});

const URL_ = 'https://evil.example/x?q=1';
const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: URL_ } }] }];
const claude = { model: 'claude-sonnet-4-5', max_tokens: 9 };
const source = { type: 'url', url: URL_ };
const inBedrock = { anthropic_version: 'bedrock-2023-05-31', max_tokens: 9 };
const MCP = { type: 'mcp', server_label: 'x', server_url: 'https://evil.example/mcp' };

/** The provider's own words for everything it can fetch or run. */
const FETCHES: readonly (readonly [what: string, of: Provider, path: string, body: object, host: string])[] = [
  ['an image', OPENAI, '/v1/chat/completions', { model: 'gpt-4o', messages: image }, 'evil.example'],
  ['a search', OPENAI, '/v1/chat/completions', { model: 'gpt-4o', messages, web_search_options: {} }, '*'],
  ['an image', OPENAI, '/v1/responses', { model: 'gpt-4o', input: [{ role: 'user', content: [{ type: 'input_image', image_url: URL_ }] }] }, 'evil.example'],
  ['a file', OPENAI, '/v1/responses', { model: 'gpt-4o', input: [{ role: 'user', content: [{ type: 'input_file', file_url: URL_ }] }] }, 'evil.example'],
  ['an MCP server', OPENAI, '/v1/responses', { model: 'gpt-4o', input: 'hi', tools: [MCP] }, 'evil.example'],
  ['a connector', OPENAI, '/v1/responses', { model: 'gpt-4o', input: 'hi', tools: [{ ...MCP, server_url: undefined, connector_id: 'c' }] }, '*'],
  ...['web_search', 'web_search_preview', 'file_search', 'code_interpreter', 'image_generation'].map(
    (type) => [type, OPENAI, '/v1/responses', { model: 'gpt-4o', input: 'hi', tools: [{ type }] }, '*'] as const,
  ),
  ['an image', AZURE, '/openai/deployments/prod/chat/completions', { messages: image }, 'evil.example'],
  [
    'a database',
    AZURE,
    '/openai/deployments/prod/chat/completions',
    { messages, data_sources: [{ type: 'azure_search', parameters: { endpoint: 'https://evil.example' } }] },
    'evil.example',
  ],
  ['an MCP server', AZURE, '/openai/v1/responses', { model: 'prod', input: 'hi', tools: [MCP] }, 'evil.example'],
  ['an image', ANTHROPIC, '/v1/messages', { ...claude, messages: [{ role: 'user', content: [{ type: 'image', source }] }] }, 'evil.example'],
  ['a document', ANTHROPIC, '/v1/messages', { ...claude, messages: [{ role: 'user', content: [{ type: 'document', source }] }] }, 'evil.example'],
  ['an MCP server', ANTHROPIC, '/v1/messages', { ...claude, messages, mcp_servers: [{ type: 'url', url: URL_, name: 'x' }] }, 'evil.example'],
  ...['web_search_20250305', 'web_fetch_20250910', 'code_execution_20250825'].map(
    (type) => [type, ANTHROPIC, '/v1/messages', { ...claude, messages, tools: [{ type, name: 'x' }] }, '*'] as const,
  ),
  ['a document', ANTHROPIC, '/v1/messages/count_tokens', { ...claude, messages: [{ role: 'user', content: [{ type: 'document', source }] }] }, 'evil.example'],
  ['a file', GOOGLE, gemini('generateContent'), { contents: [{ parts: [{ fileData: { fileUri: URL_ } }] }] }, 'evil.example'],
  ['a bucket', GOOGLE, gemini('generateContent'), { contents: [{ parts: [{ file_data: { file_uri: 'gs://b/o' } }] }] }, 'storage.googleapis.com'],
  ['a file', GOOGLE, gemini('embedContent'), { content: { parts: [{ fileData: { fileUri: URL_ } }] } }, 'evil.example'],
  ...['googleSearch', 'urlContext', 'codeExecution', 'google_maps', 'mcpServers'].map(
    (tool) => [tool, GOOGLE, gemini('streamGenerateContent'), { contents, tools: [{ [tool]: {} }] }, '*'] as const,
  ),
  [
    'an object',
    BEDROCK,
    model(CLAUDE, 'converse'),
    { messages: [{ role: 'user', content: [{ document: { source: { s3Location: { uri: 's3://theirs/x' } } } }] }] },
    'theirs.s3.amazonaws.com',
  ],
  ['a system tool', BEDROCK, model(CLAUDE, 'converse-stream'), { messages: turns, toolConfig: { tools: [{ systemTool: { name: 'nova_grounding' } }] } }, '*'],
  ['an image', BEDROCK, model(CLAUDE, 'invoke'), { ...inBedrock, messages: [{ role: 'user', content: [{ type: 'image', source }] }] }, 'evil.example'],
  ['an image', BEDROCK, model('mistral.pixtral-large-2502-v1:0', 'invoke'), { messages: image, max_tokens: 9 }, 'evil.example'],
  ['an image', BEDROCK, model('cohere.embed-v4:0', 'invoke'), { inputs: [{ content: [{ type: 'image_url', image_url: { url: URL_ } }] }] }, 'evil.example'],
  ['an image', CUSTOM, '/v1/chat/completions', { model: 'llama', messages: image }, 'evil.example'],
  ['an MCP server', CUSTOM, '/v1/responses', { model: 'llama', input: 'hi', tools: [MCP] }, 'evil.example'],
];

describe('what a provider would fetch is on record, and refused unless the rule allows it', () => {
  test.each(FETCHES.map((each) => [each[0], each[1].provider, each[2], each] as const))('%s: %s %s', async (_, __, ___, [, of, path, body, host]) => {
    const judged = async (rule: object) => {
      engine.policy = policyOf(rule);
      const answer = await ask(of, path, body);
      const { providerFetches, verdict, reason, routeMatched } = recordOf(answer);
      expect(providerFetches).toContain(host);
      expect(routeMatched).toBe(true);
      return [answer.status, verdict, reason];
    };
    const refused = [403, 'Denied', 'ProviderFetchNotAllowed'];
    expect(await judged({})).toEqual(refused);
    expect(await judged({ providerFetches: ['other.example'] })).toEqual(refused);
    expect(await judged({ providerFetches: ['*'] })).toEqual([200, 'Allowed', 'Allowed']);
    if (host !== '*' && of !== AZURE) expect(await judged({ providerFetches: [host] })).toEqual([200, 'Allowed', 'Allowed']);
  });

  test('a text that is a URL is no fetch', async () => {
    engine.policy = policyOf();
    const inputs = [{ content: [{ type: 'text', text: URL_ }] }];
    expect((await ask(BEDROCK, model('cohere.embed-v4:0', 'invoke'), { inputs })).status).toBe(200);
    expect((await ask(OPENAI, '/v1/chat/completions', { model: 'gpt-4o', messages: [{ role: 'user', content: URL_ }] })).status).toBe(200);
  });
});
