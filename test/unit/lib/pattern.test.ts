import { expect, test } from 'vitest';
import { compilePattern, isCidr } from '#lib';

test('patterns are those of RE2: found anywhere, in linear time, without look-around', () => {
  const compiled = compilePattern('^ticket_(read|comment)$');
  if ('invalid' in compiled) throw new Error(compiled.invalid);
  expect([compiled.test('ticket_read'), compiled.test('ticket_delete'), compiled.test('a ticket_read')]).toEqual([true, false, false]);
  const slow = compilePattern('(a+)+$');
  if ('invalid' in slow) throw new Error(slow.invalid);
  expect(slow.test(`${'a'.repeat(50_000)}b`)).toBe(false);
});
test.each(['(', '[', '(?=a)', '(?<!a)', '(a)\\1', 'a**'])('%j is no pattern', (pattern) => expect(compilePattern(pattern)).toHaveProperty('invalid'));

test.each(['10.0.0.0/8', '0.0.0.0/0', '10.1.2.3', '2001:db8::/32', '::/0', '::1'])('%s is a range', (text) => expect(isCidr(text)).toBe(true));
test.each(['', '10.0.0.0/33', '10.0.0/8', '010.0.0.0/8', '10.0.0.0/08', '10.0.0.0/-1', '10.0.0.0/8/8', '2001:db8::/129', 'fe80::1%eth0', 'example.com'])(
  '%j is none',
  (text) => expect(isCidr(text)).toBe(false),
);
