import { anthropic, bedrock, gemini, get, post, raw, vertex, VERTEX, type Step } from './native-calls.ts';

/** What gateways do with calls of each API that is not made like OpenAI's. */

export const APIS = { anthropic, gemini, vertex, bedrock };
export type Name = keyof typeof APIS;
export const NAMES = Object.keys(APIS) as Name[];
export const byName = <T>(of: (name: Name, at: number) => T): Record<Name, T> =>
  Object.fromEntries(NAMES.map((name, at) => [name, of(name, at)])) as Record<Name, T>;

export type Served = readonly [step: Step, operation: string, model: string, counted: 'both' | 'input' | 'none'];
export const SERVED: Readonly<Record<Name, readonly Served[]>> = {
  anthropic: [
    [anthropic.say('claude-haiku-4-5', false), 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.say('claude-haiku-4-5', true), 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.cached, 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.cached, 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.thinking(false), 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.thinking(true), 'chat', 'claude-haiku-4-5', 'both'],
    [anthropic.count, 'count_tokens', 'claude-haiku-4-5', 'none'],
    [{ fetch: { url: 'https://api.anthropic.com/v1/models', headers: { 'anthropic-version': '2023-06-01' } } }, 'list_models', '', 'none'],
  ],
  gemini: [
    [gemini.say('gemini-2.5-flash', false), 'generate_content', 'gemini-2.5-flash', 'both'],
    [gemini.say('gemini-2.5-flash', true), 'generate_content', 'gemini-2.5-flash', 'both'],
    [gemini.array, 'generate_content', 'gemini-2.5-flash', 'both'],
    [gemini.count, 'count_tokens', 'gemini-2.5-flash', 'none'],
    [get('https://generativelanguage.googleapis.com/v1beta/models'), 'list_models', '', 'none'],
  ],
  vertex: [
    [vertex.say('gemini-2.0-flash', false), 'generate_content', 'gemini-2.0-flash', 'both'],
    [vertex.say('gemini-2.0-flash', true), 'generate_content', 'gemini-2.0-flash', 'both'],
    [vertex.claude('claude-haiku-4-5@20251001', false), 'chat', 'claude-haiku-4-5@20251001', 'both'],
    [vertex.claude('claude-haiku-4-5@20251001', true), 'chat', 'claude-haiku-4-5@20251001', 'both'],
  ],
  bedrock: [
    [bedrock.say(bedrock.model, false), 'chat', bedrock.model, 'both'],
    [bedrock.say(bedrock.model, true), 'chat', bedrock.model, 'both'],
    [bedrock.invoke(bedrock.model, false), 'chat', bedrock.model, 'both'],
    [bedrock.invoke(bedrock.model, true), 'chat', bedrock.model, 'both'],
    [bedrock.llama(false), 'chat', 'meta.llama3-1-8b-instruct-v1:0', 'both'],
    [bedrock.llama(true), 'chat', 'meta.llama3-1-8b-instruct-v1:0', 'both'],
    [bedrock.embed, 'embeddings', 'amazon.titan-embed-text-v2:0', 'input'],
    [bedrock.count, 'count_tokens', bedrock.model, 'none'],
  ],
};

