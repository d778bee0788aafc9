import { describe, expect, test } from 'vitest';
import { needlesOf } from '../../../src/egress/redact/echo.ts';
import { StreamRedactor } from '../../../src/egress/redact/stream-redactor.ts';

/** Values are taken out of bodies in every form, however these are cut into pieces. */

const KEY = 'sk-a/0+9=b~c"d\\e%f(g)%25\u00e9';
const needles = needlesOf('header', `Bearer ${KEY}`);

const run = (text: string, size: number, of = needles): { readonly text: string; readonly found: boolean } => {
  const redactor = new StreamRedactor(of);
  const bytes = Buffer.from(text, 'latin1');
  const passed: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) passed.push(redactor.push(bytes.subarray(at, at + size)));
  passed.push(redactor.end());
  return { text: Buffer.concat(passed).toString('latin1'), found: redactor.found };
};

const hex = (char: string): string => char.charCodeAt(0).toString(16).padStart(2, '0');
const b64 = (text: string, alphabet: 'base64' | 'base64url'): string => Buffer.from(text, 'latin1').toString(alphabet);
const FORMS: Readonly<Record<string, string>> = {
  raw: KEY,
  percent: [...KEY].map((char) => `%${hex(char)}`).join(''),
  'some percent': [...KEY].map((char) => (/\w/.test(char) ? char : `%${hex(char).toUpperCase()}`)).join(''),
  json: JSON.stringify(KEY).slice(1, -1).replaceAll('/', '\\/'),
  unicode: [...KEY].map((char) => `\\u00${hex(char)}`).join(''),
};

describe.each(Object.entries(FORMS))('%s', (_, form) => {
  test.each([1, 2, 3, 7, 29, 4096])('in pieces of %d bytes', (size) => {
    const filler = 'some text % \\ s sk- %73 \\u0073 + '.repeat(20);
    expect(run(`${filler}(${form})${filler}${form}${form}.`, size)).toEqual({ text: `${filler}([redacted])${filler}[redacted][redacted].`, found: true });
  });
});

test.each([0, 1, 2, 3])('in base64, %d bytes after the start', (offset) => {
  for (const alphabet of ['base64', 'base64url'] as const) {
    const text = b64(`${'x'.repeat(offset)}${KEY} and more`, alphabet);
    for (const size of [1, 5, 4096]) {
      const passed = run(text, size);
      expect(passed.found).toBe(true);
      expect(Buffer.from(passed.text.replace('[redacted]', ''), 'base64').toString('latin1')).not.toContain(KEY.slice(4, -4));
    }
  }
});

test('nothing else is changed or held: what is clear passes at once', () => {
  const redactor = new StreamRedactor(needles);
  expect(redactor.push(Buffer.from('data: hello\n\n')).toString()).toBe('data: hello\n\n');
  expect(redactor.push(Buffer.from('it ends in sk-a')).toString()).toBe('it ends in ');
  expect(redactor.push(Buffer.from('nd on')).toString()).toBe('sk-and on');
  expect(redactor.push(Buffer.from('100%')).toString()).toBe('100');
  expect(redactor.end().toString()).toBe('%');
  expect(redactor.found).toBe(false);
  const bytes = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) % 256));
  expect(Buffer.from(run(bytes.toString('latin1'), 100).text, 'latin1').equals(bytes)).toBe(true);
});

test('what is looked for, by how it went into the request', () => {
  expect(needlesOf('header', 'k 1')[0]).toBe('k 1');
  expect(needlesOf('header', 'plain-value')[0]).toBe('plain-value');
  expect(needlesOf('query', '/a?b=c&key=a%26b%20c')[0]).toBe('a&b c');
  const aws = 'AWS4-HMAC-SHA256 Credential=AK/20260101/r/s/aws4_request, SignedHeaders=host, Signature=00ff';
  expect(needlesOf('aws', `${aws} tok/en==`)).toEqual(expect.arrayContaining(['00ff', 'tok/en==']));
  for (const none of ['', ' ', ' -']) {
    const looked = needlesOf('aws', `${aws}${none}`);
    expect(looked[0]).toBe('00ff');
    expect(looked).not.toContain('-');
  }
  for (const [kind, echo] of [
    ['header', ''],
    ['query', '/a'],
    ['aws', 'no'],
  ] as const)
    expect(() => needlesOf(kind, echo)).toThrow('not told');
});
