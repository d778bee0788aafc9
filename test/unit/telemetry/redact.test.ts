import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_TEXT, plain, redact } from '../../../src/telemetry/recorder/redact.ts';

const KEY = 'sk-proj-Abc123Def456Ghi789Jkl';

test.each([
  [`/v1/x/${KEY}`, 'Abc123'],
  [`Bearer ${KEY}`, 'Abc123'],
  ['bearer abcdef0123456789', 'abcdef'],
  ['Authorization: Basic dXNlcjpwYXNzd29yZA==', 'dXNlcj'],
  ['authorization=Bearer%20abcdef0123456789', 'abcdef'],
  ['x sk-ant-api03-aaaaaaaaaaaaaaaaaaaa y', 'api03'],
  ['/%73k-proj-Abc123Def456Ghi789Jkl', 'Abc123'],
  ['/%73%6b%2dproj-Abc123Def456Ghi789Jkl', 'Abc123'],
  ['/%2573k-proj-Abc123Def456Ghi789Jkl', 'Abc123'],
  ['ghp_abcdefghijklmnopqrstuvwxyz0123456789', 'abcdef'],
  ['xoxb-1234567890-abcdefghij', '12345'],
  ['AKIAIOSFODNN7EXAMPLE', 'IOSFODNN'],
  ['eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk', 'hbGci'],
])('%s keeps no secret', (text, secret) => {
  expect(redact(text)).toContain('[redacted]');
  expect(redact(text)).not.toContain(secret);
});

test('a key at the end of what is kept leaves no recognisable half', () => {
  for (let room = 0; room < 40; room++) expect(redact(`${'a'.repeat(MAX_TEXT - room)}/${KEY}`)).not.toContain('Abc');
});

test.each([
  '/v1/chat/completions',
  'api.openai.com',
  'gpt-4o-mini',
  'AIProviderRoute/default/task-runner-desk-1234567890',
  '/a%20b',
  'claude-sonnet-4-5',
  '/risk-assessment-2026-final',
])('%s is left as it is', (text) => expect(redact(text)).toBe(text));

test('control characters are escaped and length is bounded, whatever comes', () => {
  expect(plain('a\u0000b\n\u001b[31mc\u202e\u0085')).toBe('a\\u0000b\\u000a\\u001b[31mc\\u202e\\u0085');
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 3_000 }), (text) => {
      for (const kept of [plain(text), redact(text)]) {
        // oxlint-disable-next-line no-control-regex -- they are what is looked for
        if (kept.length > MAX_TEXT || /[\u0000-\u001f\u007f-\u009f]/.test(kept) || !kept.isWellFormed()) return false;
      }
      return true;
    }),
  );
});

test('a key is masked wherever it is put', () => {
  const around = fc.string({ unit: fc.constantFrom('/', '?', ' ', '=', '.', ':', '%', 'é', '"') });
  fc.assert(fc.property(around, around, (before, after) => !redact(`${before}${KEY}${after}`).includes('Abc123')));
});

test('long hostile text is handled in bounded time', () => {
  const begun = performance.now();
  for (const text of ['sk-'.repeat(20_000), 'eyJ'.repeat(20_000), 'Bearer '.repeat(9_000), '%25'.repeat(20_000), 'eyJaaaaaaaa.'.repeat(5_000)]) redact(text);
  expect(performance.now() - begun).toBeLessThan(1_000);
});
