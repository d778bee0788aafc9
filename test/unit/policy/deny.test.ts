import { expect, test } from 'vitest';
import { decide, judgeDenyPolicies } from '#policy';
import { compile, denyPolicy, route } from './objects.ts';

const target = (name = 'openai', kind = 'AIProviderRoute') => ({ group: 'clrk.apoxy.dev', kind, name });
const chat = { host: 'api.openai.com', port: 443, method: 'POST', path: '/v1/chat/completions', provider: 'openai', model: 'gpt-4.1' };
const mini = route({ rules: [{ matches: [{ provider: 'openai', models: ['*-mini'] }] }] }, 'mini', '2026-01-01T00:00:00Z');

test('a route that a policy denies refuses what it would let through, with the status and message of the policy', () => {
  const denyPolicies = [denyPolicy({ targetRef: target(), denyResponse: { statusCode: 451, message: 'Frozen for the audit.' } })];
  expect(decide(compile({ denyPolicies }).policySet, chat)).toMatchObject({
    verdict: 'Denied',
    reason: 'DeniedByPolicy',
    status: 451,
    message: 'Frozen for the audit.',
    route: 'AIProviderRoute/demo/openai',
    rule: 0,
    policies: ['EgressDenyPolicy/demo/freeze', 'CredentialInjectionPolicy/demo/key'],
  });
  expect(decide(compile({}).policySet, chat).verdict).toBe('Allowed');
});

test('without a response of its own it is 403, and the message names policy and route', () => {
  const decision = decide(compile({ denyPolicies: [denyPolicy({ targetRefs: [target()] })] }).policySet, chat);
  expect(decision).toMatchObject({ status: 403, reason: 'DeniedByPolicy' });
  expect(decision.message).toContain('demo/freeze');
  expect(decision.message).toContain('AIProviderRoute/demo/openai');
});

test('what a denied route covers is denied even where another route, older or younger, would allow it', () => {
  for (const created of ['2025-01-01T00:00:00Z', '2027-01-01T00:00:00Z']) {
    const other = route({}, 'other', created);
    const { policySet } = compile({ aiRoutes: [route(), other], denyPolicies: [denyPolicy({ targetRef: target() })] });
    expect(decide(policySet, chat)).toMatchObject({ verdict: 'Denied', reason: 'DeniedByPolicy' });
  }
});

test('the rule that is named is the first that covers the request', () => {
  const two = route({ rules: [{ matches: [{ provider: 'openai', models: ['gpt-*'] }] }, { matches: [{ provider: 'openai' }] }] });
  const { policySet } = compile({ aiRoutes: [two], denyPolicies: [denyPolicy({ targetRef: target() })] });
  expect(['gpt-4.1', 'o3'].map((model) => decide(policySet, { ...chat, model }).rule)).toEqual([0, 1]);
});

test('what it does not cover is not its business', () => {
  const { policySet } = compile({ aiRoutes: [mini, route()], denyPolicies: [denyPolicy({ targetRef: target('mini') })] });
  expect(decide(policySet, { ...chat, model: 'gpt-4.1' }).verdict).toBe('Allowed');
  expect(decide(policySet, { ...chat, model: 'gpt-4.1-mini' })).toMatchObject({ verdict: 'Denied', reason: 'DeniedByPolicy' });
});

test.each([
  ['another route', denyPolicy({ targetRef: target('other') })],
  ['another kind', denyPolicy({ targetRef: target('openai', 'MCPRoute') })],
  ['another namespace', denyPolicy({ targetRef: target() }, 'freeze', '2026-01-04T00:00:00Z', 'elsewhere')],
])('a policy for %s changes nothing', (_, policy) => {
  expect(decide(compile({ denyPolicies: [policy] }).policySet, chat).verdict).toBe('Allowed');
});

test('the state at each target: accepted, missing, taken by an older policy, a section', () => {
  const older = denyPolicy({ targetRef: target() }, 'older', '2026-01-01T00:00:00Z');
  const younger = denyPolicy({ targetRefs: [target(), target('gone'), target('db', 'EgressL4Route'), { ...target('mini'), sectionName: 'x' }] }, 'younger');
  const there = new Set(['AIProviderRoute/openai', 'AIProviderRoute/mini', 'EgressL4Route/db']);
  const [first, second] = judgeDenyPolicies([older, younger], (kind, name, namespace) => namespace === 'demo' && there.has(`${kind}/${name}`));
  expect(first!.ancestors).toMatchObject([{ accepted: { status: 'True', reason: 'Accepted' }, conflicted: { status: 'False' } }]);
  expect(second!.ancestors.map(({ accepted, conflicted }) => [accepted.reason, conflicted.status])).toEqual([
    ['Conflicted', 'True'],
    ['TargetNotFound', 'False'],
    ['Accepted', 'False'],
    ['Accepted', 'False'],
  ]);
  expect(second!.ancestors[3]!.accepted.message).toContain('has no sections');
  const { policySet } = compile({ denyPolicies: [younger, older] });
  expect(policySet.aiRoutes[0]!.denied).toEqual({ policy: 'demo/older', status: 403, message: '' });
});
