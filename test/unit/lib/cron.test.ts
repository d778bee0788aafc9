import { expect, test } from 'vitest';
import { parseSchedule } from '#lib';

const at = (text: string): number => Date.parse(text);
const next = (schedule: string, after: string, timeZone?: string): string | undefined => {
  const parsed = parseSchedule(schedule, timeZone);
  if ('invalid' in parsed) throw new Error(parsed.invalid);
  const time = parsed.next(at(after));
  return time === undefined ? undefined : new Date(time).toISOString().replace('.000Z', 'Z');
};

test.each([
  ['* * * * *', '2026-01-01T00:00:30Z', '2026-01-01T00:01:00Z'],
  ['15 6 * * 1-5', '2026-01-02T06:15:00Z', '2026-01-05T06:15:00Z'],
  ['0 0 1 1 *', '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z'],
  // Day of month and day of week, both given: either, as cron has it.
  ['0 0 13 * 5', '2026-02-01T00:00:00Z', '2026-02-06T00:00:00Z'],
  ['@hourly', '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z'],
  ['@weekly', '2026-01-01T00:00:00Z', '2026-01-04T00:00:00Z'],
  ['@every 5m', '2026-01-01T00:01:00Z', '2026-01-01T00:05:00Z'],
  ['@every 5m', '2026-01-01T00:05:00Z', '2026-01-01T00:10:00Z'],
])('%s after %s is %s', (schedule, after, expected) => expect(next(schedule, after)).toBe(expected));

test('a time zone moves the hours, and the day the clocks change has each slot once', () => {
  expect(next('0 9 * * *', '2026-07-01T00:00:00Z', 'Europe/Berlin')).toBe('2026-07-01T07:00:00Z');
  expect(next('0 9 * * *', '2026-12-01T00:00:00Z', 'Europe/Berlin')).toBe('2026-12-01T08:00:00Z');
  // 2026-10-25: 02:30 comes twice in Berlin.
  const first = next('30 2 * * *', '2026-10-24T12:00:00Z', 'Europe/Berlin')!;
  expect(next('30 2 * * *', first, 'Europe/Berlin')).toBe('2026-10-26T01:30:00Z');
});

test('a slot that never comes has no time', () => expect(next('0 0 30 2 *', '2026-01-01T00:00:00Z')).toBeUndefined());

test.each(['', 'x', '* * * *', '* * * * * *', '60 * * * *', '@nightly', '@every', '@every 1', '@every 10ms', '@every -1m'])('%j is no schedule', (text) =>
  expect(parseSchedule(text)).toHaveProperty('invalid'),
);
test('a time zone nobody knows is no time zone', () => expect(parseSchedule('@daily', 'Mars/Base')).toHaveProperty('invalid'));
