import { appendFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '#lib';
import { Spool } from '../../../src/telemetry/recorder/spool.ts';
import type { ExchangeRecord } from '#model';
import { record } from './records.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-spool-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));
const open = (limit = 512 * 1024 * 1024) => Spool.open<ExchangeRecord>({ dir, limit, log: silentLogger });
const some = (from: number, count: number) => Array.from({ length: count }, (_, n) => record({ decisionId: `d${from + n}` }));
const drain = async (spool: Spool<ExchangeRecord>, max = 1_000): Promise<readonly string[]> => {
  const ids: string[] = [];
  for (let batch; (batch = await spool.next(max)); batch.done()) ids.push(...batch.records.map((r) => r.decisionId));
  return ids;
};
const ids = (from: number, count: number) => some(from, count).map((r) => r.decisionId);

test('gives records in order, in batches, once', async () => {
  await using spool = await open();
  await spool.append(some(0, 25));
  expect((await spool.next(10))!.records).toHaveLength(10);
  expect(await drain(spool, 10)).toEqual(ids(0, 25));
  await spool.append(some(25, 5));
  expect(await drain(spool)).toEqual(ids(25, 5));
});

test('gives a batch again until it is done', async () => {
  await using spool = await open();
  await spool.append(some(0, 3));
  const first = await spool.next(2);
  expect(await spool.next(2)).toMatchObject({ records: first!.records });
});

test('has everything that was appended after a kill, and leaves out a torn record', async () => {
  const killed = await open();
  await killed.append(some(0, 3));
  const [name] = await readdir(dir);
  await appendFile(join(dir, name!), JSON.stringify(record({ decisionId: 'torn' })).slice(0, 100));
  await killed[Symbol.asyncDispose]();
  await using spool = await open();
  await spool.append(some(3, 2));
  expect(await drain(spool)).toEqual(ids(0, 5));
});

test('removes what is shipped', async () => {
  await using spool = await open(1024 * 1024);
  for (let n = 0; n < 30; n++) {
    await spool.append(some(n * 100, 100));
    await drain(spool);
  }
  expect(spool.bytes).toBeLessThan(512 * 1024);
  expect(spool.dropped).toBe(0);
});

test('full: the oldest records go and are counted, the newest stay', async () => {
  const limit = 256 * 1024;
  await using spool = await open(limit);
  for (let n = 0; n < 1_000; n++) await spool.append(some(n, 1));
  expect(spool.bytes).toBeLessThanOrEqual(limit);
  const kept = await drain(spool);
  expect(spool.dropped).toBeGreaterThan(0);
  expect(kept).toEqual(ids(spool.dropped, 1_000 - spool.dropped));
});

test('damaged segments are passed over', async () => {
  await writeFile(join(dir, '0000000000000001.jsonl'), Buffer.alloc(3_000_000, 0x78));
  await writeFile(join(dir, '0000000000000002.jsonl'), `${'x'.repeat(100)}\n${JSON.stringify(record({ decisionId: 'kept' }))}\n`);
  await writeFile(join(dir, '0000000000000003.jsonl'), `${'y'.repeat(2_000_000)}\n`);
  await using spool = await open();
  await spool.append(some(0, 1));
  expect(await drain(spool)).toEqual(['kept', 'd0']);
});

test('appending and shipping at the same time loses nothing', async () => {
  await using spool = await open(64 * 1024 * 1024);
  const got: string[] = [];
  const appending = (async () => {
    for (let n = 0; n < 300; n++) await spool.append(some(n * 10, 10));
  })();
  while (got.length < 3_000) {
    const appended = spool.appended();
    const more = await drain(spool, 37);
    if (more.length === 0) await appended;
    got.push(...more);
  }
  await appending;
  expect(got).toEqual(ids(0, 3_000));
});
