import { describe, expect, test } from 'vitest';
import { refusedFetch } from '#policy';
import { compile, denyPolicy, gateway, l4Route, route, type L4MatchSpec } from './objects.ts';

/** What a provider may fetch for an agent. */

type Input = NonNullable<Parameters<typeof compile>[0]>;
const AGENTS = new Map([
  ['demo/reader', [{ team: 'docs' }]],
  ['demo/other', [{}]],
]);
const refused = (fetches: readonly string[] | undefined, asked: readonly string[], input: Input = {}, agent = 'demo/reader') => {
  const rules = [{ matches: [{ provider: 'openai' }], ...(fetches && { providerFetches: fetches }) }];
  const { policySet } = compile({ aiRoutes: [route({ rules })], agents: AGENTS, ...input });
  return refusedFetch(policySet, policySet.aiRoutes[0]!.rules[0]!, agent, asked);
};

describe('a rule', () => {
  test.each<[what: string, fetches: string[] | undefined, asked: string, refused: boolean]>([
    ['that says nothing', undefined, 'images.example', true],
    ['with the name', ['images.example'], 'images.example', false],
    ['with the name, asked for in another spelling', ['images.example'], 'IMAGES.example.', false],
    ['with a name below it', ['a.images.example'], 'images.example', true],
    ['with a pattern for one label', ['*.example'], 'images.example', false],
    ['with a pattern, for two labels', ['*.example'], 'a.images.example', true],
    ['with a pattern, for none', ['*.images.example'], 'images.example', true],
    ['with a name, for an address', ['images.example'], '203.0.113.9', true],
    ['with a name, for any host', ['images.example'], '*', true],
    ['with any host', ['*'], 'images.example', false],
    ['with any host, for an address', ['*'], '[2001:db8::1]', false],
    ['with any host, for what the provider runs', ['images.example', '*'], '*', false],
  ])('%s', (_, fetches, asked, is) => expect(refused(fetches, [asked])).toBe(is ? asked : undefined));

  test('has to have all of them', () => {
    expect(refused(['a.example', 'b.example'], ['b.example', 'a.example', 'a.example'])).toBeUndefined();
    expect(refused(['a.example', 'b.example'], ['b.example', 'c.example', 'd.example'])).toBe('c.example');
  });
});

describe('what the agent gets to itself', () => {
  const match = { destinationHostnames: ['images.example'], ports: [{ port: 443 }] };
  const listeners = [
    { name: 'tls', protocol: 'TLS' as const, tls: { mode: 'Terminate' as const } },
    { name: 'http', protocol: 'HTTP' as const, port: 80 },
  ];
  const l4 = (over: L4MatchSpec = {}): Input => ({ gateway: gateway({ listeners }), l4Routes: [l4Route({ rules: [{ matches: [{ ...match, ...over }] }] })] });

  test('the provider may fetch', () => {
    expect(refused(undefined, ['images.example', 'api.openai.com'], l4())).toBeUndefined();
    expect(refused(undefined, ['images.example'], l4({ ports: [{ port: 80 }] }))).toBeUndefined();
    expect(refused(undefined, ['whatever.example'], { gateway: gateway({ defaultPolicy: 'allow-all' }) })).toBeUndefined();
  });

  test('by a route for other names, ports or agents, or one that is denied, it may not', () => {
    expect(refused(undefined, ['other.example'], l4())).toBe('other.example');
    expect(refused(undefined, ['images.example'], l4({ ports: [{ port: 5432 }] }))).toBe('images.example');
    const docs = l4({ sourceAgents: { matchLabels: { team: 'docs' } } });
    expect(refused(undefined, ['images.example'], docs)).toBeUndefined();
    expect(refused(undefined, ['images.example'], docs, 'demo/other')).toBe('images.example');
    const denied = denyPolicy({ targetRef: { group: 'clrk.apoxy.dev', kind: 'EgressL4Route', name: 'l4' } });
    expect(refused(undefined, ['images.example'], { ...l4(), denyPolicies: [denied] })).toBe('images.example');
  });

  test('addresses, and hosts nobody names, go by no route', () => {
    const open = { gateway: gateway({ defaultPolicy: 'allow-all' }) };
    for (const host of ['*', '169.254.169.254', '203.0.113.9', '[::1]', '']) expect(refused(undefined, [host], open)).toBe(host);
  });
});
