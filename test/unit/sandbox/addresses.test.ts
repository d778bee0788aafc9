import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Clock } from '#lib';
import { Addresses, QUARANTINE_MS, type AddressPair } from '#sandbox';

const clockAt = (time: { ms: number }): Clock => ({ now: () => time.ms, monotonic: () => time.ms });
const number = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

test('a sandbox is the odd end of a /31 in the block of its agent and gateways', () => {
  const addresses = new Addresses(clockAt({ ms: 0 }));
  expect(addresses.take('ns/a', ['ns/g'])).toEqual({ block: '100.64.0.0/20', host: '100.64.0.0', sandbox: '100.64.0.1', inherited: false });
  expect(addresses.take('ns/a', ['ns/g'])).toEqual({ block: '100.64.0.0/20', host: '100.64.0.2', sandbox: '100.64.0.3', inherited: false });
  expect(addresses.take('ns/a', ['ns/h'])!.block).toBe('100.64.16.0/20');
  expect(addresses.take('ns/a', [])!.block).toBe('100.64.32.0/20');
  expect(addresses.take('ns/b', ['ns/g'])!.block).toBe('100.64.48.0/20');
});

test('an address rests for a minute, and a full block refuses instead of sharing', () => {
  const time = { ms: 0 };
  const addresses = new Addresses(clockAt(time));
  const pairs = Array.from({ length: 2048 }, () => addresses.take('ns/a', [])!);
  expect(new Set(pairs.map(({ sandbox }) => sandbox)).size).toBe(2048);
  expect(pairs.at(-1)).toMatchObject({ host: '100.64.15.254', sandbox: '100.64.15.255' });
  expect(addresses.take('ns/a', [])).toBeUndefined();
  addresses.release(pairs[5]!);
  time.ms = QUARANTINE_MS - 1;
  expect(addresses.take('ns/a', [])).toBeUndefined();
  time.ms = QUARANTINE_MS;
  expect(addresses.take('ns/a', [])).toEqual(pairs[5]);
});

test('a block changes hands only when nothing of it is in use or resting', () => {
  const time = { ms: 0 };
  const addresses = new Addresses(clockAt(time));
  const first = Array.from({ length: 1024 }, (_, i) => addresses.take(`ns/${i}`, [])!);
  expect(addresses.take('ns/new', [])).toBeUndefined();
  addresses.release(first[7]!);
  expect(addresses.take('ns/new', [])).toBeUndefined();
  time.ms = QUARANTINE_MS;
  expect(addresses.take('ns/new', [])).toMatchObject({ block: first[7]!.block, inherited: true });
  expect(addresses.take('ns/new', [])).toMatchObject({ block: first[7]!.block, inherited: false });
  expect(addresses.take('ns/7', [])).toBeUndefined();
});

test('whatever runs come and go: no address is shared, in another block, or back too soon', () => {
  const step = fc.record({ agent: fc.integer({ min: 0, max: 5 }), release: fc.option(fc.nat(20)), wait: fc.nat(50_000) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const time = { ms: 0 };
      const addresses = new Addresses(clockAt(time));
      const used: AddressPair[] = [];
      const released = new Map<string, number>();
      const owner = new Map<string, number>();
      for (const { agent, release, wait } of steps) {
        time.ms += wait;
        const [pair] = release === null ? [] : used.splice(release, 1);
        if (pair) {
          addresses.release(pair);
          released.set(pair.sandbox, time.ms);
        }
        const taken = addresses.take(`ns/${agent}`, [])!;
        expect(used.map(({ sandbox }) => sandbox)).not.toContain(taken.sandbox);
        expect(time.ms - (released.get(taken.sandbox) ?? -Infinity)).toBeGreaterThanOrEqual(QUARANTINE_MS);
        expect(number(taken.sandbox) - number(taken.block.split('/')[0]!)).toBeLessThan(4096);
        expect(owner.get(taken.block) ?? agent).toBe(agent);
        owner.set(taken.block, agent);
        used.push(taken);
      }
    }),
  );
});
