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
