import { SITE } from '../../fixtures/canary/places.ts';
import { ask, OPENAI, tcp } from '../steps.ts';
import { asked, CUT, denied, OK, outside, PROVIDER, table } from './build.ts';

const JSON_TYPE = 'content-type: application/json';
const said = (name: string, what: string, ...headers: readonly string[]) => ({
  name,
  what,
  steps: [ask({ headers: [JSON_TYPE, ...headers] })],
  expect: OK,
  canary: {
    name: 'provider',
    without: ['forged', '"x-clrk', '"x-envoy', '"x-forwarded-for"', '192\\.0\\.2\\.9'],
    with: ['"authorization":"Bearer sk-proj-'],
  } as const,
});

/** What an agent says of itself changes nothing about who it is. */
export default table('identity spoofing', { canary: PROVIDER, twin: asked() }, [
  {
    ...said(
      'own-headers',
      'Headers by which parts of the proxy talk to each other.',
      'x-clrk-id: forged',
      'x-clrk-source: 192.0.2.9',
      'x-clrk-route: AIProviderRoute/default/forged',
      'x-clrk-gateway: default/forged',
    ),
    slice: true,
  },
  said('forwarded-for', 'Headers that name another source.', 'x-forwarded-for: 192.0.2.9', 'x-envoy-external-address: 192.0.2.9'),
  said(
    'envoy',
    'Headers Envoy would obey.',
    'x-envoy-original-dst-host: 192.0.2.9:443',
    'x-envoy-upstream-rq-timeout-ms: 1',
    'x-envoy-retry-on: 5xx',
    'x-envoy-decorator-operation: forged',
    'x-envoy-internal: true',
  ),
  {
    name: 'trace',
    what: 'A trace of somebody else.',
    steps: [ask({ headers: [JSON_TYPE, `traceparent: 00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`] })],
    expect: OK,
    canary: { name: 'provider', without: ['1{32}'], with: ['traceparent'] },
  },
  {
    name: 'request-id',
    what: 'A request id of its own is not the decision id.',
    steps: [ask({ headers: [JSON_TYPE, 'x-request-id: forged'] })],
    expect: OK,
    canary: { name: 'provider', without: ['"x-request-id":"forged"'] },
  },
  {
    name: 'proxy-protocol',
    what: 'A PROXY line before TLS names another source.',
    steps: [tcp(OPENAI, 443, 'PROXY TCP4 192.0.2.9 203.0.113.10 1 443\r\n{{token}}')],
    expect: CUT,
  },
  {
    name: 'proxy-protocol-v2',
    what: 'The same in binary.',
    steps: [{ tcp: { host: OPENAI, port: 443, script: [{ hex: '0d0a0d0a000d0a515549540a2111000cc0000209cb00710a000101bb' }, { text: '{{token}}' }] } }],
    expect: CUT,
  },
  {
    name: 'route-of-other',
    what: 'The route of another agent by header, where there is no way out.',
    given: 'nothing',
    steps: [ask({ headers: [JSON_TYPE, 'x-clrk-route: AIProviderRoute/default/ai', 'x-clrk-gateway: default/ai'] })],
    expect: { outcome: ['unresolved', 'closed', 'refused', 'tls-refused'] },
  },
  {
    name: 'route-within',
    what: 'Another route of the same gateway by header.',
    given: 'two',
    steps: [ask({ headers: [JSON_TYPE, 'x-clrk-route: AIProviderRoute/default/two-second'] })],
    expect: OK,
    canary: { name: 'provider', without: ['sk-second'], with: ['sk-proj-'] },
    twin: asked('two'),
  },
  {
    name: 'denied-agent',
    what: 'An agent whose route is denied says it is another.',
    given: 'denied',
    steps: [ask({ headers: [JSON_TYPE, 'x-clrk-source: 100.64.0.5', 'x-clrk-gateway: default/ai'] })],
    expect: denied(451, 'DeniedByPolicy'),
    record: { protocol: 'https', verdict: 'Denied', reason: 'DeniedByPolicy' },
  },
  {
    name: 'source-address',
    what: 'A connection from an address that is not its own.',
    steps: [{ tcp: { host: SITE, port: 7, localAddress: '100.64.0.99', script: [{ text: '{{token}}' }], until: 'data' } }],
    expect: CUT,
    canary: { name: 'site' },
    twin: outside([tcp(SITE, 7)]),
  },
]);
