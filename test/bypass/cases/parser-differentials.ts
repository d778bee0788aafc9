import { METADATA } from '../../fixtures/canary/places.ts';
import { ask, OPENAI, plain, tcp } from '../steps.ts';
import { asked, CUT, denied, OK, outside, PROVIDER, refused, table } from './build.ts';

const mismatch = { expect: denied([400, 421]) };
/** Spelt another way, still the admitted host: through, and as the one canonical name. */
const canonical = { expect: OK, canary: { name: 'provider', with: [`"(:authority|host)":"${OPENAI.replaceAll('.', '\\.')}"`] } } as const;

/** Another spelling of the metadata service's address, as the resolver of libc reads it. */
const metadata = (name: string, what: string, host: string) => ({
  name,
  what,
  steps: [plain({ host: METADATA }, { host })],
  expect: { outcome: ['closed', 'refused', 'unresolved'] } as const,
  canary: { name: 'metadata' } as const,
  twin: outside([plain({ host: METADATA }, { host: METADATA })], OK),
});

export default [
  ...table('parser differentials', { canary: PROVIDER, twin: asked() }, [
    { name: 'host-trailing-dot', what: 'Host with a trailing dot is the same host.', steps: [ask({ host: `${OPENAI}.` })], ...canonical },
    {
      name: 'host-capitals',
      what: 'Host in capitals is the same host.',
      steps: [ask({ host: OPENAI.toUpperCase() })],
      expect: OK,
      canary: { name: 'provider', atMost: 1 },
    },
    { name: 'host-own-port', what: 'Host with the port that was dialled is the same host.', steps: [ask({ host: `${OPENAI}:443` })], ...canonical },
    { name: 'host-two-dots', what: 'Host with two trailing dots is no host.', steps: [ask({ host: `${OPENAI}..` })], ...mismatch },
    {
      name: 'host-long-port',
      what: 'Host with a port that begins with zeros.',
      steps: [ask({ host: `${OPENAI}:0000443` })],
      expect: { outcome: 'http-status', statuses: [200, 400, 421] },
      canary: { name: 'provider', atMost: 1, without: ['0000443'] },
    },
    { name: 'host-port-overflow', what: 'Host with a port that is 443 in 16 bits.', steps: [ask({ host: `${OPENAI}:65979` })], ...mismatch },
    { name: 'host-nul', what: 'Host with a NUL after the admitted name.', steps: [ask({ host: `${OPENAI}\0.evil.test` })], ...mismatch },
    { name: 'host-encoded-nul', what: 'Host with an encoded NUL after the admitted name.', steps: [ask({ host: `${OPENAI}%00.evil.test` })], ...mismatch },
    { name: 'host-encoded-dot', what: 'Host with an encoded dot.', steps: [ask({ host: `${OPENAI}%2eevil.test` })], ...mismatch },
    { name: 'host-encoded-letter', what: 'The admitted host with an encoded letter.', steps: [ask({ host: '%61pi.openai.com' })], ...mismatch },
    { name: 'host-userinfo', what: 'User info before the admitted host.', steps: [ask({ host: `evil.test@${OPENAI}` })], ...mismatch },
    { name: 'host-userinfo-password', what: 'The admitted host as user info with a password.', steps: [ask({ host: `${OPENAI}:443@evil.test` })], ...mismatch },
    { name: 'host-slash', what: 'Host with a path in it.', steps: [ask({ host: `${OPENAI}/evil.test` })], ...mismatch },
    { name: 'host-hash', what: 'Host with a fragment in it.', steps: [ask({ host: `evil.test#${OPENAI}` })], ...mismatch },
    { name: 'host-backslash', what: 'Host with a backslash, where some parsers end it.', steps: [ask({ host: `evil.test\\@${OPENAI}` })], ...mismatch },
    { name: 'host-comma', what: 'Host as a list.', steps: [ask({ host: `${OPENAI}, evil.test` })], ...mismatch },
    { name: 'host-space', what: 'Host with a space in it.', steps: [ask({ host: `${OPENAI} evil.test` })], ...mismatch },
    {
      name: 'host-tab',
      what: 'Host with white space around it is the same host.',
      steps: [ask({ host: `\t ${OPENAI}\t` })],
      expect: { outcome: 'http-status', statuses: [200, 400, 421] },
      canary: { name: 'provider', atMost: 1 },
    },
    { name: 'host-cyrillic', what: 'Host with a letter that only looks the same.', steps: [ask({ host: `\xd0\xb0pi.openai.com` })], ...mismatch },
    { name: 'host-kelvin', what: 'Host with a sign that lowers to an ASCII letter.', steps: [ask({ host: `api.openai.com\xe2\x84\xaa` })], ...mismatch },
    {
      name: 'host-full-width',
      what: 'Host with a full-width dot, which IDNA maps to a dot.',
      steps: [ask({ host: `api\xef\xbc\x8eopenai.com` })],
      ...mismatch,
    },
    { name: 'host-punycode', what: 'Host in punycode that shows like the admitted one.', steps: [ask({ host: 'xn--pi-7kc.openai.com' })], ...mismatch },
    {
      name: 'host-decimal',
      what: 'Host as a decimal address.',
      steps: [ask({ host: '2852039166' })],
      expect: denied(421, 'HostMismatch'),
      record: refused('HostMismatch'),
    },
    { name: 'host-hexadecimal', what: 'Host as a hexadecimal address.', steps: [ask({ host: '0xa9fea9fe' })], ...mismatch },
    { name: 'host-octal', what: 'Host as an octal address.', steps: [ask({ host: '0251.0376.0251.0376' })], ...mismatch },
    { name: 'host-ipv6', what: 'Host as an IPv6 literal.', steps: [ask({ host: '[::ffff:169.254.169.254]' })], ...mismatch },
    { name: 'host-zone', what: 'Host as an IPv6 literal with a zone.', steps: [ask({ host: '[fe80::1%25eth0]' })], ...mismatch },
  ]),
  ...table('parser differentials', {}, [
    { ...metadata('dial-decimal', 'The metadata service by its decimal address.', '2852039166'), slice: true },
    metadata('dial-hexadecimal', 'The metadata service by its hexadecimal address.', '0xa9fea9fe'),
    metadata('dial-octal', 'The metadata service by its octal address.', '0251.0376.0251.0376'),
    metadata('dial-short', 'The metadata service by an address of three parts.', '169.254.43518'),
    metadata('dial-mapped', 'The metadata service by its IPv4-mapped IPv6 address.', '::ffff:169.254.169.254'),
    metadata('dial-nat64', 'The metadata service through NAT64.', '64:ff9b::a9fe:a9fe'),
    {
      name: 'dial-zero',
      what: 'The address 0.0.0.0, which means this machine to the kernel.',
      steps: [tcp('0.0.0.0', 7777)],
      expect: CUT,
      canary: { name: 'host' },
      twin: outside([tcp('127.0.0.1', 7777)]),
    },
  ]),
];
