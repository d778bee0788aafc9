import type { ProviderServers } from './provider-servers.ts';

/** Calls of APIs that are not made like OpenAI's, as steps of a probe. */

const DOCUMENT = 'The keeper lights the lamp at dusk. Ships see it from far away. In fog it is seen from two miles only.';
/** Of 1,024 tokens or more, so that it is worth a cache. */
const LONG = `${DOCUMENT} `.repeat(64);
/** One pixel; its tokens cannot be told from its bytes. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

export interface Step {
  readonly fetch: { readonly url: string; readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string };
}

const JSON_TYPE = { 'content-type': 'application/json' };
export const raw = (url: string, body: string, headers: Readonly<Record<string, string>> = JSON_TYPE): Step => ({
  fetch: { url, method: 'POST', headers: { authorization: 'Bearer clrk-injected-by-proxy', ...headers }, body },
});
export const post = (url: string, body: object): Step => raw(url, JSON.stringify(body));
export const get = (url: string): Step => ({ fetch: { url } });

/** How one API is called: `say` asks a model for an answer. */
export interface Api {
  /** Beside `ProviderServers`. */
  readonly server: Exclude<keyof ProviderServers, symbol>;
  /** Path globs, with hosts where another route has the same provider. */
  readonly endpoints?: readonly string[];
  /** A model that rules allow, one whose reasoning is hidden or not as `hidden` says, and one that they do not. */
  readonly model: string;
  readonly hidden: boolean;
  readonly other: string;
  say(model: string, stream: boolean, more?: object): Step;
  /** A request whose input nothing bounds but the model's window. */
  readonly boundless: Step;
  /** Tokens that one answer of `say` can have at most. */
  readonly limit: number;
}

const ANTHROPIC = 'https://api.anthropic.com/v1';
const anthropicPost = (path: string, body: object): Step =>
  raw(`${ANTHROPIC}${path}`, JSON.stringify(body), { ...JSON_TYPE, 'anthropic-version': '2023-06-01', 'x-api-key': 'clrk-injected-by-proxy' });
const message = (model: string, more: object = {}) => ({ model, max_tokens: 50, messages: [{ role: 'user', content: DOCUMENT }], ...more });

export const anthropic: Api &
  Record<'cached' | 'count', Step> & { thinking(stream: boolean): Step; raw(body: string, headers?: Readonly<Record<string, string>>): Step } = {
  server: 'anthropic',
  model: 'claude-haiku-4-5',
  hidden: false,
  other: 'claude-opus-4-1',
  limit: 50,
  say: (model, stream, more) => anthropicPost('/messages', message(model, { ...(stream && { stream }), ...more })),
  cached: anthropicPost('/messages', message('claude-haiku-4-5', { system: [{ type: 'text', text: LONG, cache_control: { type: 'ephemeral' } }] })),
  thinking: (stream) =>
    anthropicPost('/messages', message('claude-haiku-4-5', { stream, max_tokens: 2_000, thinking: { type: 'enabled', budget_tokens: 1_024 } })),
  count: anthropicPost('/messages/count_tokens', { model: 'claude-haiku-4-5', messages: [{ role: 'user', content: DOCUMENT }] }),
  boundless: anthropicPost(
    '/messages',
    message('claude-haiku-4-5', {
      messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } }] }],
    }),
  ),
  raw: (body, headers) => raw(`${ANTHROPIC}/messages`, body, headers),
};

const GEMINI = 'https://generativelanguage.googleapis.com/v1beta/models';
export const VERTEX = 'https://us-central1-aiplatform.googleapis.com/v1/projects/p-1/locations/us-central1/publishers';
const contents = (more: object = {}) => ({
  contents: [{ role: 'user', parts: [{ text: DOCUMENT }] }],
  generationConfig: { maxOutputTokens: 200, ...more },
});
const generateAt =
  (base: string): Api['say'] =>
  (model, stream, more = {}) =>
    post(`${base}/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`, { ...contents(), ...more });
const image = { contents: [{ role: 'user', parts: [{ inlineData: { mimeType: 'image/png', data: PIXEL } }] }] };

