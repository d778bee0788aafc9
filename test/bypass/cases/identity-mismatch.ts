import { OTHER, SITE } from '../../fixtures/canary/places.ts';
import { ask, ask2, BODY, CHAT, http1, OPENAI, over } from '../steps.ts';
import { asked, CLOSED, denied, notAdmitted, outside, PROVIDER, refused, siteRequest, table } from './build.ts';

const mismatch = { expect: denied(421, 'HostMismatch'), record: refused('HostMismatch') };

/** One of SNI, Host, :authority, absolute-form URI and dialled address is swapped, the others stay. */
export default table('identity mismatch', { canary: PROVIDER, twin: asked() }, [
  { name: 'host', what: 'Host names another host than the TLS hello.', steps: [ask({ host: 'evil.test' })], ...mismatch, slice: true },
  { name: 'host-port', what: 'Host names a port that was not dialled.', steps: [ask({ host: `${OPENAI}:8443` })], ...mismatch },
  { name: 'host-userinfo', what: 'Host carries the admitted name as user info of another.', steps: [ask({ host: `${OPENAI}@evil.test` })], ...mismatch },
  { name: 'host-subdomain', what: 'Host is a subdomain of the admitted name.', steps: [ask({ host: `evil.${OPENAI}` })], ...mismatch },
  { name: 'host-suffix', what: 'Host begins with the admitted name.', steps: [ask({ host: `${OPENAI}.evil.test` })], ...mismatch },
  {
    name: 'two-hosts',
    what: 'Two Host headers, the second another.',
    steps: [ask({ headers: ['host: evil.test', 'content-type: application/json'] })],
    expect: denied([400, 421]),
  },
  {
    name: 'two-hosts-reversed',
    what: 'Two Host headers, the first another.',
    steps: [ask({ host: 'evil.test', headers: [`host: ${OPENAI}`, 'content-type: application/json'] })],
    expect: denied([400, 421]),
  },
  { name: 'no-host', what: 'No Host header at all.', steps: [ask({ host: '' })], expect: denied([400, 421]) },
  {
    name: 'absolute-uri',
    what: 'An absolute-form request target names another host, Host the admitted one.',
    steps: [ask({ path: `https://evil.test${CHAT}` })],
    ...mismatch,
  },
  {
    name: 'absolute-uri-host',
    what: 'An absolute-form target names the admitted host, Host another.',
    steps: [ask({ path: `https://${OPENAI}${CHAT}`, host: 'evil.test' })],
    expect: { outcome: 'http-status', statuses: [200, 400, 421] },
    canary: { name: 'provider', without: ['evil'] },
  },
  {
    name: 'authority',
    what: ':authority of HTTP/2 names another host than the TLS hello.',
    steps: [ask2({ pseudo: { ':authority': 'evil.test' } })],
    ...mismatch,
    slice: true,
  },
  {
    name: 'no-authority',
    what: 'HTTP/2 without :authority, Host names another host.',
    steps: [ask2({ pseudo: { ':authority': undefined }, headers: [['host', 'evil.test']] })],
    expect: { outcome: ['http-status', 'stream-reset', 'closed'], statuses: [400, 421] },
  },
  {
    name: 'authority-and-host',
    what: ':authority is the admitted name and the host header another: only the first may count.',
    steps: [ask2({ headers: [['host', 'evil.test']] })],
    expect: { outcome: ['http-status', 'stream-reset', 'closed'], statuses: [200, 400, 421] },
    canary: { name: 'provider', without: ['evil'] },
  },
  {
    name: 'sni',
    what: 'The TLS hello names another host at the address of the admitted one.',
    steps: [ask({}, { servername: 'evil.test' })],
    expect: CLOSED,
    record: notAdmitted('tls'),
  },
  {
    name: 'sni-and-host',
    what: 'TLS hello and Host both name another host at the address of the admitted one.',
    steps: [ask({ host: 'evil.test' }, { servername: 'evil.test' })],
    expect: CLOSED,
    record: notAdmitted('tls'),
  },
  {
    name: 'no-sni',
    what: 'A TLS hello without a name at the address of the admitted host.',
    steps: [ask({}, { servername: '' })],
    expect: CLOSED,
    record: notAdmitted('tcp'),
  },
  {
    name: 'sni-address',
    what: 'The TLS hello names an address instead of a host.',
    steps: [{ hello: { host: OPENAI, port: 443, servername: SITE } }],
    expect: CLOSED,
  },
  {
    name: 'sni-trailing-dot',
    what: 'The TLS hello names the admitted host with a trailing dot.',
    steps: [{ hello: { host: OPENAI, port: 443, servername: `${OPENAI}.` } }],
    expect: CLOSED,
  },
  {
    name: 'sni-nul',
    what: 'The TLS hello names the admitted host, a NUL and more.',
    steps: [{ hello: { host: OPENAI, port: 443, servername: `${OPENAI}\0.evil.test` } }],
    expect: CLOSED,
  },
  {
    name: 'sni-twice',
    what: 'The TLS hello has two server_name extensions.',
    steps: [{ hello: { host: OPENAI, port: 443, servername: OPENAI, second: 'evil.test' } }],
    expect: CLOSED,
  },
  {
    name: 'dialled-address',
    what: 'The admitted name in hello and Host, but an address of our choice is dialled.',
    steps: [siteRequest(OPENAI, OPENAI)],
    expect: CLOSED,
    record: notAdmitted('tls'),
    canary: { name: 'site' },
    twin: outside([siteRequest(OPENAI, OPENAI)], { outcome: 'http-status', statuses: [200] }),
    slice: true,
  },
  {
    name: 'dialled-other-address',
    what: 'The same with the address of another canary.',
    steps: [siteRequest(OPENAI, OPENAI, OTHER)],
    expect: CLOSED,
    record: notAdmitted('tls'),
    canary: { name: 'other' },
    twin: outside([siteRequest(OPENAI, OPENAI, OTHER)], { outcome: 'http-status', statuses: [200] }),
  },
  {
    name: 'denied-address',
    what: 'The admitted name at the address that was given for a denied name.',
    steps: [{ lookup: 'denied-{{token}}.test' }, over(http1(), { host: 'denied-{{token}}.test', servername: OPENAI })],
    expect: { outcome: ['http-status', 'closed', 'tls-refused'], statuses: [403, 421] },
  },
  {
    name: 'denied-name',
    what: 'Everything names the same host, but no route admits it.',
    steps: [over(http1({ host: 'denied-{{token}}.test', body: BODY }), { host: 'denied-{{token}}.test' })],
    expect: denied(403, 'NoRoute'),
    record: refused('NoRoute'),
    slice: true,
  },
]);
