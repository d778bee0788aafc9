import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressesText, disjoint, portsText, rangeOf, type Want } from '../../../src/egress/steering/elements.ts';
import { ipNumber } from '../../../src/egress/slices.ts';

const want = (cidr: string, fromPort: number, toPort: number, target: number): Want => ({ ...rangeOf(cidr)!, fromPort, toPort, target });
const shown = (wants: readonly Want[]): string[] => disjoint(wants).map((each) => `${addressesText(each)} ${portsText(each)} ${each.target}`);

test('what an earlier one has is cut out of a later one; neighbours are joined', () => {
  expect(shown([want('10.0.0.4/32', 443, 443, 1), want('10.0.0.0/29', 1, 65_535, 2)]).sort()).toEqual([
    '10.0.0.0-10.0.0.3 1-65535 2',
    '10.0.0.4 1-442 2',
    '10.0.0.4 443 1',
    '10.0.0.4 444-65535 2',
    '10.0.0.5-10.0.0.7 1-65535 2',
  ]);
  expect(shown([want('10.0.0.0/24', 1, 9, 1), want('10.0.0.4/32', 3, 4, 2)])).toEqual(['10.0.0.0-10.0.0.255 1-9 1']);
  expect(shown([want('10.0.0.0/25', 5, 5, 1), want('10.0.0.128/25', 5, 5, 1), want('10.0.0.0/24', 6, 6, 1)])).toEqual(['10.0.0.0-10.0.0.255 5-6 1']);
  expect(shown([want('0.0.0.0/0', 1, 65_535, 1)])).toEqual(['0.0.0.0-255.255.255.255 1-65535 1']);
});

test('random wants: every point leads where the first want with it leads, and no point is in two elements', () => {
  const range = (most: number) => fc.tuple(fc.nat(most), fc.nat(most)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
  const wants = fc.array(
    fc.tuple(range(20), range(12), fc.nat(3)).map(([[from, to], [fromPort, toPort], target]): Want => ({ from, to, fromPort, toPort, target })),
    { maxLength: 12 },
  );
  const has = (address: number, port: number) => (each: Want) => each.from <= address && address <= each.to && each.fromPort <= port && port <= each.toPort;
  fc.assert(
    fc.property(wants, (all) => {
      const elements = disjoint(all);
      for (let address = 0; address <= 21; address++) {
        for (let port = 0; port <= 13; port++) {
          const found = elements.filter(has(address, port));
          expect(found.length).toBeLessThanOrEqual(1);
          expect(found[0]?.target).toBe(all.find(has(address, port))?.target);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('a thousand ranges below one that covers all stay a few thousand elements, in little time', () => {
  const start = performance.now();
  const elements = disjoint([
    ...Array.from({ length: 1000 }, (_, i) => want(`10.${i >> 4}.${(i & 15) * 16}.0/24`, 5432, 5432, 1)),
    want('0.0.0.0/0', 1, 65_535, 2),
  ]);
  expect(elements.length).toBeLessThan(4100);
  expect(performance.now() - start).toBeLessThan(2_000);
});

test('ranges as numbers', () => {
  expect(rangeOf('255.255.255.255')).toEqual({ from: 2 ** 32 - 1, to: 2 ** 32 - 1 });
  expect(rangeOf('10.1.2.3/8')).toEqual({ from: ipNumber('10.0.0.0'), to: ipNumber('10.255.255.255') });
  expect(rangeOf('2001:db8::/32')).toBeUndefined();
});
