import { expect, test } from 'vitest';
import { fingerprintOf } from '#lib';
import type { GatewayRoot } from '#model';
import { Trust } from '../../../src/sandbox/trust.ts';

const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${Buffer.from(text).toString('base64')}\n-----END CERTIFICATE-----\n`;
const [A, B, C] = [pem('a'), pem('b'), pem('c')];
const prints = (...pems: string[]): string[] => pems.map(fingerprintOf);

const create = () => {
  const cell: { current: readonly GatewayRoot[]; changes: number } = { current: [], changes: 0 };
  return { cell, trust: new Trust({ current: () => cell.current, changed: () => cell.changes++ }) };
};

test('a sandbox trusts the roots of all its gateways, and nobody else’s; it waits for those that are not known', () => {
  const { cell, trust } = create();
  expect(trust.take(['n/one'])).toBeUndefined();
  expect(trust.take([])!.roots).toEqual([]);
  cell.current = [
    { gateway: 'n/one', rootPems: [A] },
    { gateway: 'n/two', rootPems: [B, C] },
  ];
  expect(trust.take(['n/two'])!.roots).toEqual([B, C]);
  expect(trust.take(['n/two', 'n/one'])!.roots).toEqual([B, C, A]);
  expect(trust.take(['n/one', 'n/three'])).toBeUndefined();
});

test('sandboxes are counted by what they trust from when it is fixed to when they are gone; the last one of before is told', () => {
  const { cell, trust } = create();
  cell.current = [{ gateway: 'n/one', rootPems: [A] }];
  const [first, second] = [trust.take(['n/one'])!, trust.take(['n/one'])!];
  expect(trust.states).toEqual([{ gateway: 'n/one', roots: prints(A), sandboxes: 2, current: true }]);
  second.release();
  second.release();
  expect(trust.states).toMatchObject([{ sandboxes: 1 }]);

  cell.current = [{ gateway: 'n/one', rootPems: [A, B] }];
  const third = trust.take(['n/one'])!;
  expect(trust.states).toEqual([
    { gateway: 'n/one', roots: prints(A, B), sandboxes: 1, current: true },
    { gateway: 'n/one', roots: prints(A), sandboxes: 1, current: false },
  ]);
  third.release();
  expect(cell.changes).toBe(0);
  first.release();
  expect(cell.changes).toBe(1);
  expect(trust.states).toEqual([{ gateway: 'n/one', roots: prints(A, B), sandboxes: 0, current: true }]);
});
