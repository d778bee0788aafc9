import { expect, test } from 'vitest';
import { explainConnection } from '#policy';
import { compile, gateway, l4Route } from './objects.ts';

const routes = (matches: Readonly<Record<string, object>>) => Object.entries(matches).map(([name, match]) => l4Route({ rules: [{ matches: [match] }] }, name));
const listeners = [
  { name: 'raw', protocol: 'TCP' as const },
  { name: 'odd', protocol: 'TCP' as const, port: 9 },
  { name: 'udp', protocol: 'UDP' as const },
];

test('the nearest miss first: a field of a match, a listener, one label too many, another place, another gateway', () => {
  const near = compile({
    gateway: gateway({ listeners }),
    aiRoutes: [],
    l4Routes: routes({
      'a-place': { destinationHostnames: ['elsewhere.example.com'] },
      'b-range': { destinationCIDRs: ['10.0.0.0/8'] },
      'c-deep': { destinationHostnames: ['*.example.com'] },
      'd-protocol': { destinationHostnames: ['*.db.example.com'], protocol: 'UDP' },
      'e-elsewhere': { destinationHostnames: ['elsewhere.example.com'], protocol: 'UDP' },
      'f-port': { destinationHostnames: ['x.db.example.com'], ports: [{ port: 5433 }] },
    }),
  }).policySet;
  const other = { ...near, gateway: { namespace: 'demo', name: 'other' } };
  const { missed, gateway: asked } = explainConnection([near, other], {
    agent: 'demo/a',
    transport: 'TCP',
    host: 'x.db.example.com',
    port: 5432,
    speaks: 'plain',
  });
  expect(asked).toBe('demo/egress');
  const order = ['f-port', 'd-protocol', 'c-deep', 'a-place', 'b-range', 'e-elsewhere'];
  expect(missed.map((miss) => [miss.gateway, miss.route.split('/')[2]])).toEqual([
    ...order.map((name) => ['demo/egress', name]),
    ...order.map((name) => ['demo/other', name]),
  ]);
});
