import { METADATA, PORTS, PRIVATE, SITE } from '../../fixtures/canary/places.ts';
import type { Case } from '../case.ts';
import { ask, good, http1, OPENAI, over, plain, tcp, type Step } from '../steps.ts';
import type { VariantName } from '../variants.ts';
import { ANSWERED, asked, CUT, denied, OK, outside, PROVIDER, table, type Row } from './build.ts';
import { SEEN, get, request, udp, record, through, named, byAddress, peek, BLOCKED } from './l4-build.ts';

const claimed = table(
  'identity mismatch',
  { needs: 'l4', given: 'claims', canary: SEEN, twin: through('claims', tcp('allowed.test', PORTS.echo), ANSWERED), expect: BLOCKED },
  [
    {
      name: 'claim-raw',
      what: 'A host an AI route claims, raw on another port, where a route admits any name.',
      steps: [tcp(OPENAI, PORTS.echo)],
      expect: CUT,
    },
    { name: 'claim-cleartext', what: 'The same in cleartext.', steps: [plain({}, { host: OPENAI })] },
    {
      name: 'claim-other-path',
      what: 'The same over TLS, another endpoint.',
      steps: [over(http1({ path: '/v1/files' }), { host: OPENAI })],
      expect: denied(403),
    },
    { name: 'claim-other-port', what: 'The same over TLS on another port.', steps: [over(http1(), { host: OPENAI, port: 8_443 })] },
    { name: 'claim-mcp', what: 'A host an MCP route claims, raw.', steps: [tcp('mcp.test', PORTS.echo)], expect: CUT },
    { name: 'claim-mcp-tls', what: 'The same over TLS.', steps: [over(get('mcp.test'), { host: 'mcp.test' })] },
  ],
);

const open = table('other protocols', { needs: 'l4', given: 'all', canary: SEEN, twin: through('all', request('allowed.test')), expect: BLOCKED }, [
  { name: 'all-metadata', what: 'Everything is allowed, but not the metadata service.', steps: [plain({}, { host: METADATA })], slice: true },
  { name: 'all-metadata-name', what: 'Nor a name that resolves to it.', steps: [request('metadata.test')] },
  { name: 'all-private', what: 'Nor private addresses.', steps: [tcp(PRIVATE, PORTS.echo)] },
  { name: 'all-loopback', what: 'Nor a name that resolves to loopback.', steps: [request('loopback.test')] },
  { name: 'all-worker', what: 'Nor the machine of the proxy.', steps: [tcp('{{host}}', '{{hostPort}}')] },
  { name: 'all-neighbour', what: 'Nor other sandboxes.', steps: [tcp('{{neighbour}}', '{{neighbourPort}}')] },
  { name: 'all-datagram', what: 'Nor datagrams without a listener for them.', steps: [udp(SITE, PORTS.echo)], expect: { outcome: ['refused', 'silence'] } },
  {
    name: 'all-resolver',
    what: 'Nor other resolvers.',
    steps: [{ dns: { name: 'denied.test', server: '10.213.0.2', type: 'TXT' } }],
    expect: { outcome: ['unresolved', 'no-data', 'sinkhole'] },
  },
  {
    name: 'all-denied',
    what: 'A denied host stays denied.',
    steps: [request('denied.test')],
    expect: denied(451, 'DeniedByPolicy'),
    record: record('DeniedByPolicy'),
  },
  { name: 'all-denied-raw', what: 'Also raw.', steps: [tcp('denied.test', PORTS.echo)], expect: CUT },
  {
    name: 'all-claimed',
    what: 'A host an AI route claims is judged by it alone.',
    steps: [over(http1({ path: '/v1/files' }), { host: OPENAI })],
    expect: denied(403),
  },
  { name: 'all-claimed-raw', what: 'Also raw.', steps: [tcp(OPENAI, PORTS.echo)], expect: CUT },
  { name: 'all-mcp', what: 'A host an MCP route claims.', steps: [request('mcp.test')] },
  { name: 'all-front', what: 'Another host inside than outside.', steps: [over(get('second.test'), { host: 'allowed.test' })], expect: denied(421) },
]);

const other = table('identity spoofing', { needs: 'l4', given: 'agents', canary: SEEN, twin: through('friend', request('allowed.test')), expect: BLOCKED }, [
  { name: 'agent-label', what: 'A route for agents with another label.', steps: [request('allowed.test')], record: record(['NoRoute', 'NotAdmitted']) },
  {
    name: 'agent-address',
    what: 'The address a name has for another agent.',
    steps: [over(get('allowed.test'), { host: '{{friendAddress}}', servername: 'allowed.test' })],
  },
]);

