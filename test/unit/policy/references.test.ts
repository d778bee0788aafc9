import { describe, expect, test } from 'vitest';
import { danglingRef } from '#policy';
import { route } from './objects.ts';

/** References in rules that lead nowhere. */

const GROUP = 'clrk.apoxy.dev';
/** What there is: `Kind/namespace/name`. */
const judged = (more: object, ...there: readonly string[]) =>
  danglingRef(route({ rules: [{ matches: [{ provider: 'openai' }], ...more }] as never }), (kind, name, namespace) =>
    there.includes(`${kind}/${namespace}/${name}`),
  );

describe('backendRefs', () => {
  test.each<[object, string | undefined]>([
    [{ group: GROUP, kind: 'Backend', name: 'b' }, undefined],
    [{ group: GROUP, kind: 'Backend', name: 'b', namespace: 'demo' }, undefined],
    [{ group: GROUP, kind: 'Backend', name: 'c' }, 'BackendNotFound'],
    [{ group: GROUP, kind: 'Backend', name: 'b', namespace: 'other' }, 'RefNotPermitted'],
    [{ group: GROUP, kind: 'Service', name: 'b' }, 'InvalidKind'],
    [{ group: GROUP, name: 'b' }, 'InvalidKind'],
    [{ group: 'example.com', kind: 'Backend', name: 'b' }, 'InvalidKind'],
    [{ kind: 'Backend', name: 'b' }, 'InvalidKind'],
  ])('%j: %s', (ref, reason) => {
    const state = judged({ backendRefs: [ref] }, 'Backend/demo/b', 'Backend/other/b', 'Service/demo/b');
    expect(state?.reason).toBe(reason);
    if (state) expect(state).toMatchObject({ status: 'False', message: expect.stringContaining('spec.rules[0].backendRefs[0]') });
  });
});

describe('extensionRef', () => {
  const extension = (kind: string, name: string) => ({ filters: [{ type: 'ExtensionRef', extensionRef: { group: GROUP, kind, name } }] });
  test.each<[kind: string, name: string, reason: string | undefined]>([
    ['RateLimitPolicy', 'p', undefined],
    ['LoggingPolicy', 'p', undefined],
    ['RateLimitPolicy', 'q', 'ExtensionNotFound'],
    ['EgressDenyPolicy', 'p', 'InvalidKind'],
  ])('%s %s: %s', (kind, name, reason) => {
    const there = ['RateLimitPolicy/demo/p', 'LoggingPolicy/demo/p', 'EgressDenyPolicy/demo/p', 'RateLimitPolicy/other/q'];
    expect(judged(extension(kind, name), ...there)?.reason).toBe(reason);
  });
});
