import { expect, test } from 'vitest';
import { Pace } from '../../../src/egress/verdicts/pace.ts';

test('the verdicts of one agent are spread, then refused; those of others do not wait', () => {
  let now = 0;
  const pace = new Pace({ now: () => now, monotonic: () => now });
  for (let i = 0; i < 512; i++) expect(pace.delay('a')).toBe(0);
  const delays = Array.from({ length: 400 }, () => pace.delay('a'));
  expect(delays[0]).toBe(5);
  expect(delays[99]).toBe(500);
  expect(delays.findIndex((delay) => delay === undefined)).toBe(300);
  expect(pace.delay('b')).toBe(0);
  now = 1_000;
  expect(pace.delay('a')).toBeLessThan(1_500);
  now = 10_000;
  expect(pace.delay('a')).toBe(0);
});
