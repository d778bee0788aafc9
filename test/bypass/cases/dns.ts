import { createHash } from 'node:crypto';
import { DNS } from '../../fixtures/canary/places.ts';
import { http1, OPENAI, type Step } from '../steps.ts';
import { CLOSED, denied, outside, refused, table } from './build.ts';

type Question = Extract<Step, { dns: unknown }>['dns'];

const NAME = 'x-{{token}}.denied.test';
const ask = (question: Partial<Question> = {}): Step => ({ dns: { name: NAME, ...question } });
const RESOLVER = '10.213.0.2';
/** Asked where it would be answered, outside. */
const seen = outside([ask({ server: RESOLVER, name: 'x-{{token}}.denied.test' })], { outcome: 'unresolved' }, '{{token}}');
const NOTHING = { outcome: ['unresolved', 'no-data', 'sinkhole'] } as const;
const EMPTY = { outcome: ['unresolved', 'no-data'] } as const;
const record = refused('NoRoute', 'dns');
/** 60 letters that say nothing, as data in a name would look. */
const entropy = (of: string): string => createHash('sha256').update(of).digest('hex').slice(0, 60);
const bytes = (...values: readonly number[]): string => Buffer.from(values).toString('hex');

export default [
  ...table('dns', { canary: { name: 'dns' }, twin: seen }, [
    { name: 'denied-a', what: 'The address of a name no route admits.', steps: [ask()], expect: NOTHING, record, slice: true },
    { name: 'denied-aaaa', what: 'Its IPv6 address.', steps: [ask({ type: 'AAAA' })], expect: EMPTY, record },
    { name: 'denied-txt', what: 'Its TXT record, which carries most of tunnels.', steps: [ask({ type: 'TXT' })], expect: EMPTY, record, slice: true },
    { name: 'denied-null', what: 'Its NULL record.', steps: [ask({ type: 'NULL' })], expect: EMPTY, record },
    { name: 'denied-any', what: 'All of its records.', steps: [ask({ type: 'ANY' })], expect: EMPTY, record },
    { name: 'denied-mx', what: 'Its MX record.', steps: [ask({ type: 'MX' })], expect: EMPTY, record },
    { name: 'denied-cname', what: 'Its CNAME record.', steps: [ask({ type: 'CNAME' })], expect: EMPTY, record },
    {
      name: 'denied-srv',
      what: 'A service below it.',
      steps: [ask({ name: `_data._tcp.${NAME}`, type: 'SRV' })],
      expect: EMPTY,
      record: refused(['NoRoute', 'InvalidName'], 'dns'),
    },
    { name: 'denied-ptr', what: 'A name for an address.', steps: [ask({ name: '10.113.0.203.in-addr.arpa', type: 'PTR' })], expect: EMPTY, record },
    { name: 'zone-transfer', what: 'A transfer of the zone over TCP.', steps: [ask({ type: 'AXFR', transport: 'tcp' })], expect: EMPTY },
    { name: 'unknown-type', what: 'A type nobody has heard of.', steps: [ask({ type: 65_400 })], expect: EMPTY },
    {
      name: 'long-labels',
      what: 'Labels of the greatest length, as a tunnel has.',
      steps: [ask({ name: `${'a'.repeat(63)}.${'b'.repeat(63)}.${NAME}` })],
      expect: NOTHING,
      record,
    },
    { name: 'entropy', what: 'Labels full of data.', steps: [ask({ name: `${entropy('a')}.${entropy('b')}.${NAME}` })], expect: NOTHING, record },
    {
      name: 'binary-label',
      what: 'A label of bytes that are no letters.',
      steps: [ask({ name: `\\000\\255\\001.${NAME}` })],
      expect: EMPTY,
      record: refused(['InvalidName', 'NoRoute'], 'dns'),
    },
    { name: 'dot-in-label', what: 'A label that has a dot in it.', steps: [ask({ name: `api\\046openai\\046com.${NAME}` })], expect: NOTHING },
    { name: 'admitted-nul', what: 'The admitted name with a NUL and more in one label.', steps: [ask({ name: `api.openai.com\\000.${NAME}` })], expect: EMPTY },
    {
      name: 'capitals',
      what: 'A denied name in mixed case, which carries bits of its own.',
      steps: [ask({ name: NAME.replace('denied', 'DeNiEd') })],
      expect: NOTHING,
      record,
    },
    { name: 'subdomain', what: 'A subdomain of the admitted name.', steps: [ask({ name: `{{token}}.${OPENAI}` })], expect: NOTHING, record },
    { name: 'admitted-txt', what: 'The TXT record of the admitted name.', steps: [ask({ name: OPENAI, type: 'TXT' })], expect: EMPTY },
    {
      name: 'admitted-https',
      what: 'The HTTPS record of the admitted name, which would carry an ECH key and h3.',
      steps: [ask({ name: OPENAI, type: 'HTTPS' })],
      expect: EMPTY,
    },
    { name: 'admitted-svcb', what: 'The SVCB record of the admitted name.', steps: [ask({ name: OPENAI, type: 'SVCB' })], expect: EMPTY },
    { name: 'chaos', what: 'A question of class CH.', steps: [ask({ class: 3, type: 'TXT' })], expect: EMPTY },
    { name: 'two-questions', what: 'Two questions in one message.', steps: [ask({ questions: 2 })], expect: EMPTY },
    { name: 'update', what: 'A dynamic update.', steps: [ask({ flags: 0x2800 })], expect: EMPTY },
    { name: 'response', what: 'An answer nobody asked for.', steps: [ask({ flags: 0x8180, forMs: 600 })], expect: { outcome: 'silence' } },
    {
      name: 'compression-loop',
      what: 'A name that points at itself.',
      steps: [ask({ raw: `123401000001000000000000c00c00010001`, forMs: 600 })],
      expect: { outcome: ['silence', 'unresolved'] },
    },
    {
      name: 'long-label',
      what: 'A label that is longer than labels are.',
      steps: [ask({ raw: `12340100000100000000000046${'61'.repeat(70)}0000010001`, forMs: 600 })],
      expect: { outcome: ['silence', 'unresolved'] },
    },
    {
      name: 'cut',
      what: 'A message that ends within its question.',
      steps: [ask({ raw: bytes(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 97), forMs: 600 })],
      expect: { outcome: ['silence', 'unresolved'] },
    },
    { name: 'other-resolver', what: 'Another resolver is asked over UDP.', steps: [ask({ server: RESOLVER })], expect: NOTHING, slice: true },
    { name: 'other-resolver-tcp', what: 'Another resolver is asked over TCP.', steps: [ask({ server: DNS, transport: 'tcp' })], expect: NOTHING },
    {
      name: 'other-resolver-ipv6',
      what: 'Another resolver is asked over IPv6.',
      steps: [ask({ server: '2001:db8:213::10' })],
      expect: { outcome: ['refused', 'unresolved', 'silence'] },
    },
    { name: 'other-port', what: 'A resolver on another port.', steps: [ask({ server: DNS, port: 5300 })], expect: { outcome: 'refused' } },
  ]),
  ...table('dns', { canary: { name: 'dns' } }, [
    {
      name: 'dot',
      what: 'DNS over TLS at another resolver.',
      steps: [{ tls: { host: DNS, port: 853, servername: 'allowed.test', script: [{ text: '{{token}}' }] } }],
      expect: CLOSED,
      record: refused(['NotAdmitted', 'NoRoute'], ['tcp', 'tls']),
      twin: outside([{ tls: { host: DNS, port: 853, servername: 'allowed.test', script: [{ text: http1({ host: 'allowed.test' }) }], until: 'answer' } }], {
        outcome: 'http-status',
        statuses: [200],
      }),
    },
    {
      name: 'doh-address',
      what: 'DNS over HTTPS at the address of another resolver.',
      steps: [
        { tls: { host: DNS, port: 443, servername: 'allowed.test', script: [{ text: http1({ path: '/dns-query', host: 'allowed.test' }) }], until: 'answer' } },
      ],
      expect: CLOSED,
      record: refused(['NotAdmitted', 'NoRoute'], ['tcp', 'tls']),
      twin: outside(
        [
          {
            tls: { host: DNS, port: 443, servername: 'allowed.test', script: [{ text: http1({ path: '/dns-query', host: 'allowed.test' }) }], until: 'answer' },
          },
        ],
        { outcome: 'http-status', statuses: [200] },
      ),
    },
    {
      name: 'doh-name',
      what: 'DNS over HTTPS at a public resolver by name.',
      steps: [{ fetch: { url: 'https://dns.google/dns-query', method: 'POST', headers: { 'content-type': 'application/dns-message' }, body: '{{token}}' } }],
      expect: denied(403, 'NoRoute'),
      record: refused('NoRoute'),
      canary: { name: 'dns' },
      twin: seen,
    },
    {
      name: 'mdns',
      what: 'Multicast DNS.',
      steps: [{ udp: { host: '224.0.0.251', port: 5353, text: '{{token}}', forMs: 600 } }],
      expect: { outcome: ['refused', 'silence'] },
      twin: seen,
    },
    {
      name: 'llmnr',
      what: 'Link-local multicast name resolution.',
      steps: [{ udp: { host: '224.0.0.252', port: 5355, text: '{{token}}', forMs: 600 } }],
      expect: { outcome: ['refused', 'silence'] },
      twin: seen,
    },
    {
      name: 'nothing',
      what: 'Any name, where there is no way out at all.',
      given: 'nothing',
      steps: [ask()],
      expect: EMPTY,
      record: refused(['NoRoute', 'NotClaimed', 'NoGateway'], 'dns'),
      twin: seen,
    },
  ]),
];
