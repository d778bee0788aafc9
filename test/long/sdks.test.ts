import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { applyProviderGateway, openaiServer, startProviderServers, type ProviderServer, type ProviderServers } from '../e2e/support/provider-servers.ts';
import { createSdkAgent, expectSame, type SdkAgent } from '../e2e/support/sdk-agent.ts';
import { chat, converse, embeddings, generate, invoke, message, response, STREAMED } from '../e2e/support/sdk-steps.ts';
import type { Sdk } from '../fixtures/sdks.ts';

/** Every SDK against every operation it has that is metered, behind a gateway and without one. */

let stack: TestStack;
let servers: ProviderServers & { readonly openai: ProviderServer };
beforeAll(async () => {
  stack = await startStack();
  servers = Object.assign(await startProviderServers(stack), { openai: openaiServer(stack) });
  await applyProviderGateway(stack, 'sdk-openai', servers.openai, {});
  await applyProviderGateway(stack, 'sdk-anthropic', servers.anthropic, { models: ['claude-haiku-4-5*'] });
  await applyProviderGateway(stack, 'sdk-google', servers.google, { models: ['gemini-2.5-flash*'] });
  await applyProviderGateway(stack, 'sdk-bedrock', servers.bedrock, { models: ['anthropic.claude-haiku-4-5*', 'meta.llama3*', 'amazon.titan-embed*'] });
});
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

type Name = 'openai' | 'anthropic' | 'google' | 'bedrock';

/** Runs the steps both ways; a step that does not end as `ends` says (a class of error, or `returned`) is no proof of anything. */
const same = async (sdk: Sdk, name: Name, steps: readonly (readonly [ends: string, step: object])[]): Promise<SdkAgent> => {
  const agent = await createSdkAgent(stack, sdk, servers[name]);
  const all = steps.map(([, step]) => step);
  const direct = await agent.directly(all);
  expect(direct.outcomes.map(({ thrown }) => thrown?.class ?? 'returned')).toEqual(steps.map(([ends]) => ends));
  expectSame(await agent.inSandbox(all, `sdk-${name}`), direct);
  return agent;
};

const refused = async (agent: SdkAgent, name: Name, step: object) => {
  const { outcomes, seen } = await agent.inSandbox([step], `sdk-${name}`);
  expect(seen).toEqual([]);
  return outcomes[0]!.thrown;
};

const OPENAI = [
  ['returned', chat('gpt-4.1-mini')],
  ['returned', chat('gpt-4.1-mini', STREAMED)],
  ['returned', response('gpt-4.1-mini')],
  ['returned', response('gpt-5', { stream: true })],
  ['returned', response('gpt-4.1-mini', { max_output_tokens: 16 })],
  ['returned', embeddings()],
  ['returned', { resource: 'models', method: 'list' }],
  ['returned', chat('gpt-4.1-recovering', STREAMED)],
  ['RateLimitError', response('gpt-4.1-limited', { stream: true })],
  ['RateLimitError', chat('gpt-4.1-limited', STREAMED)],
  ['InternalServerError', chat('gpt-4.1-broken')],
  ['InternalServerError', chat('gpt-4.1-broken', STREAMED)],
  ['NotFoundError', response('gpt-4.1-unknown')],
] as const;

it('openai (Python)', async () => {
  await same('openai-python', 'openai', OPENAI);
});

it('openai (Node)', async () => {
  await same('openai-node', 'openai', OPENAI);
});

it('anthropic (Node)', async () => {
  const agent = await same('anthropic-node', 'anthropic', [
    ['returned', message('claude-haiku-4-5')],
    ['returned', message('claude-haiku-4-5', { stream: true })],
    ['returned', { ...message('claude-haiku-4-5'), method: 'stream' }],
    ['returned', message('claude-haiku-4-5', { max_tokens: 2000, thinking: { type: 'enabled', budget_tokens: 1024 } })],
    ['RateLimitError', message('claude-haiku-4-5-limited')],
    ['OverloadedError', message('claude-haiku-4-5-broken', { stream: true })],
    ['BadRequestError', message('claude-haiku-4-5', { messages: [] })],
  ]);
  expect(await refused(agent, 'anthropic', message('claude-opus-4-1'))).toMatchObject({ class: 'PermissionDeniedError', status: 403 });
});

it('anthropic (Python)', async () => {
  const agent = await same('anthropic-python', 'anthropic', [
    ['returned', message('claude-haiku-4-5')],
    ['returned', message('claude-haiku-4-5', { stream: true })],
    ['RateLimitError', message('claude-haiku-4-5-limited')],
    ['OverloadedError', message('claude-haiku-4-5-broken', { stream: true })],
    ['RemoteProtocolError', message('claude-haiku-4-5-cut', { stream: true })],
  ]);
  expect(await refused(agent, 'anthropic', message('claude-opus-4-1'))).toMatchObject({
    class: 'PermissionDeniedError',
    status: 403,
    error: { type: 'error', error: { type: 'permission_error', code: 'ModelNotAllowed' } },
  });
});

it('@google/genai (Node)', async () => {
  const agent = await same('google-node', 'google', [
    ['returned', generate('gemini-2.5-flash')],
    ['returned', generate('gemini-2.5-flash', 'generateContentStream')],
    ['returned', generate('gemini-2.5-flash', 'countTokens')],
    ['ApiError', generate('gemini-2.5-flash-limited')],
    ['ApiError', generate('gemini-2.5-flash-broken', 'generateContentStream')],
    ['ApiError', generate('gemini-2.5-flash-unheard-of')],
  ]);
  expect(await refused(agent, 'google', generate('gemini-2.5-pro'))).toMatchObject({ class: 'ApiError', status: 403 });
});

it('AWS SDK bedrock-runtime (Node)', async () => {
  // The provider refuses what is not signed with the real keys (test/fixtures/bedrock/sigv4.ts); retries are signed anew.
  const agent = await same('bedrock-node', 'bedrock', [
    ['returned', converse('anthropic.claude-haiku-4-5-20251001-v1:0')],
    ['returned', converse('anthropic.claude-haiku-4-5-20251001-v1:0', 'ConverseStream')],
    ['returned', invoke('anthropic.claude-haiku-4-5-20251001-v1:0')],
    ['returned', invoke('anthropic.claude-haiku-4-5-20251001-v1:0', 'InvokeModelWithResponseStream')],
    ['ThrottlingException', converse('anthropic.claude-haiku-4-5-limited')],
    ['InternalServerException', converse('anthropic.claude-haiku-4-5-broken', 'ConverseStream')],
    ['ThrottlingException', invoke('anthropic.claude-haiku-4-5-limited', 'InvokeModelWithResponseStream')],
  ]);
  expect(await refused(agent, 'bedrock', converse('anthropic.claude-opus-4-1-20250805-v1:0'))).toMatchObject({ status: 403 });
});
