import { describe, expect, test } from 'vitest';
import {
  admitsHost,
  admitsName,
  admittedHosts,
  coversName,
  decide,
  decideConnection,
  explainRequest,
  hostMatches,
  isServedOnDemand,
  namesOf,
  providerAt,
  rawTargets,
} from '#policy';
import type { PolicySet, RequestFacts } from '#model';
import { canonicalHostGlob } from '../../../src/policy/host-glob.ts';
import { endpointMatches, parseEndpoint } from '../../../src/policy/endpoints.ts';
import { compile, gateway, l4Route, route } from './objects.ts';

describe('patterns of hosts', () => {
  test.each<[string, string, boolean]>([
    ['api.openai.com', 'api.openai.com', true],
    ['api.openai.com', 'xapi.openai.com', false],
    ['*.openai.azure.com', 'a.openai.azure.com', true],
    ['*.openai.azure.com', 'a-1.openai.azure.com', true],
    ['*.openai.azure.com', 'openai.azure.com', false],
    ['*.openai.azure.com', 'a.b.openai.azure.com', false],
    ['*.openai.azure.com', 'a.openai.azure.com.evil.example', false],
    ['*.openai.azure.com', 'a.openaiXazure.com', false],
    ['bedrock-runtime.*.amazonaws.com', 'bedrock-runtime.us-east-1.amazonaws.com', true],
    ['bedrock-runtime.*.amazonaws.com', 'bedrock-runtime..amazonaws.com', false],
    ['bedrock-runtime.*.amazonaws.com', 'bedrock-runtime.a.b.amazonaws.com', false],
    ['*-aiplatform.googleapis.com', 'europe-west4-aiplatform.googleapis.com', true],
    ['*-aiplatform.googleapis.com', '-aiplatform.googleapis.com', false],
    ['*-aiplatform.googleapis.com', 'aiplatform.googleapis.com', false],
  ])('%s and %s: %s', (glob, host, covers) => expect(hostMatches(glob, host)).toBe(covers));

  test.each(['*', '*.*', 'a..b', 'a.b:443', 'a.b/c', 'user@a.b', '\u212a.test', 'a.1', '-a.b', 'a b.c', '.a', ''])('%j is no pattern', (text) =>
    expect(canonicalHostGlob(text)).toBeUndefined(),
  );
  test('the spelling is lower case', () => expect(canonicalHostGlob('*.LLM.Example.COM')).toBe('*.llm.example.com'));
});

describe('endpoints', () => {
  test.each<[string, object]>([
    ['/v1/*', { path: '/v1/*' }],
    ['*', {}],
    ['*/chat/completions', { path: '*/chat/completions' }],
    ['LLM.example.com/v1/*', { host: 'llm.example.com', path: '/v1/*' }],
    ['https://llm.example.com/v1/*', { host: 'llm.example.com', path: '/v1/*' }],
    ['*.example.com', { host: '*.example.com' }],
    ['llm.example.com:8443/v1', { path: 'llm.example.com:8443/v1' }],
    ['ollama/v1', { path: 'ollama/v1' }],
  ])('%s', (text, endpoint) => expect(parseEndpoint(text)).toEqual(endpoint));

  test.each<[string, string, string, boolean]>([
    ['*', 'a.test', '/v1/x', true],
    ['/v1/*', 'a.test', '/v1/x', true],
    ['/v1/*', 'a.test', '/v1/x/y', false],
    ['/v1/*/*', 'a.test', '/v1/x/y', true],
    ['*.test/v1/x', 'a.test', '/v1/x', true],
    ['*.test/v1/x', 'a.b.test', '/v1/x', false],
    ['b.test/v1/x', 'a.test', '/v1/x', false],
    ['a.test', 'a.test', '/any/thing', true],
    ['a.test:443/v1', 'a.test', '/v1', false],
  ])('%s at %s%s: %s', (text, host, path, matches) => expect(endpointMatches(text, { host, path })).toBe(matches));
});

type Match = { provider: string; models?: string[]; endpoints?: string[] };
const setOf = (...matches: Match[]): PolicySet => compile({ aiRoutes: [route({ rules: [{ matches }] })], credentialPolicies: [] }).policySet;
const facts = (more: Partial<RequestFacts>): RequestFacts => ({ host: 'a.openai.azure.com', port: 443, method: 'POST', path: '/openai/v1/responses', ...more });
const AZURE = setOf({ provider: 'Azure-OpenAI' });
const CUSTOM = setOf({ provider: 'custom', endpoints: ['*.llm.test/v1/*', 'one.test/api/chat'] });

