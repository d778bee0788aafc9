import { expect, test } from 'vitest';
import { chainsAt } from '../../../src/egress/translate/matching.ts';
import { compile, gateway, l4Route } from '../policy/objects.ts';

const LISTENERS = [
  { name: 'https', protocol: 'HTTPS' },
  { name: 'tcp', protocol: 'TCP' },
] as const;
const parentRefs = [{ kind: 'EgressGateway', name: 'egress', sectionName: 'tcp' }];

/** Which chain takes connections to a name, when a rule at the tcp listener is about these ports of any destination. */
const chains = (ports: readonly object[], port?: number): string => {
  const l4Routes = [l4Route({ parentRefs, rules: [{ matches: [{ ports }] }] })];
  return JSON.stringify(chainsAt(compile({ gateway: gateway({ listeners: LISTENERS }), aiRoutes: [], l4Routes }).policySet, port, true));
};

test('a rule for single ports of any destination chooses the listener for these ports, and for no others', () => {
  expect(chains([{ port: 8080 }], 8080)).toContain('"tcps"');
  expect(chains([{ port: 8080 }])).not.toContain('"tcps"');
  expect(chains([{ startPort: 8000, endPort: 8999 }])).toContain('"tcps"');
});
