import { expect, test } from 'vitest';
import { Slots } from '../../../src/egress/upstream/question.ts';

/** Work that ends when it is told. */
const start = (slots: Slots, name: string, begun: string[]) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = slots.run(name, () => (begun.push(name), promise));
  return { end: () => (resolve(), done) };
};

test('names of one zone have a quarter of the slots: others are asked for meanwhile', async () => {
  const slots = new Slots(8);
  const begun: string[] = [];
  const slow = Array.from({ length: 20 }, (_, i) => start(slots, `n${i}.slow.example`, begun));
  const fast = Array.from({ length: 3 }, (_, i) => start(slots, `n${i}.fast.example`, begun));
  expect(begun).toEqual(['n0.slow.example', 'n1.slow.example', 'n0.fast.example', 'n1.fast.example']);
  await fast[0]!.end();
  await slow[1]!.end();
  expect(begun.slice(4)).toEqual(['n2.fast.example', 'n2.slow.example']);
  for (const { end } of [...slow, ...fast]) await end();
  expect(new Set(begun).size).toBe(23);
});