const shared = table('identity mismatch', { needs: 'l4', given: 'denied-names', canary: SEEN, twin: named, expect: denied(451, 'DeniedByPolicy') }, [
  {
    name: 'denied-route',
    what: 'A route that is denied, though another one admits the same.',
    steps: [request('allowed.test')],
    record: record('DeniedByPolicy'),
  },
  { name: 'missing-extension', what: 'A rule with a policy that is not there.', steps: [request('second.test')], expect: denied([403, 503]) },
]);

const upstreams = table(
  'ca',
  { needs: 'l4', given: 'names', canary: { name: 'badcert', without: ['"event":"(hello|request)"'] }, expect: denied(502, 'UpstreamCertificateInvalid') },
  (['expired', 'wrong-name', 'unknown-ca'] as const).map(
    (name) =>
      ({
        name: `names-${name}`,
        what: `A route by name to an upstream whose certificate is of this kind: ${name}.`,
        steps: [request(`${name}.test`)],
        twin: outside([{ tls: { host: '203.0.113.21', port: 443, servername: 'allowed.test', script: [{ text: get('allowed.test') }], until: 'answer' } }], OK),
      }) as const,
  ),
);

/** 60 writes, each with the token, so that what is still open is seen. */
const CHATTER = Array.from({ length: 60 }, () => [{ text: '{{token}}' }, { pause: 200 }]).flat();
const chat = (given: VariantName, name: string, what: string, step: Step, twin: Case['twin'], more: Partial<Row> = {}): Row => ({
  name,
  what,
  given,
  steps: [step],
  change: 'deny',
  expect: { outcome: ['answer', 'closed', 'http-status'], withinMs: 4_000 },
  twin,
  ...more,
});
/** A text of one sentence, long enough to be said back for ten seconds. */
const LONG = `${Array.from({ length: 60 }, (_, n) => `word${String.fromCharCode(97 + (n % 26))}`).join(' ')}.`;
const breakGlass = table('break-glass', { needs: 'l4', canary: SEEN }, [
  chat(
    'ai',
    'stream',
    'A streamed answer of a provider.',
    ask(
      {
        body: JSON.stringify({ ...good, model: 'gpt-4.1-slow', stream: true, max_completion_tokens: 60, messages: [{ role: 'user', content: LONG }] }),
        close: false,
      },
      { forMs: 15_000 },
    ),
    asked(),
    { canary: PROVIDER },
  ),
  chat(
    'tcp',
    'tcp',
    'A TCP connection that is open when its route is denied.',
    { tcp: { host: SITE, port: PORTS.echo, script: CHATTER, forMs: 15_000 } },
    byAddress,
  ),
  chat(
    'tcp',
    'tcp-name',
    'The same by name.',
    { tcp: { host: 'allowed.test', port: PORTS.echo, script: CHATTER, forMs: 15_000 } },
    through('tcp', tcp('allowed.test', PORTS.echo), ANSWERED),
  ),
  chat(
    'passthrough',
    'passthrough',
    'A TLS connection nobody looks into.',
    {
      tls: {
        host: 'allowed.test',
        port: 443,
        servername: 'allowed.test',
        alpn: ['http/1.1'],
        script: [
          { text: `POST /{{token}} HTTP/1.1\r\nhost: allowed.test\r\ntransfer-encoding: chunked\r\n\r\n` },
          ...Array.from({ length: 60 }, () => [{ text: '9\r\n{{token}}\r\n' }, { pause: 200 }]).flat(),
        ],
        forMs: 15_000,
      },
    },
    peek,
  ),
  chat(
    'names',
    'upload',
    'A request that is being sent.',
    {
      tls: {
        host: 'allowed.test',
        port: 443,
        servername: 'allowed.test',
        alpn: ['http/1.1'],
        script: [
          { text: `POST /{{token}} HTTP/1.1\r\nhost: allowed.test\r\ntransfer-encoding: chunked\r\n\r\n` },
          ...Array.from({ length: 60 }, () => [{ text: '9\r\n{{token}}\r\n' }, { pause: 200 }]).flat(),
        ],
        forMs: 15_000,
      },
    },
    named,
  ),
]);

export default [...claimed, ...open, ...other, ...shared, ...upstreams, ...breakGlass];