export const gemini: Api & { at(path: string, body: object): Step } & Record<'array' | 'embed' | 'count', Step> = {
  server: 'google',
  endpoints: ['generativelanguage.googleapis.com/v1beta/models', 'generativelanguage.googleapis.com/v1beta/models/*'],
  model: 'gemini-2.5-flash',
  hidden: true,
  other: 'gemini-2.5-pro',
  limit: 200,
  say: generateAt(GEMINI),
  // Without `alt`: one JSON array in pieces.
  array: post(`${GEMINI}/gemini-2.5-flash:streamGenerateContent`, contents({ thinkingConfig: { thinkingBudget: 0 } })),
  embed: post(`${GEMINI}/gemini-embedding-001:embedContent`, { content: { parts: [{ text: DOCUMENT }] } }),
  count: post(`${GEMINI}/gemini-2.5-flash:countTokens`, { contents: contents().contents }),
  boundless: post(`${GEMINI}/gemini-2.5-flash:generateContent`, image),
  at: (path, body) => post(`${GEMINI}/${path}`, body),
};

export const vertex: Api & { claude(model: string, stream: boolean, more?: object): Step } = {
  server: 'vertex',
  endpoints: ['us-central1-aiplatform.googleapis.com/v1/projects/p-1/locations/*/publishers/*/models/*'],
  model: 'gemini-2.0-flash',
  hidden: false,
  other: 'gemini-2.5-pro',
  limit: 200,
  say: generateAt(`${VERTEX}/google/models`),
  claude: (model, stream, more = {}) => {
    const { model: _inPath, ...body } = message(model, { ...(stream && { stream }), ...more });
    return post(`${VERTEX}/anthropic/models/${model}:${stream ? 'streamRawPredict' : 'rawPredict'}`, { anthropic_version: 'vertex-2023-10-16', ...body });
  },
  boundless: post(`${VERTEX}/google/models/gemini-2.0-flash:generateContent`, image),
};

const BEDROCK = 'https://bedrock-runtime.eu-central-1.amazonaws.com/model';
const at = (model: string, verb: string): string => `${BEDROCK}/${encodeURIComponent(model)}/${verb}`;
const turns = (more: object = {}) => ({ messages: [{ role: 'user', content: [{ text: DOCUMENT }] }], inferenceConfig: { maxTokens: 50 }, ...more });

export const bedrock: Api & {
  invoke(model: string, stream: boolean, more?: object): Step;
  llama(stream: boolean): Step;
  at(model: string, verb: string, body: object): Step;
} & Record<'embed' | 'count', Step> = {
  server: 'bedrock',
  model: 'eu.anthropic.claude-haiku-4-5-20251001-v1:0',
  hidden: false,
  other: 'anthropic.claude-opus-4-1-20250805-v1:0',
  limit: 50,
  say: (model, stream, more) => post(at(model, stream ? 'converse-stream' : 'converse'), turns(more)),
  invoke: (model, stream, more = {}) => {
    const { model: _inPath, ...body } = message(model, more);
    return post(at(model, stream ? 'invoke-with-response-stream' : 'invoke'), { anthropic_version: 'bedrock-2023-05-31', ...body });
  },
  llama: (stream) => post(at('meta.llama3-1-8b-instruct-v1:0', stream ? 'invoke-with-response-stream' : 'invoke'), { prompt: DOCUMENT, max_gen_len: 50 }),
  embed: post(at('amazon.titan-embed-text-v2:0', 'invoke'), { inputText: DOCUMENT }),
  count: post(at('eu.anthropic.claude-haiku-4-5-20251001-v1:0', 'count-tokens'), { input: { converse: turns() } }),
  boundless: post(at('eu.anthropic.claude-haiku-4-5-20251001-v1:0', 'converse'), {
    ...turns(),
    messages: [{ role: 'user', content: [{ image: { format: 'png', source: { bytes: PIXEL } } }] }],
  }),
  at: (model, verb, body) => post(at(model, verb), body),
};
