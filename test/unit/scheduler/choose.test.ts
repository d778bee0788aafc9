import { expect, test } from 'vitest';
import type { SlotRequest } from '#model';
import { chooseWorker } from '../../../src/scheduler/choose.ts';

const request: SlotRequest = { invocation: 'i', agent: 'ns/a', pool: 'ns/p', maxConcurrent: 0, maxExecutionsPerWorker: 16, maxWaitMs: 0 };
const worker = (name: string, load: number, capacity = 16, warm = 0) => ({ name, load, capacity, warm });

test.each([
  ['nobody is there', [], undefined],
  ['all are full', [worker('0', 16), worker('1', 2, 2)], undefined],
  ['the least loaded', [worker('0', 3), worker('1', 1), worker('2', 2)], '1'],
  ['the first of equals', [worker('0', 1), worker('1', 1)], '0'],
  ['a warm sandbox before a lighter load', [worker('0', 0), worker('1', 3, 16, 1), worker('2', 2, 16, 4)], '2'],
  ['a full one with warm sandboxes has no slot', [worker('0', 5), worker('1', 8, 8, 3)], '0'],
  ['a full one does not count, however small', [worker('0', 0, 0), worker('1', 5)], '1'],
])('%s', (_, workers, expected) => {
  expect(chooseWorker(request, workers)?.name).toBe(expected);
});
