import { expect, test } from 'vitest';
import { ServedHosts } from '../../../src/egress/names/served-hosts.ts';

let now = 0;
const clock = { now: () => now, monotonic: () => now };

test('the name that was asked for longest ago gives way, but not one that was asked for just now', () => {
  const hosts = new ServedHosts(clock, 2);
  expect([hosts.ask('a', 'x/y'), hosts.ask('b', 'x/y')]).toEqual([true, true]);
  expect(hosts.ask('c', 'x/y')).toBe(false);
  expect(hosts.ask('a', 'x/y')).toBe(true);
  expect(hosts.names).toEqual(['b', 'a']);
  now += 90_000;
  expect(hosts.ask('c', 'x/y')).toBe(true);
  expect(hosts.names).toEqual(['a', 'c']);
});

test('after a change of policy the names that still may be are served, the latest of too many', () => {
  const hosts = new ServedHosts(clock, 2);
  hosts.ask('a', 'x/y');
  hosts.restore(['x', 'y', 'a']);
  expect(hosts.names).toEqual(['y', 'a']);
  // `y` was asked for before a restart, nobody knows when.
  expect(hosts.ask('z', 'x/y')).toBe(true);
  expect(hosts.names).toEqual(['a', 'z']);
  hosts.restore([]);
  expect(hosts.names).toEqual([]);
});

test('an agent that asks for many names leaves room for others, and for those it asked for before', () => {
  const hosts = new ServedHosts(clock, 4, 2);
  expect(['a', 'b', 'c'].map((name) => hosts.ask(name, 'x/many'))).toEqual([true, true, false]);
  expect([hosts.ask('d', 'x/other'), hosts.ask('a', 'x/other')]).toEqual([true, true]);
  expect(hosts.names).toEqual(['b', 'd', 'a']);
  now += 90_000;
  // Its own gives way, none of another agent, however long ago that one was asked for.
  hosts.ask('a', 'x/many');
  expect(hosts.ask('c', 'x/many')).toBe(true);
  expect(hosts.names).toEqual(['d', 'a', 'c']);
});
