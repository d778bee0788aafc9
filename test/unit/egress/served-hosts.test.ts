import { expect, test } from 'vitest';
import { ServedHosts } from '../../../src/egress/names/served-hosts.ts';

let now = 0;
const clock = { now: () => now, monotonic: () => now };

test('the name that was asked for longest ago gives way, but not one that was asked for just now', () => {
  const hosts = new ServedHosts(clock, 2);
  expect([hosts.ask('a'), hosts.ask('b')]).toEqual([true, true]);
  expect(hosts.ask('c')).toBe(false);
  expect(hosts.ask('a')).toBe(true);
  expect(hosts.names).toEqual(['b', 'a']);
  now += 90_000;
  expect(hosts.ask('c')).toBe(true);
  expect(hosts.names).toEqual(['a', 'c']);
});

test('after a change of policy the names that still may be are served, the latest of too many', () => {
  const hosts = new ServedHosts(clock, 2);
  hosts.ask('a');
  hosts.restore(['x', 'y', 'a']);
  expect(hosts.names).toEqual(['y', 'a']);
  // `y` was asked for before a restart, nobody knows when.
  expect(hosts.ask('z')).toBe(true);
  expect(hosts.names).toEqual(['a', 'z']);
  hosts.restore([]);
  expect(hosts.names).toEqual([]);
});
