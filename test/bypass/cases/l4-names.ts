import { OTHER, SITE } from '../../fixtures/canary/places.ts';
import { headers2, http1, over, tcp, type Step } from '../steps.ts';
import { ANSWERED, CLOSED, CUT, denied, table } from './build.ts';
import { SEEN, get, request, hello, record, anyDenial, through, named, peek, BLOCKED } from './l4-build.ts';

const hidden = { expect: CLOSED, record: record('HiddenServerName') };
const ech = table('ech', { needs: 'l4', given: 'passthrough', canary: SEEN, twin: peek }, [
  {
    name: 'real',
    what: 'A hello with an encrypted inner hello, the admitted name outside.',
    steps: [hello('allowed.test', 'allowed.test', { ech: 'real' })],
    ...hidden,
    slice: true,
  },
  { name: 'grease', what: 'The same with what only looks like one.', steps: [hello('allowed.test', 'allowed.test', { ech: 'grease' })], ...hidden },
  { name: 'split', what: 'The same in two TLS records.', steps: [hello('allowed.test', 'allowed.test', { ech: 'real', split: 100 })], expect: CLOSED },
  { name: 'outer-denied', what: 'A denied name outside.', steps: [hello('allowed.test', 'denied.test', { ech: 'real' })], expect: CLOSED },
  { name: 'no-name', what: 'No name outside.', steps: [hello('allowed.test', '', { ech: 'real' })], expect: CLOSED },
  {
    name: 'address',
    what: 'An admitted address with a hidden name.',
    steps: [hello(OTHER, 'other.test', { ech: 'real' })],
    expect: CLOSED,
    canary: { name: 'other' },
    twin: through('passthrough', hello(OTHER, 'other.test'), ANSWERED),
  },
  {
    name: 'terminated',
    what: 'Where TLS is terminated, the outer name is all there is: nothing leaves.',
    given: 'names',
    steps: [hello('allowed.test', 'allowed.test', { ech: 'real' })],
    expect: { outcome: ['answer', 'closed', 'tls-refused'] },
    twin: named,
  },
]);

const fronting = table('domain fronting', { needs: 'l4', given: 'passthrough', canary: SEEN, twin: peek, expect: CLOSED }, [
  {
    name: 'passthrough-other-name',
    what: 'Passthrough: another admitted name at the address of the first.',
    steps: [hello('allowed.test', 'second.test')],
    record: record('ServerNameMismatch'),
    slice: true,
  },
  {
    name: 'passthrough-denied-name',
    what: 'Passthrough: a denied name at the address of an admitted one.',
    steps: [hello('allowed.test', 'denied.test')],
    record: record(['ServerNameMismatch', 'NoRoute']),
  },
  { name: 'passthrough-no-name', what: 'Passthrough: no name at the address of an admitted one.', steps: [hello('allowed.test', '')] },
  { name: 'passthrough-address', what: 'Passthrough: an admitted name at an address of our choice.', steps: [hello(SITE, 'allowed.test')], record: anyDenial },
  {
    name: 'passthrough-case',
    what: 'Passthrough: the admitted name with a trailing dot is no other name.',
    steps: [hello('allowed.test', 'allowed.test.')],
    expect: { outcome: ['closed', 'tls-refused', 'answer'] },
    canary: { name: 'site', without: ['second|denied'] },
  },
  { name: 'passthrough-twice', what: 'Passthrough: two names in one hello.', steps: [hello('allowed.test', 'allowed.test', { second: 'denied.test' })] },
  { name: 'passthrough-plain', what: 'Passthrough: no TLS at all.', steps: [tcp('allowed.test', 443)], expect: CUT },
  { name: 'passthrough-port', what: 'Passthrough: another port.', steps: [{ hello: { host: 'allowed.test', port: 8_443, servername: 'allowed.test' } }] },
  {
    name: 'terminate-sni',
    what: 'Termination: another admitted name in the hello.',
    given: 'names',
    steps: [over(get('second.test'), { host: 'allowed.test', servername: 'second.test' })],
    expect: BLOCKED,
    record: record(['AddressMismatch', 'HostMismatch', 'NoRoute', 'NotAdmitted']),
    twin: named,
  },
  {
    name: 'terminate-host',
    what: 'Termination: another admitted name as Host.',
    given: 'names',
    steps: [over(get('second.test'), { host: 'allowed.test' })],
    expect: denied(421),
    record: record(['HostMismatch', 'AddressMismatch']),
    twin: named,
  },
]);

