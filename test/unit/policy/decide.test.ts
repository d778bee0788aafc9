import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RequestFacts } from '#model';
import { decide, ruleOf } from '#policy';
import { budget, compile, credentialPolicy, route } from './objects.ts';

const CHAT: RequestFacts = { host: 'api.openai.com', port: 443, method: 'POST', path: '/v1/chat/completions', provider: 'openai', model: 'gpt-4o' };
const rules = (...list: object[]) => compile({ aiRoutes: [route({ rules: list as never })] }).policySet;

test('the first rule that matches decides', () => {
  const set = rules({ matches: [{ provider: 'openai', models: ['o3*'] }] }, { matches: [{ provider: 'openai' }], filters: [budget(7)] });
  const decision = decide(set, CHAT);
  expect(decision).toMatchObject({
    verdict: 'Allowed',
    route: 'AIProviderRoute/demo/openai',
    rule: 1,
    policies: ['CredentialInjectionPolicy/demo/key'],
    revision: set.revision,
  });
  expect(ruleOf(set, decision)!.rule.budgets).toMatchObject([{ cap: 7 }]);
});

test('a rule is for what any of its matches is about', () => {
  const set = rules({
    matches: [
      { provider: 'openai', models: ['o3*'] },
      { provider: 'openai', models: ['gpt-4*'] },
    ],
  });
  const of = (model: string) => decide(set, { ...CHAT, model });
  for (const model of ['o3-mini', 'gpt-4o']) expect(of(model)).toMatchObject({ verdict: 'Allowed', rule: 0 });
  expect(of('gpt-5').reason).toBe('ModelNotAllowed');
});

test('endpoints that name nothing are any endpoint', () => {
  const set = rules({ matches: [{ provider: 'openai', endpoints: [] }] });
  for (const request of [CHAT, { ...CHAT, method: 'GET', path: '/v1/models' }]) expect(decide(set, request).verdict).toBe('Allowed');
});

test('a match of which a part cannot be matches nothing, also where the rest of it is fine', () => {
  const split = { matches: [{ provider: 'openai', endpoints: ['/v1/chat/completions', 'evil.example/v1/*'] }] };
  expect(decide(rules(split, { matches: [{ provider: 'openai', endpoints: ['/v1/models'] }] }), CHAT).reason).toBe('EndpointNotAllowed');
});

describe('refusals', () => {
  test.each<[string, object[], Partial<RequestFacts>]>([
    ['NoRoute', [{ matches: [{ provider: 'openai' }] }], { host: 'evil.example' }],
    ['NoRoute', [{ matches: [{ provider: 'openai' }] }], { port: 8443 }],
    ['NoRoute', [{ matches: [{ provider: 'anthropic' }] }], {}],
    ['ModelNotAllowed', [{ matches: [{ provider: 'openai', models: ['gpt-4.1*'] }] }], {}],
    ['ModelNotAllowed', [{ matches: [{ provider: 'openai', models: ['*'] }] }], { model: undefined }],
    ['ModelNotAllowed', [{ matches: [{ provider: 'openai', models: ['[z-a]'] }] }], {}],
    ['EndpointNotAllowed', [{ matches: [{ provider: 'openai', endpoints: ['/v1/models'] }] }], {}],
    ['EndpointNotAllowed', [{ matches: [{ provider: 'openai', endpoints: ['/v1/*'] }] }], {}],
    ['EndpointNotBuilt', [{ matches: [{ provider: 'openai' }] }], { path: '/v1/files' }],
    ['EndpointNotBuilt', [{ matches: [{ provider: 'openai' }] }], { method: 'GET' }],
    ['NotBuilt', [{ matches: [{ provider: 'openai' }], backendRefs: [{ name: 'x' }] }], {}],
    [
      'NotBuilt',
      [
        {
          matches: [{ provider: 'openai' }],
          filters: [{ type: 'ExtensionRef', extensionRef: { group: 'clrk.apoxy.dev', kind: 'RateLimitPolicy', name: 'x' } }],
        },
      ],
      {},
    ],
  ])('%s', (reason, list, facts) => {
    const decision = decide(rules(...list), { ...CHAT, ...facts });
    expect(decision).toMatchObject({ verdict: 'Denied', reason, status: 403 });
    expect(decision.message).not.toBe('');
  });

  test('an empty list of models is any model', () =>
    expect(decide(rules({ matches: [{ provider: 'openai', models: [] }] }), { ...CHAT, model: undefined }).verdict).toBe('Allowed'));
  test('a rule without matches matches nothing', () => expect(decide(rules({}), CHAT).verdict).toBe('Denied'));
  test('a credential that is missing', () =>
    expect(decide(compile({ secret: () => undefined }).policySet, CHAT)).toMatchObject({ verdict: 'Denied', reason: 'SecretNotFound', status: 503 }));
  test('an unbuilt rule does not fall through to a later one', () =>
    expect(decide(rules({ matches: [{ provider: 'openai' }], backendRefs: [{}] }, { matches: [{ provider: 'openai' }] }), CHAT).reason).toBe('NotBuilt'));
});

test('the older of two routes is asked first, then the next', () => {
  const mini = route({ rules: [{ matches: [{ provider: 'openai', models: ['*mini'] }] }] }, 'z-mini', '2026-01-01T00:00:00Z');
  const set = compile({ aiRoutes: [route(), mini], credentialPolicies: [credentialPolicy()] }).policySet;
  expect(decide(set, { ...CHAT, model: 'gpt-4o-mini' }).route).toBe('AIProviderRoute/demo/z-mini');
  expect(decide(set, CHAT).route).toBe('AIProviderRoute/demo/openai');
});

const globs = fc.constantFrom('gpt-4*', '*', 'gpt-4o', 'o?', '[a-z]*', 'none');
const matches = fc.array(
  fc.record(
    {
      provider: fc.constantFrom('openai', 'anthropic'),
      models: fc.array(globs, { maxLength: 2 }),
      endpoints: fc.array(fc.constantFrom('/v1/chat/*', '/v1/models'), { maxLength: 2 }),
    },
    { requiredKeys: ['provider'] },
  ),
  { maxLength: 3 },
);
const facts = fc.record({
  host: fc.constantFrom('api.openai.com', 'evil.example'),
  port: fc.constantFrom(443, 80),
  method: fc.constantFrom('GET', 'POST'),
  path: fc.constantFrom('/v1/chat/completions', '/v1/models', '/'),
  provider: fc.constantFrom('openai', undefined),
  model: fc.constantFrom('gpt-4o', 'o3', undefined),
});

test('decisions depend on content alone, and what is allowed is what a rule says', () => {
  fc.assert(
    fc.property(fc.array(matches, { minLength: 1, maxLength: 3 }), facts, (list, request) => {
      const routes = list.map((m, i) => route({ rules: [{ matches: m }] }, `r${i}`));
      const set = compile({ aiRoutes: routes, credentialPolicies: [] }).policySet;
      const decision = decide(set, request);
      expect(decide(compile({ aiRoutes: routes.toReversed(), credentialPolicies: [] }).policySet, request)).toEqual(decision);
      if (decision.verdict === 'Denied') return;
      expect(request).toMatchObject({ host: 'api.openai.com', port: 443, provider: 'openai' });
      expect(['POST /v1/chat/completions', 'GET /v1/models']).toContain(`${request.method} ${request.path}`);
      const { rule } = ruleOf(set, decision)!;
      expect(rule.matches.some(({ provider, models }) => provider === 'openai' && (!models || request.model !== undefined))).toBe(true);
    }),
    { numRuns: 300 },
  );
});
