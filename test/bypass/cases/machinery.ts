import { PORTS, SITE } from '../../fixtures/canary/places.ts';
import type { Case } from '../case.ts';
import { ask, CHAT, http1, OPENAI, over, tcp, type Step } from '../steps.ts';
import { asked, denied, OK, PROVIDER, refused, table, type Row } from './build.ts';

const WAITED = { withinMs: 20_000 };
const denial = (name: string): Step => over(http1({ host: `${name}-{{token}}.test` }), { host: `${name}-{{token}}.test` });

/** A sandbox that takes more than its share is cut at its own limit. */
const exhaustion = table('exhaustion', { canary: PROVIDER, twin: asked(), alone: true }, [
  {
    name: 'names',
    what: 'Questions for ever new names.',
    steps: [{ repeat: { count: 40, step: { dns: { name: 'n{{n}}-{{token}}.test' } } } }, { dns: { name: 'last-{{token}}.test' } }],
    expect: { outcome: 'unresolved', ...WAITED },
    record: refused('TooManyNames', 'dns'),
  },
  {
    name: 'leaves',
    what: 'Ever new names over TLS, each of which wants a certificate.',
    steps: [{ repeat: { count: 30, step: { fetch: { url: 'https://n{{n}}-{{token}}.test/' } } } }, denial('last')],
    expect: { outcome: 'unresolved', ...WAITED },
    record: refused('TooManyNames', 'dns'),
  },
  {
    name: 'questions',
    what: 'Hundreds of questions at once: some may be dropped, the next one is answered.',
    steps: [{ crowd: { count: 300, step: { dns: { name: OPENAI, forMs: 800 } } } }, { dns: { name: OPENAI } }],
    expect: { outcome: 'sinkhole', ...WAITED },
  },
  {
    name: 'connections',
    what: 'More connections than a sandbox may have: the rest is refused.',
    steps: [{ crowd: { count: 1_300, step: { tcp: { host: SITE, port: 1_000, script: [{ text: '\x16' }], forMs: 1_000 } } } }],
    expect: { outcome: 'value', says: 'ECONNREFUSED|ECONNRESET|reset', ...WAITED },
  },
  {
    name: 'large-header',
    what: 'A header of 100 KB.',
    steps: [ask({ headers: ['content-type: application/json', `x-large: ${'a'.repeat(100_000)}`] })],
    expect: denied([400, 413, 431]),
  },
  {
    name: 'many-headers',
    what: 'Two hundred headers.',
    steps: [ask({ headers: ['content-type: application/json', ...Array.from({ length: 200 }, (_, n) => `x-${n}: 1`)] })],
    expect: denied([400, 431]),
  },
  { name: 'long-path', what: 'A path of 100 KB.', steps: [ask({ path: `${CHAT}?${'a'.repeat(100_000)}` })], expect: denied([400, 413, 414, 431]) },
  {
    name: 'large-body',
    what: 'A body of 40 MB.',
    steps: [
      {
        tls: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          alpn: ['http/1.1'],
          script: [
            { text: `POST ${CHAT} HTTP/1.1\r\nhost: ${OPENAI}\r\ncontent-type: application/json\r\ncontent-length: 40000000\r\nconnection: close\r\n\r\n` },
            { fill: ' ', count: 40_000_000 },
          ],
          until: 'answer',
          forMs: 15_000,
        },
      },
    ],
    expect: { outcome: ['http-status', 'closed'], statuses: [413], ...WAITED },
  },
  { name: 'nesting', what: 'A body of thousands of brackets.', steps: [ask({ body: `${'['.repeat(5_000)}${']'.repeat(5_000)}` })], expect: denied(400) },
  {
    name: 'streams',
    what: 'Hundreds of HTTP/2 streams at once.',
    steps: [
      {
        h2: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          expect: [1],
          frames: Array.from(
            { length: 300 },
            (_, n) =>
              ({
                headers: [
                  [':method', 'GET'],
                  [':scheme', 'https'],
                  [':authority', OPENAI],
                  [':path', '/v1/files'],
                ],
                stream: n * 2 + 1,
              }) as const,
          ),
        },
      },
    ],
    expect: { outcome: ['http-status', 'stream-reset', 'closed'], statuses: [403] },
  },
  {
    name: 'rapid-reset',
    what: 'Streams that are opened and reset, again and again.',
    steps: [
      {
        h2: {
          host: OPENAI,
          port: 443,
          servername: OPENAI,
          expect: [999],
          forMs: 2_000,
          frames: Array.from({ length: 400 }, (_, n) => [
            {
              headers: [
                [':method', 'GET'],
                [':scheme', 'https'],
                [':authority', OPENAI],
                [':path', '/v1/files'],
              ],
              stream: n * 2 + 1,
            } as const,
            { raw: `0000040300${(n * 2 + 1).toString(16).padStart(8, '0')}00000008` },
          ]).flat(),
        },
      },
    ],
    expect: { outcome: ['http-status', 'stream-reset', 'closed'], statuses: [403] },
  },
]);

