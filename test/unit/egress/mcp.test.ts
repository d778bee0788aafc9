import { expect, test } from 'vitest';
import { silentLogger, systemClock } from '#lib';
import { rawTargets } from '#policy';
import { GatewayCredentials } from '../../../src/egress/credentials/gateway-credentials.ts';
import { chainsAt } from '../../../src/egress/translate/matching.ts';
import { compile, credentialPolicy, gateway, l4Route, mcpRoute } from '../policy/objects.ts';

const mcpRoutes = [mcpRoute({ hostnames: ['mcp.test', '*.tools.test'] })];

test('the value of the credential of an MCPRoute is brought to Envoy', () => {
  const { policySet, credentials } = compile({
    aiRoutes: [],
    mcpRoutes,
    credentialPolicies: [credentialPolicy({ parentRefs: [{ kind: 'MCPRoute', name: 'mcp' }] })],
  });
  using held = new GatewayCredentials({
    request: () => Promise.reject(new Error('none is asked for')),
    changed: () => {},
    clock: systemClock,
    log: silentLogger,
  });
  held.set(policySet, credentials);
  expect([...held.secrets]).toEqual([['cred:demo/key', 'Bearer sk-real']]);
});

test('of listeners that end TLS and others that pass it on, hosts of an MCPRoute go to the first', () => {
  const listeners = [
    { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } },
    { name: 'pass', protocol: 'TLS', tls: { mode: 'Passthrough' } },
  ] as const;
  const { policySet } = compile({ gateway: gateway({ listeners }), aiRoutes: [], mcpRoutes });
  expect(JSON.stringify(chainsAt(policySet, undefined, true))).toContain('"domains":["*.tools.test","mcp.test"]');
});

test('hosts of an MCPRoute are never relayed unread, also where an L4 route at a tcp listener names them', () => {
  const listeners = [
    { name: 'term', protocol: 'TLS', tls: { mode: 'Terminate' } },
    { name: 'tcp', protocol: 'TCP' },
  ] as const;
  const parentRefs = [{ kind: 'EgressGateway', name: 'egress', sectionName: 'tcp' }];
  const hosts = ['mcp.test', 'a.tools.test', 'db.test'];
  const { policySet } = compile({
    gateway: gateway({ listeners }),
    aiRoutes: [],
    mcpRoutes,
    l4Routes: [l4Route({ parentRefs, rules: [{ matches: [{ destinationHostnames: hosts }] }] })],
  });
  expect(rawTargets(policySet).flatMap((target) => target.hosts)).toEqual(['db.test']);
});