describe('a provider with hosts by pattern', () => {
  test('admits names of any of them, and is served when one is asked for', () => {
    expect(admitsHost(AZURE, 'a.openai.azure.com')).toBe(true);
    expect(admitsHost(AZURE, 'a.services.ai.azure.com')).toBe(true);
    expect(admitsHost(AZURE, 'a.b.openai.azure.com')).toBe(false);
    expect(admitsName(AZURE, 'demo/a', 'a.openai.azure.com')).toBe(true);
    expect(admitsName(AZURE, 'demo/a', 'openai.azure.com')).toBe(false);
    expect(isServedOnDemand(AZURE, 'a.openai.azure.com')).toBe(true);
    expect(admittedHosts(AZURE)).toEqual([]);
    expect(admittedHosts(AZURE, ['z.openai.azure.com', 'a.openai.azure.com', 'evil.test'])).toEqual(['a.openai.azure.com', 'z.openai.azure.com']);
    expect(coversName(namesOf(AZURE), 'a.openai.azure.com')).toBe(true);
    expect(coversName(namesOf(AZURE), 'evil.test')).toBe(false);
  });
  test('one that a route names itself is served from the start', () => {
    const set = setOf({ provider: 'azure-openai' }, { provider: 'azure-openai', endpoints: ['a.openai.azure.com/openai/*'] });
    expect(isServedOnDemand(set, 'a.openai.azure.com')).toBe(false);
    expect(admittedHosts(set)).toEqual(['a.openai.azure.com']);
  });
  test('judges what is asked of them', () => {
    const provider = 'azure-openai';
    expect(decide(AZURE, facts({ provider, model: 'd' })).verdict).toBe('Allowed');
    expect(decide(AZURE, facts({ provider, model: 'd', host: 'a.openai.azure.com.evil.test' })).reason).toBe('NoRoute');
    expect(decide(AZURE, facts({ provider, model: 'd', path: '/openai/files' })).reason).toBe('EndpointNotBuilt');
    const narrow = setOf({ provider, models: ['gpt-*'], endpoints: ['mine.openai.azure.com/openai/v1/*'] });
    expect(admitsHost(narrow, 'mine.openai.azure.com')).toBe(true);
    expect(admitsHost(narrow, 'other.openai.azure.com')).toBe(false);
    expect(decide(narrow, facts({ provider, host: 'mine.openai.azure.com', model: 'gpt-x' })).verdict).toBe('Allowed');
    expect(decide(narrow, facts({ provider, host: 'mine.openai.azure.com', model: 'o3' })).reason).toBe('ModelNotAllowed');
    expect(decide(narrow, facts({ provider, host: 'mine.openai.azure.com' })).reason).toBe('ModelNotAllowed');
  });
  test('keeps other kinds of routes away from them, on every port and in every form', () => {
    const gw = gateway({
      listeners: [
        { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } },
        { name: 'tcp', protocol: 'TCP' },
      ],
    });
    const l4 = l4Route({ rules: [{ matches: [{ destinationHostnames: ['*.openai.azure.com', 'a.openai.azure.com'] }, {}] }] });
    const aiRoutes = [route({ rules: [{ matches: [{ provider: 'azure-openai' }] }] })];
    const { policySet } = compile({ gateway: gw, aiRoutes, l4Routes: [l4], credentialPolicies: [] });
    const ask = (more: object) =>
      decideConnection(policySet, {
        agent: 'demo/a',
        transport: 'TCP',
        port: 443,
        host: 'a.openai.azure.com',
        speaks: 'tls',
        sni: 'a.openai.azure.com',
        ...more,
      });
    expect(ask({})).toMatchObject({ verdict: 'Allowed', engine: true });
    expect(ask({ port: 8443 })).toMatchObject({ verdict: 'Denied', reason: 'ClaimedHost' });
    expect(ask({ speaks: 'plain', sni: undefined })).toMatchObject({ verdict: 'Denied', reason: 'ClaimedHost' });
    expect(ask({ sni: 'b.openai.azure.com' })).toMatchObject({ verdict: 'Denied', reason: 'AddressMismatch' });
    expect(rawTargets(policySet).flatMap(({ hosts }) => hosts)).not.toContain('a.openai.azure.com');
    expect(rawTargets(policySet).flatMap(({ hosts }) => hosts)).not.toContain('*.openai.azure.com');
  });
  test('older routes are asked first, whether they name a host or a pattern', () => {
    const match = (name: string, created: string, endpoints?: string[]) =>
      route({ rules: [{ matches: [{ provider: 'azure-openai', ...(endpoints && { endpoints }) }] }] }, name, created);
    const old = match('old', '2026-01-01T00:00:00Z');
    const young = match('young', '2026-02-01T00:00:00Z', ['a.openai.azure.com/*/*/*']);
    const set = compile({ aiRoutes: [young, old], credentialPolicies: [] }).policySet;
    expect(decide(set, facts({ provider: 'azure-openai', model: 'd' })).route).toBe('AIProviderRoute/demo/old');
  });
});

