import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonRefused, parseStrictJson } from '#policy';

const reasonOf = (text: string): string => {
  try {
    parseStrictJson(text);
    return 'accepted';
  } catch (error) {
    return (error as JsonRefused).reason;
  }
};

test('reads whatever JSON.parse reads, to the same value', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(JSON.parse(JSON.stringify(parseStrictJson(text)))).toEqual(JSON.parse(text));
    }),
  );
});

test('refuses whatever JSON.parse refuses', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[{}[\]",:0-9.eE+\-\\ut nlrfas]{0,16}$/)), (text) => {
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      expect(reasonOf(text) === 'InvalidJson').toBe(!valid);
    }),
    { numRuns: 2000 },
  );
});

test.each(['{"a":1,"a":2}', '{"x":{"model":"a","b":[],"model":"b"}}', '{"model":"a","\\u006dodel":"b"}', '{"__proto__":1,"__proto__":2}'])(
  '%s has a key twice',
  (text) => expect(reasonOf(text)).toBe('DuplicateKey'),
);

test('keeps every digit of a number', () => {
  const text = '[1.0,1e400,-0,12345678901234567890,0.1,1E5,3]';
  expect(JSON.stringify(parseStrictJson(text))).toBe(text);
});

test('keeps __proto__ as a key', () => expect(JSON.stringify(parseStrictJson('{"__proto__":{"a":1}}'))).toBe('{"__proto__":{"a":1}}'));

test('refuses deep nesting instead of running out of stack', () => {
  expect(reasonOf('['.repeat(100) + ']'.repeat(100))).toBe('accepted');
  expect(reasonOf('['.repeat(1_000_000))).toBe('TooDeep');
});

test('takes time in proportion to the text, whatever is wrong with it', () => {
  const long = 'a'.repeat(1_000_000);
  const before = performance.now();
  for (const text of [`{"a":"${long}`, `{"a":"\\n${long}`, `{"a":"${long}\u0001"}`, `{"a":"${long}\\x"}`, `{"a":"${'\\\\'.repeat(500_000)}`, `["${long}\\`])
    expect(reasonOf(text)).toBe('InvalidJson');
  expect(performance.now() - before).toBeLessThan(2_000);
});

test('refuses more values or escapes than it has time for', () => {
  const many = (unit: string, count: number): string => `[${unit.repeat(count)}0]`;
  for (const unit of ['{},', '[],', '1,', '1e0,', '"",', '{"a":0},']) expect([unit, reasonOf(many(unit, 1_000_000))]).toEqual([unit, 'TooComplex']);
  expect(reasonOf(`["${'\\n'.repeat(5_000_000)}"]`)).toBe('TooComplex');
  for (const unit of ['{},', '[],', '{"role":"user","content":"x"},']) expect([unit, reasonOf(many(unit, 110_000))]).toEqual([unit, 'TooComplex']);
  const fields = (count: number): string => `{${Array.from({ length: count }, (_, i) => `"k${i}":0`).join(',')}}`;
  expect([9_000, 11_000].map((count) => reasonOf(fields(count)))).toEqual(['accepted', 'TooComplex']);
  // A long conversation has thousands of messages, a request for embeddings may have 300,000 tokens, and a long text may have as many lines.
  expect(reasonOf(many('{"role":"user","content":"x"},', 50_000))).toBe('accepted');
  expect(reasonOf(many('100,', 300_000))).toBe('accepted');
  expect(reasonOf(`["${'\\u00e9'.repeat(1_000_000)}"]`)).toBe('accepted');
});
