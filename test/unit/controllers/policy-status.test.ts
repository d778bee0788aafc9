import { expect, test } from 'vitest';
import { credentialInjectionPolicies, type CredentialInjectionPolicy } from '#api';
import { judgePolicies } from '#policy';
import { policyStatus } from '../../../src/controllers/gateway/status.ts';
import { credentialPolicy } from '../policy/objects.ts';

test('a policy tells its state at 16 objects at most, its own targets first; what other controllers wrote stays where there is room', () => {
  const target = (index: number) => ({ kind: 'AIProviderRoute', name: `r${index}` });
  const foreign = Array.from({ length: 8 }, (_, index) => ({ ancestorRef: { name: `f${index}` }, controllerName: 'example.com/other', conditions: [] }));
  const policy: CredentialInjectionPolicy = {
    ...credentialPolicy({
      parentRefs: Array.from({ length: 5 }, (_, index) => target(index)),
      targetRefs: Array.from({ length: 5 }, (_, index) => target(5 + index)),
    }),
    status: { ancestors: foreign },
  };
  const [judgement] = judgePolicies(
    [policy],
    () => ({ token: 'x' }),
    () => true,
  );
  const { ancestors } = policyStatus(credentialInjectionPolicies, policy, judgement!, '2026-01-01T00:00:00Z') as { ancestors: typeof foreign };
  expect(ancestors.map(({ ancestorRef }) => ancestorRef.name)).toEqual([
    ...Array.from({ length: 10 }, (_, index) => `r${index}`),
    ...foreign.slice(0, 6).map(({ ancestorRef }) => ancestorRef.name),
  ]);
});
