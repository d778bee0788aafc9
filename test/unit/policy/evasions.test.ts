import { describe, expect, test } from 'vitest';
import { providerNamed } from '#policy';
import { CHAT_TARGET, factsAt, openaiFacts } from './openai-facts.ts';
import { requestTo } from './provider-facts.ts';

/** What an agent might try so that a request is more than it was judged to be. */

const messages = [{ role: 'user', content: 'hi' }];
const chat = (body: object, provider = 'openai') => factsAt('/v1/chat/completions', { model: 'm', messages, ...body }, provider);
const REFUSED = { reason: 'AmbiguousField' };

describe('names of fields that a server might read as others', () => {
  // Go's decoder takes the long s for an s, and the sign for Kelvin for a k.
  test.each(['ſtream', 'max_tokenſ', 'max_completion_toKens', 'meſsages', 'MODEL', 'Best_Of', 'web_ſearch_options'])('%s in a chat', (field) =>
    expect(chat({ [field]: 1 })).toMatchObject(REFUSED),
  );
  test('the same in other bodies', () => {
    const anthropic = requestTo('anthropic', 'api.anthropic.com');
    expect(anthropic.facts('/v1/messages', { model: 'claude-3-haiku', max_tokens: 1, messages, toolſ: [] })).toMatchObject(REFUSED);
    expect(factsAt('/v1/completions', { model: 'm', prompt: 'x', max_tokenſ: 9 })).toMatchObject(REFUSED);
    expect(factsAt('/v1/responses', { model: 'm', input: 'x', previouſ_response_id: 'r' })).toMatchObject(REFUSED);
  });
  test('two in one part, message or tool', () => {
    const image = { type: 'text', text: 'x', Type: 'image_url', image_url: { url: 'https://evil.example/' } };
    expect(chat({ messages: [{ role: 'user', content: [image] }] })).toMatchObject({ reason: 'InvalidRequest' });
    expect(chat({ messages: [{ role: 'user', content: 'x', Content: [image] }] })).toMatchObject({ reason: 'InvalidRequest' });
    expect(factsAt('/v1/responses', { model: 'm', input: [{ type: 'message', TYPE: 'item_reference', content: 'x' }] })).toMatchObject({
      reason: 'InvalidRequest',
    });
  });
  test('a property of a tool may be called as it likes', () =>
    expect(chat({ tools: [{ type: 'function', function: { name: 'f', parameters: { properties: { x: {}, X: {} } } } }] })).toMatchObject({ fetches: [] }));
});

describe('URLs that one reader takes for another host than the next', () => {
  const image = (url: string) => openaiFacts({ model: 'm', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] });
  test.each([
    'https://good.example\\\\@evil.example/',
    'https://good.example\\@evil.example/',
    'https://good.example@evil.example/',
    'https://evil.example:80@good.example/',
    'https://good.example#@evil.example/',
    'https://good.example?@evil.example/',
    'https:/good.example/',
    'https:good.example',
    '\\\\good.example\\x',
    'https://good.example /x',
    'https://good.ex\tample/',
    'https://good.example%2f.evil.example/',
    'https://ｇood.example/',
    'https://[::1]/',
  ])('%j is anywhere', (url) => expect(image(url)).toMatchObject({ fetches: ['*'] }));
  test.each(['https://good.example', ' https://good.example/a?b=c@d#e ', 'HTTPS://GOOD.EXAMPLE:8443/x'])('%j is there', (url) =>
    expect(image(url)).toMatchObject({ fetches: ['good.example'] }),
  );
});

describe('searches', () => {
  test.each(['gpt-4o-search-preview', 'gpt-4o-mini-search-preview-2025-03-11', 'gpt-5-search-api'])('%s searches whatever is asked', (model) =>
    expect(chat({ model })).toMatchObject({ unknownInput: true, fetches: ['*'] }),
  );
  test.each(['web_search_options', 'search_parameters', 'plugins'])('%s', (field) => expect(chat({ [field]: {} })).toMatchObject({ fetches: ['*'] }));
  test('a name of one’s own says nothing', () => {
    expect(chat({ model: 'ft:gpt-4o-mini:org:my-search-bot:id' })).toMatchObject({ fetches: [] });
    expect(chat({ model: 'my-search-bot' }, 'custom')).toMatchObject({ fetches: [] });
    const deployment = '/openai/deployments/my-search-bot/chat/completions';
    expect(factsAt(deployment, { messages }, 'azure-openai')).toMatchObject({ model: 'my-search-bot', fetches: [] });
  });
  test('one that is switched off is none', () => expect(chat({ model: 'research', enable_search: false })).toMatchObject({ fetches: [] }));
});

describe('servers of OpenAI’s API with fields of their own', () => {
  test.each(['n_predict', 'max_new_tokens', 'num_predict', 'N_Predict', 'use_beam_search', 'num_return_sequences'])(
    '%s might stand before the limit that is judged',
    (field) => {
      expect(chat({ [field]: 9, max_tokens: 1 }, 'custom')).toMatchObject(REFUSED);
      expect(factsAt('/v1/completions', { prompt: 'x', [field]: 9, max_tokens: 1 }, 'custom')).toMatchObject(REFUSED);
    },
  );
  test.each(['models', 'fallbacks', 'context_window_fallbacks', 'draft_model', 'fallback_models'])('%s may name another model', (field) => {
    expect(chat({ [field]: ['other'] }, 'custom')).toMatchObject(REFUSED);
    expect(factsAt('/v1/responses', { input: 'x', [field]: ['other'] }, 'custom')).toMatchObject(REFUSED);
  });
  test('`best_of` is how many answers are written', () => expect(chat({ n: 2, best_of: 9 }, 'custom')).toMatchObject({ n: 9 }));

  const custom = providerNamed('custom')!;
  const at = (path: string) => custom.operation({ ...CHAT_TARGET, host: 'llm.test', path });
  test.each([
    '/v1/chat/completions/',
    '/v1/chat//completions',
    '/v1/Chat/Completions',
    '/v1/chat%2Fcompletions',
    '/v1/chat/completion%73',
    '/v1/chat/completions;x=1',
    '/v1/chat;a/completions;b=/',
    '/V1/CHAT/completions',
    '/v1/%63hat/completions',
    '//v1/responses//',
    '/EMBEDDINGS',
  ])('%s may be a call that is read in its plain spelling only', (path) => expect(at(path)).toBeUndefined());
  test.each(['/v1/chat', '/v1/chat/completions/1', '/models/', '/%zz', '/v1/completions-of'])('%s is none', (path) => expect(at(path)?.name).toBe('custom'));
});

describe('azure-openai', () => {
  const azure = providerNamed('azure-openai')!;
  const at = (query: string) => azure.operation({ ...CHAT_TARGET, host: 'a.openai.azure.com', path: '/openai/deployments/d/chat/completions', query })?.name;
  test('which of two versions counts is not known', () => {
    expect(at('api-version=2024-10-21')).toBe('chat');
    expect(at('api-version=2024-10-21&api-version=2023-05-15')).toBeUndefined();
    expect(at('API-Version=2023-05-15&api%2Dversion=2024-10-21')).toBeUndefined();
  });
});

test('a summary that the provider writes beside the answer has no bound', () =>
  expect(factsAt('/v1/responses', { model: 'm', input: 'x', context_management: [{ type: 'compaction' }] })).toMatchObject({ unbounded: true }));