describe('provider custom', () => {
  test('claims the hosts its endpoints name, and nothing else', () => {
    expect(admitsHost(CUSTOM, 'a.llm.test')).toBe(true);
    expect(admitsHost(CUSTOM, 'one.test')).toBe(true);
    expect(admitsHost(CUSTOM, 'llm.test')).toBe(false);
    expect(providerAt(CUSTOM, 'a.llm.test')?.name).toBe('custom');
    expect(providerAt(CUSTOM, 'evil.test')).toBeUndefined();
    expect(providerAt(AZURE, 'a.openai.azure.com')?.name).toBe('azure-openai');
    const ask = (host: string, path: string) => decide(CUSTOM, facts({ provider: 'custom', host, path })).reason;
    expect(ask('a.llm.test', '/v1/rerank')).toBe('Allowed');
    expect(ask('a.llm.test', '/v2/rerank')).toBe('EndpointNotAllowed');
    expect(ask('one.test', '/v1/rerank')).toBe('EndpointNotAllowed');
    expect(ask('evil.test', '/v1/rerank')).toBe('NoRoute');
  });
  test.each<[string[] | undefined, RegExp]>([
    [undefined, /^spec\.rules\[0\]\.matches\[0\]\.endpoints is missing: provider custom is reached at the hosts its endpoints name\.$/],
    [[], /endpoints is missing/],
    [['/v1/*'], /^spec\.rules\[0\]\.matches\[0\]\.endpoints\[0\] "\/v1\/\*" names no host: .*HOST\/PATH/],
    [['a.test/v1', '*'], /endpoints\[1\] "\*" names no host/],
    [['api.openai.com/v1/*'], /endpoints\[0\] "api\.openai\.com\/v1\/\*" is at a host of provider openai; name that provider\.$/],
    [['*.openai.azure.com/x'], /is at a host of provider azure-openai/],
  ])('endpoints %j match nothing, and the route says so', (endpoints, why) => {
    const aiRoutes = [route({ rules: [{ matches: [{ provider: 'custom', ...(endpoints && { endpoints }) }] }] })];
    const { policySet, routes } = compile({ aiRoutes, credentialPolicies: [] });
    expect(policySet.aiRoutes[0]!.hosts).toEqual([]);
    expect(routes[0]!.parents[0]!.accepted).toMatchObject({ status: 'False', reason: 'UnsupportedValue', message: expect.stringMatching(why) });
  });
  test('one such match beside a good one is a remark', () => {
    const aiRoutes = [route({ rules: [{ matches: [{ provider: 'custom' }, { provider: 'openai' }] }] })];
    const { policySet, routes } = compile({ aiRoutes, credentialPolicies: [] });
    expect(policySet.aiRoutes[0]!.hosts).toEqual(['api.openai.com']);
    expect(routes[0]!.parents[0]!.accepted).toMatchObject({ status: 'True', message: expect.stringContaining('endpoints is missing') });
  });
  test('a pattern that covers hosts of a provider does not make it custom', () => {
    const set = setOf({ provider: 'custom', endpoints: ['*.openai.com/*/*/*'] });
    expect(providerAt(set, 'api.openai.com')?.name).toBe('openai');
    expect(decide(set, facts({ host: 'api.openai.com', path: '/v1/chat/completions', provider: 'openai', model: 'm' })).verdict).toBe('Denied');
  });
});

test('endpoints narrow the hosts only where each of them names one', () => {
  const hosts = (...endpoints: string[]) =>
    compile({ aiRoutes: [route({ rules: [{ matches: [{ provider: 'azure-openai', endpoints }] }] })] }).policySet.aiRoutes[0]!.hosts;
  expect(hosts('a.openai.azure.com/openai/*', 'b.openai.azure.com')).toEqual(['a.openai.azure.com', 'b.openai.azure.com']);
  expect(hosts('a.openai.azure.com/openai/*', '/openai/v1/*')).toContain('*.openai.azure.com');
});

test('an endpoint at no host of its provider is refused', () => {
  const aiRoutes = [route({ rules: [{ matches: [{ provider: 'openai', endpoints: ['evil.test/v1/*'] }] }] })];
  const { policySet, routes } = compile({ aiRoutes, credentialPolicies: [] });
  expect(policySet.aiRoutes[0]!.hosts).toEqual([]);
  expect(routes[0]!.parents[0]!.accepted.message).toMatch(
    /"evil\.test\/v1\/\*" is at no host of provider openai, which has api\.openai\.com; use provider custom/,
  );
});

test('explained by the provider that has the host', () => {
  const ask = (set: PolicySet, more: object) =>
    explainRequest([set], { agent: 'demo/a', scheme: 'https', host: 'a.llm.test', port: 443, method: 'POST', path: '/v1/rerank', ...more });
  expect(ask(CUSTOM, {}).decision.verdict).toBe('Allowed');
  expect(ask(CUSTOM, { path: '/v2' }).missed[0]!.why).toMatch(/endpoints is \*\.llm\.test\/v1\/\*, one\.test\/api\/chat; add a\.llm\.test\/v2\.$/);
  expect(ask(AZURE, { host: 'a.openai.azure.com', path: '/openai/v1/responses', model: 'd' }).decision.verdict).toBe('Allowed');
});