/** A program that has not been given its event has no way out. */
const early = (name: string, what: string, step: Step, protocol: string, canary: Case['canary'], twin: Case['twin']): Row => ({
  name,
  what,
  from: 'early',
  steps: [step],
  expect: { outcome: 'value', says: 'StartsBeforeEvent', withinMs: 40_000 },
  record: refused('NotClaimed', protocol),
  canary,
  twin,
});
const name: Step = { dns: { name: 'early-{{token}}.denied.test' } };
const unclaimed = table('not yet claimed', {}, [
  { ...early('admitted', 'A request to the admitted host.', ask(), 'dns', PROVIDER, asked()), slice: true },
  early(
    'address',
    'TCP to a public address.',
    tcp(SITE, PORTS.echo),
    'tcp',
    { name: 'site' },
    { attempt: { given: 'ai', from: 'outside', steps: [tcp(SITE, PORTS.echo)] }, expect: { outcome: 'answer' } },
  ),
  early(
    'metadata',
    'TCP to the metadata service.',
    tcp('169.254.169.254', 80),
    'tcp',
    { name: 'metadata' },
    { attempt: { given: 'ai', from: 'outside', steps: [tcp('169.254.169.254', PORTS.echo)] }, expect: { outcome: 'answer' } },
  ),
  early(
    'dns',
    'A question.',
    name,
    'dns',
    { name: 'dns' },
    {
      attempt: { given: 'ai', from: 'outside', steps: [{ dns: { name: 'early-{{token}}.denied.test', server: '10.213.0.2' } }] },
      expect: { outcome: 'unresolved' },
      sees: '{{token}}',
    },
  ),
  early(
    'datagram',
    'A datagram, and then a question.',
    { series: [{ udp: { host: SITE, port: PORTS.echo, text: '{{token}}', forMs: 300 } }, name] },
    'dns',
    { name: 'site' },
    { attempt: { given: 'ai', from: 'outside', steps: [{ udp: { host: SITE, port: PORTS.echo, text: '{{token}}' } }] }, expect: { outcome: 'answer' } },
  ),
]);

/** The ingress answers those who mean this machine, not web pages a browser on it has open. */
const invoke = (...headers: readonly string[]): Step => ({
  tcp: {
    host: '127.0.0.1',
    port: '{{ingress}}',
    script: [
      {
        text: ['POST /default/web HTTP/1.1', 'content-type: application/json', 'content-length: 12', 'connection: close', ...headers, '', '{"steps":[]}'].join(
          '\r\n',
        ),
      },
    ],
    until: 'answer',
    forMs: 15_000,
  },
});
const HOST = 'host: 127.0.0.1:{{ingress}}';
const pages = table(
  'local web pages',
  {
    given: 'web',
    from: 'outside',
    canary: { name: 'runs' },
    expect: denied([400, 403, 415, 421]),
    twin: { attempt: { given: 'web', from: 'outside', steps: [invoke(HOST)] }, expect: OK },
  },
  [
    { name: 'rebound-host', what: 'A page whose name was pointed at loopback.', steps: [invoke('host: evil.test:{{ingress}}')], slice: true },
    { name: 'suffix-host', what: 'A name that begins like loopback.', steps: [invoke('host: 127.0.0.1.evil.test:{{ingress}}')] },
    { name: 'no-host', what: 'No Host at all.', steps: [invoke()] },
    { name: 'two-hosts', what: 'Two Host headers.', steps: [invoke(HOST, 'host: evil.test')] },
    { name: 'origin', what: 'A page of another origin.', steps: [invoke(HOST, 'origin: https://evil.test')] },
    { name: 'null-origin', what: 'A page without an origin.', steps: [invoke(HOST, 'origin: null')] },
    { name: 'other-port', what: 'A page of another port of loopback.', steps: [invoke(HOST, 'origin: http://127.0.0.1:1')] },
    { name: 'fetch-site', what: 'A request the browser says is cross-site.', steps: [invoke(HOST, 'sec-fetch-site: cross-site')] },
    { name: 'same-site', what: 'A request from another origin of the same site.', steps: [invoke(HOST, 'sec-fetch-site: same-site')] },
    { name: 'form', what: 'A form of an old browser.', steps: [invoke(HOST, 'referer: https://evil.test/form', 'upgrade-insecure-requests: 1')] },
  ],
);

/** A part that is away lets nothing through, and comes back by itself. */
const AWAY = { outcome: ['http-status', 'closed', 'timeout', 'unresolved', 'refused', 'tls-refused', 'silence'] } as const;
const frozen = (part: NonNullable<Case['during']>['part'], what: string): Row => ({
  name: `${part}-frozen`,
  what,
  steps: asked().attempt.steps,
  during: { part, how: 'frozen' },
  expect: { ...AWAY, statuses: [503, 504] },
});
const killed = (part: NonNullable<Case['during']>['part'], what: string): Row => ({
  name: `${part}-killed`,
  what,
  steps: [ask({ path: '/v1/files' })],
  during: { part, how: 'killed' },
  expect: { ...AWAY, statuses: [403, 500, 502, 503, 504] },
});
const failure = table('failure', { canary: PROVIDER, twin: asked() }, [
  frozen('policy-engine', 'While the policy engine stands still, nothing is let through.'),
  frozen('ledger', 'While the ledger stands still, nothing with a budget is let through.'),
  frozen('proxy', 'While the proxy stands still, nothing is let through.'),
  killed('policy-engine', 'The policy engine is killed: what is denied stays denied, what is allowed comes back.'),
  killed('proxy', 'The proxy is killed.'),
  killed('control-plane', 'The control plane is killed.'),
  killed('dns', 'The part that answers names is killed.'),
  killed('recorder', 'The recorder is killed.'),
]);

export default [...exhaustion, ...unclaimed, ...pages, ...failure];
