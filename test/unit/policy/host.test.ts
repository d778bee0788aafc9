import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalHost, isForbiddenAlias, isForbiddenUpstream } from '#policy';

describe('canonicalHost', () => {
  test.each([
    ['api.openai.com', 'api.openai.com'],
    ['API.OpenAI.com', 'api.openai.com'],
    ['api.openai.com.', 'api.openai.com'],
    ['api.openai.com:443', 'api.openai.com'],
    ['api.openai.com.:443', 'api.openai.com'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['localhost', 'localhost'],
  ])('%j is %j', (text, name) => expect(canonicalHost(text)).toBe(name));

  test.each([
    '',
    '.',
    'api.openai.com..',
    '.api.openai.com',
    'api..openai.com',
    'api.openai.com\0',
    'api.openai.com\0.evil.example',
    'user@api.openai.com',
    'api.openai.com@evil.example',
    'api%2eopenai.com',
    'api.openai.com/',
    'api.openai.com#',
    'api openai.com',
    ' api.openai.com',
    'api.openai.com:',
    'api.openai.com:443:443',
    '-api.openai.com',
    'api-.openai.com',
    '*.openai.com',
    'api_x.openai.com',
    'api.openai。com',
    'bücher.example',
    'api.openai.\u212aom',
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    'foo.0x',
    '127.0.0.1.',
    '[::1]',
    '::1',
    '[::ffff:127.0.0.1]',
    'fe80::1%eth0',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}example`,
  ])('%j is no host name', (text) => expect(canonicalHost(text)).toBeUndefined());

  test('is idempotent, and its results are lower-case LDH', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.domain(), fc.stringMatching(/^[a-zA-Z0-9.:_-]{0,40}$/)), (text) => {
        const name = canonicalHost(text);
        if (name === undefined) return;
        expect(name).toMatch(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/);
        expect(canonicalHost(name)).toBe(name);
        // What a URL parser makes of it is the same name: nobody downstream can read it as another host.
        expect(new URL(`https://${name}/`).hostname).toBe(name);
      }),
    );
  });
});

test.each([
  '127.0.0.1',
  '127.255.255.255',
  '0.0.0.0',
  '169.254.169.254',
  '169.254.170.23',
  '100.100.100.200',
  '100.64.0.1',
  '198.18.0.1',
  '198.19.255.1',
  '224.0.0.1',
  '255.255.255.255',
  '::1',
  'not-an-ip',
  '0177.0.0.1',
])('no alias may name %s', (ip) => {
  expect(isForbiddenAlias(ip)).toBe(true);
  expect(isForbiddenUpstream(ip)).toBe(true);
});
test.each(['10.0.0.1', '172.16.3.4', '192.168.1.1'])('an alias may name %s, an answer of DNS may not', (ip) => {
  expect(isForbiddenAlias(ip)).toBe(false);
  expect(isForbiddenUpstream(ip)).toBe(true);
});
test.each(['1.1.1.1', '100.63.255.255', '100.128.0.0', '198.17.255.255', '198.20.0.0', '172.32.0.1'])('%s is an ordinary address', (ip) => {
  expect(isForbiddenUpstream(ip)).toBe(false);
});
