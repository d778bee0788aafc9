import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, contentRevision, formatAge, globMatch, isUuid, newInvocationId, parseDuration, parseQuantity, parseTraceparent, textMatch } from '#lib';

describe('durations', () => {
  test.each([
    ['1h30m', 5_400_000],
    ['250ms', 250],
    ['1.5s', 1500],
    ['-5s', -5000],
    ['0', 0],
    ['1us', 0.001],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBeCloseTo(ms, 9));
  test.each(['', '5', 's', '1h 30m', '1d', '1e3s', 'abc', '1m-5s'])('refuses "%s"', (text) => expect(parseDuration(text)).toBeUndefined());
});

describe('quantities', () => {
  test.each<[string | number, number]>([
    ['1', 1],
    [2, 2],
    ['500m', 0.5],
    ['0.5', 0.5],
    ['.5', 0.5],
    ['1.', 1],
    ['+3', 3],
    ['-3', -3],
    ['512Mi', 2 ** 29],
    ['1Ki', 1024],
    ['1k', 1000],
    ['2.5G', 2.5e9],
    ['1Ei', 2 ** 60],
    ['1E', 1e18],
    ['1e3', 1000],
    ['12E2', 1200],
    ['1e-3', 0.001],
    ['100n', 1e-7],
  ])('%s', (text, value) => expect(parseQuantity(text)).toBeCloseTo(value, 12));
  test.each(['', 'Mi', '1 Mi', '1mi', '1KI', '1K', '1e', '1Mi5', '0x10', 'NaN', 'Infinity', '1e999', '--1', '1.5.2'])('refuses "%s"', (text) =>
    expect(parseQuantity(text)).toBeUndefined(),
  );
});

describe('globs', () => {
  test.each([
    ['gpt-4.1*', 'gpt-4.1-mini', true],
    ['gpt-4.1*', 'gpt-4x1', false],
    ['/v1/*', '/v1/chat', true],
    ['/v1/*', '/v1/chat/completions', false],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['[a-c]1', 'b1', true],
    ['[^a-c]1', 'b1', false],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['[', '[', true],
    ['*/b*', 'a/bc', true],
    ['*/b', 'a/c/b', false],
    ['[^a]b', '/b', false],
    ['*', '', true],
    ['**a', 'xa', true],
  ])('%s against %s', (pattern, text, matches) => expect(globMatch(pattern, text)).toBe(matches));

  test('a pattern without wildcards matches itself and nothing else, whatever characters it has', () => {
    const plain = fc.string().map((s) => s.replace(/[*?[\]\\]/g, '_'));
    fc.assert(fc.property(plain, plain, (a, b) => globMatch(a, b) === (a === b)));
  });

  test.each([
    ['a*c', 'a/b/c', true],
    ['a?c', 'a/c', true],
    ['[^a]b', '/b', true],
    ['[+-/]', '/', true],
    ['[+-/]', 'z', false],
    ['[ -~]b', '/b', true],
    ['a/b', 'a\u{10ffff}b', false],
    ['ab*ba', 'aba', false],
    ['ab*ba', 'abba', true],
    ['*', '', true],
    ['\\*', '*', true],
    ['\\*', 'x', false],
  ])('of texts: %s against %s', (pattern, text, matches) => expect(textMatch(pattern, text)).toBe(matches));

  test('are what a regular expression says, with slashes or without', () => {
    const pattern = fc.array(fc.constantFrom('a', 'b', '/', '*', '?'), { maxLength: 8 }).map((parts) => parts.join(''));
    const text = fc.array(fc.constantFrom('a', 'b', '/'), { maxLength: 8 }).map((parts) => parts.join(''));
    const says = (glob: string, any: string, subject: string): boolean =>
      new RegExp(`^${glob.replaceAll('?', any).replaceAll('*', `${any}*`)}$`, 's').test(subject);
    fc.assert(
      fc.property(
        pattern,
        text,
        (glob, subject) => globMatch(glob, subject) === says(glob, '[^/]', subject) && textMatch(glob, subject) === says(glob, '.', subject),
      ),
      { numRuns: 2_000 },
    );
  });

  test('a hostile pattern does not hang', () => {
    expect(globMatch('*a'.repeat(12) + 'b', 'a'.repeat(60))).toBe(false);
  });
});

describe('ids', () => {
  test('uuids are canonical', () => {
    expect(isUuid(newInvocationId())).toBe(true);
    expect(isUuid(newInvocationId().toUpperCase())).toBe(false);
    expect(isUuid('x')).toBe(false);
  });
  test('traceparent', () => {
    expect(parseTraceparent('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')).toEqual({
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
    });
    expect(parseTraceparent('00-00000000000000000000000000000000-b7ad6b7169203331-01')).toBeUndefined();
    expect(parseTraceparent('ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')).toBeUndefined();
  });
  test('the revision of content does not depend on the order of keys, and on nothing but content', () => {
    expect(contentRevision({ a: 1, b: [{ c: 2, d: 3 }] })).toBe(contentRevision({ b: [{ d: 3, c: 2 }], a: 1 }));
    expect(contentRevision({ a: [1, 2] })).not.toBe(contentRevision({ a: [2, 1] }));
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

test.each([
  [4_000, '4s'],
  [119_000, '119s'],
  [200_000, '3m20s'],
  [3_600_000 * 5, '5h'],
  [86_400_000 * 3, '3d'],
  [86_400_000 * 800, '2y'],
])('age of %d ms', (ms, text) => expect(formatAge(ms)).toBe(text));
