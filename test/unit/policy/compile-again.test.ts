import { expect, test } from 'vitest';
import { contentRevision } from '#lib';
import type { CompileInput } from '#policy';
import { compile, denyPolicy, gateway, l4Route } from './objects.ts';

/**
 * Routes that are the same objects as in the compilation before are not compiled again: whatever else changes, the outcome is that of
 * objects nobody has seen.
 */
const routes = [
  l4Route({ rules: [{ matches: [{ destinationHostnames: ['db.example.com'], ports: [{ port: 5432 }] }] }] }, 'plain'),
  l4Route({ rules: [{ matches: [{ destinationHostnames: ['a.example.com'], sourceAgents: { matchLabels: { tier: 'one' } } }] }] }, 'agents'),
  l4Route({ rules: [{ matches: [{ destinationCIDRs: ['192.0.2.0/28'], ports: [{ port: 53 }], protocol: 'UDP' }] }] }, 'udp'),
  l4Route({ parentRefs: [{ kind: 'EgressGateway', name: 'egress', namespace: 'demo' }] }, 'abroad', '2026-01-02T00:00:00Z', 'elsewhere'),
  l4Route({ rules: [{ matches: [{}], filters: [{ type: 'ExtensionRef', extensionRef: { group: '', kind: 'RateLimitPolicy', name: 'slow' } }] }] }, 'limited'),
  l4Route({ parentRefs: [{ name: 'egress', sectionName: 'second' }] }, 'section'),
  l4Route({ parentRefs: [{ name: 'egress' }, { name: 'other' }] }, 'both'),
];

const tcp = { name: 'tcp', protocol: 'TCP' } as const;
const other = { ...gateway({ listeners: [tcp] }), metadata: { ...gateway().metadata, name: 'other' } };
const from = (spec: object) => ({ listeners: [{ ...tcp, allowedRoutes: { namespaces: spec } }] });
const team = from({ from: 'Selector', selector: { matchLabels: { team: 'a' } } });
const agents = (tier: string) => new Map([['demo/one', [{ tier }]]]);

const inputs: readonly (readonly [string, Partial<CompileInput>])[] = [
  ['as it is', {}],
  ['another listener', { gateway: gateway({ listeners: [tcp, { name: 'second', protocol: 'UDP', port: 53 }] }) }],
  ['the same name, another protocol', { gateway: gateway({ listeners: [{ name: 'tls', protocol: 'UDP', port: 53 }] }) }],
  ['routes of every namespace', { gateway: gateway(from({ from: 'All' })) }],
  ['routes of labelled namespaces', { gateway: gateway(team) }],
  ['a namespace labelled', { gateway: gateway(team), namespaceLabels: () => ({ team: 'a' }) }],
  ['and otherwise', { gateway: gateway(team), namespaceLabels: () => ({ team: 'b' }) }],
  ['an agent', { agents: agents('one') }],
  ['labelled otherwise', { agents: agents('two') }],
  ['what is referred to is gone', { exists: () => false }],
  ['denied', { denyPolicies: [denyPolicy({ targetRef: { group: '', kind: 'EgressL4Route', name: 'plain' } })] }],
  [
    'denied with words',
    { denyPolicies: [denyPolicy({ targetRef: { group: '', kind: 'EgressL4Route', name: 'plain' }, denyResponse: { statusCode: 451, message: 'no' } })] },
  ],
  ['another gateway', { gateway: other }],
  ['another object of the same name', { l4Routes: [l4Route({ rules: [{ matches: [{ destinationHostnames: ['new.example.com'] }] }] }, 'plain')] }],
  ['fewer', { l4Routes: routes.slice(0, 2) }],
];

const unseen = (input: Partial<CompileInput>) => compile({ ...input, l4Routes: structuredClone(input.l4Routes ?? routes) });

test.each(inputs)('%s, after and before everything else', (_, input) => {
  const fresh = unseen(input);
  const { revision, ...content } = fresh.policySet;
  expect(revision).toBe(contentRevision(content));
  for (const [, between] of inputs) {
    expect(compile({ l4Routes: routes, ...between })).toEqual(unseen(between));
    expect(compile({ l4Routes: routes, ...input })).toEqual(fresh);
  }
});

test('a route that is there is the same object in the next compilation, and its change is another one', () => {
  const first = compile({ l4Routes: routes }).policySet.l4Routes;
  const changed = [l4Route({ rules: [{ matches: [{ destinationHostnames: ['new.example.com'] }] }] }, 'plain'), ...routes.slice(1)];
  const next = compile({ l4Routes: changed }).policySet.l4Routes;
  const named = (set: typeof first, name: string) => set.find(({ route }) => route.name === name);
  expect(named(next, 'agents')).toBe(named(first, 'agents'));
  expect(named(next, 'plain')).toMatchObject({ rules: [{ matches: [{ hosts: ['new.example.com'] }] }] });
});
