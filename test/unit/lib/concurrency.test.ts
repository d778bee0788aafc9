import { expect, test } from 'vitest';
import { AsyncQueue, KeyedQueue, Latest, retry } from '#lib';

test('a latest value reaches a late subscriber, and a slow one sees only the newest', async () => {
  const cell = new Latest<number>();
  cell.set(1);
  const abort = new AbortController();
  const seen: number[] = [];
  for await (const value of cell.subscribe(abort.signal)) {
    seen.push(value);
    if (value === 1) {
      cell.set(2);
      cell.set(3);
    }
    if (value === 3) abort.abort();
  }
  expect(seen).toEqual([1, 3]);
});

test('a queue delivers what was pushed before its end', async () => {
  const queue = new AsyncQueue<string>();
  queue.push('a');
  const reading = Array.fromAsync(queue);
  queue.push('b');
  queue.end();
  queue.push('lost');
  expect(await reading).toEqual(['a', 'b']);
});

test('a key runs once at a time, coalesces, and is retried after a failure', async () => {
  const done = Promise.withResolvers<void>();
  let running = 0;
  let runs = 0;
  await using queue = new KeyedQueue({
    handle: async () => {
      expect(++running).toBe(1);
      runs++;
      await Promise.resolve();
      if (runs === 1) queue.add('k'); // while running: one more run, not two
      running--;
      if (runs === 2) throw new Error('again');
      if (runs === 3) done.resolve();
    },
  });
  queue.add('k');
  queue.add('k');
  await done.promise;
  expect(runs).toBe(3);
});

test('keys run side by side up to the limit', async () => {
  const both = Promise.withResolvers<void>();
  let running = 0;
  await using queue = new KeyedQueue({
    concurrency: 2,
    handle: async () => {
      if (++running === 2) both.resolve();
      await both.promise;
    },
  });
  queue.add('a');
  queue.add('b');
  await both.promise;
});

test('retry gives up on a final error and on abort', async () => {
  const signal = new AbortController().signal;
  let attempts = 0;
  const backoff = { firstMs: 1, maxMs: 1, factor: 1 };
  await expect(retry(async () => Promise.reject(new Error(`n${++attempts}`)), { signal, backoff, retryable: () => attempts < 3 })).rejects.toThrow('n3');
  expect(await retry(async (n) => (n === 2 ? 'ok' : Promise.reject(new Error('no'))), { signal, backoff })).toBe('ok');
});