export type Refused = readonly [code: string, step: Step];
const TWICE = '{"model":"claude-opus-4-1","model":"claude-haiku-4-5","max_tokens":9,"messages":[]}';
const turn = { contents: [{ role: 'user', parts: [{ text: 'hi' }] }] };
const TURNS = { messages: [{ role: 'user', content: [{ text: 'hi' }] }] };
export const REFUSED: Readonly<Record<Name, readonly Refused[]>> = {
  anthropic: [
    ['403 ModelNotAllowed', anthropic.say('claude-opus-4-1', false)],
    ['403 EndpointNotBuilt', post('https://api.anthropic.com/v1/messages/batches', { requests: [] })],
    ['403 EndpointNotBuilt', post('https://api.anthropic.com/v1/complete', { model: 'claude-haiku-4-5', prompt: 'hi' })],
    ['403 EndpointNotBuilt', get('https://api.anthropic.com/v1/files')],
    ['400 InvalidJson', anthropic.raw('{"model":"claude-haiku-4-5",')],
    ['400 DuplicateKey', anthropic.raw(TWICE)],
    ['400 AmbiguousField', anthropic.say('claude-haiku-4-5', false, { Model: 'claude-opus-4-1' })],
    ['400 AmbiguousField', anthropic.say('claude-haiku-4-5', false, { fallback_model: 'claude-opus-4-1' })],
    ['400 InvalidRequest', anthropic.say('claude-haiku-4-5', false, { max_tokens: undefined })],
    ['415 UnsupportedMediaType', anthropic.raw('{}', { 'content-type': 'text/plain' })],
    ['415 EncodedBody', anthropic.raw('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' })],
    ['403 ProviderFetchNotAllowed', anthropic.say('claude-haiku-4-5', false, { mcp_servers: [{ type: 'url', url: 'https://evil.example/mcp', name: 'x' }] })],
    ['403 ProviderFetchNotAllowed', anthropic.say('claude-haiku-4-5', false, { tools: [{ type: 'web_search_20250305', name: 'web_search' }] })],
  ],
  gemini: [
    ['403 ModelNotAllowed', gemini.say('gemini-2.5-pro', true)],
    ['403 EndpointNotBuilt', gemini.at('gemini-2.5-flash:batchGenerateContent', { batch: {} })],
    ['403 EndpointNotBuilt', gemini.at('veo-3.0:predictLongRunning', { instances: [] })],
    ['403 EndpointNotAllowed', get('https://generativelanguage.googleapis.com/v1beta/files')],
    ['400 InvalidJson', raw('https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent', 'contents')],
    ['400 AmbiguousField', gemini.say('gemini-2.5-flash', false, { model: 'models/gemini-2.5-pro' })],
    ['400 AmbiguousField', gemini.say('gemini-2.5-flash', false, { generation_config: { max_output_tokens: 9_000 } })],
    ['400 UnsupportedQuery', gemini.at('gemini-2.5-flash:generateContent?fields=candidates', turn)],
    ['400 UnsupportedQuery', gemini.at('gemini-2.5-flash:streamGenerateContent?alt=proto', turn)],
    ['403 ProviderFetchNotAllowed', gemini.say('gemini-2.5-flash', false, { tools: [{ google_search: {} }] })],
  ],
  vertex: [
    ['403 ModelNotAllowed', vertex.say('gemini-2.5-pro', false)],
    ['403 EndpointNotBuilt', post(`${VERTEX}/google/models/imagegeneration:predict`, { instances: [] })],
    ['403 EndpointNotAllowed', post('https://us-central1-aiplatform.googleapis.com/v1/projects/p-1/locations/us-central1/batchPredictionJobs', {})],
    // Somebody else's project.
    ['403 EndpointNotAllowed', post(`${VERTEX.replace('p-1', 'p-2')}/google/models/gemini-2.0-flash:generateContent`, turn)],
    ['400 AmbiguousField', vertex.claude('claude-haiku-4-5@20251001', false, { fallback_model: 'claude-opus-4-1' })],
    ['403 ModelNotAllowed', vertex.claude('claude-opus-4-1@20250805', true)],
  ],
  bedrock: [
    ['403 ModelNotAllowed', bedrock.say(bedrock.other, false)],
    ['403 EndpointNotBuilt', bedrock.at(bedrock.model, 'invoke-with-bidirectional-stream', {})],
    ['403 EndpointNotBuilt', post('https://bedrock-runtime.eu-central-1.amazonaws.com/async-invoke', { modelId: bedrock.model })],
    ['403 EndpointNotBuilt', post('https://bedrock-runtime.eu-central-1.amazonaws.com/guardrail/g/version/1/apply', {})],
    ['400 InvalidRequest', bedrock.at(bedrock.model, 'converse', { messages: 'hi' })],
    ['400 AmbiguousField', bedrock.at(bedrock.model, 'converse', { ...TURNS, additionalModelRequestFields: { max_tokens: 9_000 } })],
    ['400 AmbiguousField', bedrock.at('meta.llama3-1-8b-instruct-v1:0', 'invoke', { prompt: 'hi', max_gen_len: 5, max_tokens: 9_000 })],
    ['403 ModelNotAllowed', bedrock.at('arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc', 'converse', TURNS)],
    ['403 ProviderFetchNotAllowed', bedrock.at(bedrock.model, 'converse', { ...TURNS, toolConfig: { tools: [{ systemTool: { name: 'web' } }] } })],
  ],
};