const wildcards = table('identity mismatch', { needs: 'l4', given: 'wild', canary: SEEN, twin: through('wild', request('one.wild.test')), expect: BLOCKED }, [
  {
    name: 'wild-two-labels',
    what: 'A wildcard stands for one label, not two.',
    steps: [request('deep.one.wild.test')],
    record: record(['NoRoute', 'NotAdmitted']),
  },
  { name: 'wild-none', what: 'A wildcard stands for one label, not none.', steps: [request('wild.test')], record: record(['NoRoute', 'NotAdmitted']) },
  { name: 'wild-suffix', what: 'A name that ends like the wildcard without a dot.', steps: [request('evilwild.test')] },
  {
    name: 'wild-host',
    what: 'Another name of the same wildcard as Host.',
    steps: [over(get('two.wild.test'), { host: 'one.wild.test' })],
    expect: denied(421),
  },
  {
    name: 'wild-sni',
    what: 'Another name of the same wildcard in hello and Host.',
    steps: [over(get('two.wild.test'), { host: 'one.wild.test', servername: 'two.wild.test' })],
  },
  {
    name: 'wild-star',
    what: 'The wildcard itself as a name.',
    steps: [{ hello: { host: 'one.wild.test', port: 443, servername: '*.wild.test' } }],
    expect: CLOSED,
  },
]);

const reuse = table('connection reuse', { needs: 'l4', given: 'names', canary: SEEN, twin: named }, [
  {
    name: 'l4-coalescing',
    what: 'Two admitted hosts with one certificate and one address, on one HTTP/2 connection.',
    steps: [
      {
        h2: {
          host: 'allowed.test',
          port: 443,
          servername: 'allowed.test',
          frames: [{ headers: headers2({ ':authority': 'second.test', ':method': 'GET' }), stream: 1 }],
        },
      },
    ],
    expect: denied(421),
  },
  {
    name: 'l4-keep-alive',
    what: 'The same on one HTTP/1.1 connection.',
    steps: [
      {
        tls: {
          host: 'allowed.test',
          port: 443,
          servername: 'allowed.test',
          alpn: ['http/1.1'],
          script: [
            { text: http1({ method: 'GET', path: '/first', host: 'allowed.test', body: '', headers: [], close: false }) },
            { await: '/first' },
            { text: get('second.test') },
          ],
          until: 'close',
        },
      },
    ],
    expect: denied(421),
    canary: { name: 'site', atMost: 1, without: ['second\\.test'] },
  },
]);

const follow = (to: string, redirect: string): Step => ({ fetch: { url: `https://allowed.test/redirect?to=${to}`, redirect } });
const redirects = table('redirects', { needs: 'l4', given: 'names', canary: { name: 'site', without: ['"path":"/followed'] }, twin: named }, [
  {
    name: 'not-followed',
    what: 'The proxy hands a redirect on.',
    steps: [follow('https://second.test/followed', 'manual')],
    expect: { outcome: 'http-status', statuses: [302] },
  },
  {
    name: 'denied',
    what: 'A redirect to a denied name is judged again.',
    steps: [follow('https://redirect-{{token}}.test/followed', 'follow')],
    expect: denied(403),
    slice: true,
  },
  { name: 'metadata', what: 'A redirect to the metadata service.', steps: [follow('http://169.254.169.254/followed', 'follow')], expect: BLOCKED },
  {
    name: 'loopback',
    what: 'A redirect to a name that resolves to loopback.',
    steps: [follow('https://loopback.test/followed', 'follow')],
    expect: denied([403, 503]),
  },
  {
    name: 'cleartext',
    what: 'A redirect from TLS to cleartext on an odd port.',
    steps: [follow('http://allowed.test:8080/followed', 'follow')],
    expect: BLOCKED,
  },
  { name: 'address', what: 'A redirect to a public address.', steps: [follow('https://203.0.113.11/followed', 'follow')], expect: BLOCKED },
]);

export default [...ech, ...fronting, ...wildcards, ...reuse, ...redirects];
