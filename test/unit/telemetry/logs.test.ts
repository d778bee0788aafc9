import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '#lib';
import type { LogQuery, LogRecord } from '#model';
import { LOG_COLUMNS, otlpLogs } from '#telemetry';
import { openStore, type Store } from '#telemetry/store';
import { LogOrder } from '../../../src/telemetry/store/log-order.ts';
import { logRecord } from './records.ts';

const base = Date.now() - 24 * 60 * 60 * 1000;
const at = (nanoseconds: number): string => `${new Date(base).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, '0')}Z`;
const line = (agent: string, n: number, over: Partial<LogRecord> = {}): LogRecord =>
  logRecord({ agent, id: `${agent}-${n}`, time: at(n), body: `line ${n}`, ...over });

describe('the store', () => {
  let dir: string;
  let store: Store;
  const open = async () => (store = await openStore({ dir: join(dir, 'clickhouse'), log: silentLogger }));
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'clrk-store-'));
    await open();
  });
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const ask = (agent: string, query: Partial<LogQuery> = {}) => store.logs({ namespace: 'default', agent, components: [], limit: 1_000, ...query });
  const bodies = async (agent: string, query: Partial<LogQuery> = {}) => (await ask(agent, query)).map(({ body }) => body);

  test('has a column for every field of a record, and gives back what was put in, to the nanosecond', async () => {
    const whole = line('whole', 123_456_789, { body: 'a\tb\u0000\u001b[31m\ufffd😀\n"\\' });
    await store.insertLogs([whole]);
    const [stored] = await ask('whole');
    expect(stored).toEqual({ ...whole, position: expect.any(Number) });
    expect(LOG_COLUMNS.flatMap(({ field }) => (field ? [field] : [])).toSorted()).toEqual(Object.keys(stored!).toSorted());
  });

  test('gives the newest, and after a time or position what follows it, oldest first', async () => {
    await store.insertLogs([1, 2, 3, 4, 5].map((n) => line('pages', n)));
    expect(await bodies('pages', { limit: 2 })).toEqual(['line 4', 'line 5']);
    expect(await bodies('pages', { since: at(2), limit: 2 })).toEqual(['line 3', 'line 4']); // exclusive
    const all = await ask('pages');
    expect(all.map(({ position }) => position)).toEqual(all.map(({ position }) => position).toSorted((a, b) => a - b));
    expect(await bodies('pages', { after: all[2]!.position })).toEqual(['line 4', 'line 5']);
    expect(await bodies('pages', { after: 0, since: at(3) })).toEqual(['line 4', 'line 5']);
    expect(await bodies('pages', { limit: 0 })).toHaveLength(1);
  });

  test('filters by run, component and stream', async () => {
    const records = [
      line('filters', 1),
      line('filters', 2, { iostream: 'stderr', invocation: 'other' }),
      line('filters', 3, { component: 'egress', iostream: '' }),
    ];
    await store.insertLogs(records);
    expect(await bodies('filters', { iostream: 'stderr' })).toEqual(['line 2']);
    expect(await bodies('filters', { components: ['worker'] })).toEqual(['line 1', 'line 2']);
    expect(await bodies('filters', { components: ['egress', 'none'] })).toEqual(['line 3']);
    expect(await bodies('filters', { invocation: 'other' })).toEqual(['line 2']);
    expect(await ask('filters', { namespace: 'other' })).toEqual([]);
  });

  test.each([`' OR 1=1 --`, `x'; DROP TABLE clrk.logs; --`, '{after:UInt64}', '\\', `\\'`, '[]', `']`, "a\u0000b\n\t'", '😀'])(
    'takes %j as a value, never as SQL',
    async (hostile) => {
      await store.insertLogs([line('sql', 1)]);
      expect(await ask(hostile)).toEqual([]);
      expect(await ask('sql', { components: [hostile, 'x'], invocation: hostile })).toEqual([]);
      const mine = line(hostile, 1, { id: `${hostile}-1`, invocation: hostile, component: hostile });
      await store.insertLogs([mine]);
      await store.insertLogs([mine]);
      expect(await ask(hostile, { components: [hostile, 'x'], invocation: hostile })).toMatchObject([mine]);
      expect(await ask('sql')).toHaveLength(1);
    },
  );

  test('a record that comes again is not there again, nor later than it was: in one call, in the next, at once, after a restart', async () => {
    const [a, b, c, d] = [1, 2, 3, 4].map((n) => line('again', n)) as [LogRecord, LogRecord, LogRecord, LogRecord];
    await Promise.all([store.insertLogs([a, a, b]), store.insertLogs([a, b])]);
    await store.insertLogs([b, c]);
    const before = await ask('again');
    await store[Symbol.asyncDispose]();
    await open();
    await store.insertLogs([a, b, c, d]);
    const after = await ask('again');
    expect(after.map(({ body }) => body)).toEqual(['line 1', 'line 2', 'line 3', 'line 4']);
    expect(after.slice(0, 3)).toEqual(before);
    expect(after[3]!.position).toBeGreaterThan(before[2]!.position);
  });

  test('waits for a line that comes, and no longer than it was told', async () => {
    expect(await ask('waits', { after: 0, waitMs: 30 })).toEqual([]);
    const waiting = ask('waits', { after: 0, waitMs: 20_000 });
    await store.insertLogs([line('somebody else', 1)]);
    await store.insertLogs([line('waits', 1)]);
    expect((await waiting).map(({ body }) => body)).toEqual(['line 1']);
    const abort = new AbortController();
    const ended = store.logs({ namespace: 'default', agent: 'waits', components: [], limit: 1, after: Number.MAX_SAFE_INTEGER, waitMs: 20_000 }, abort.signal);
    abort.abort();
    expect(await ended).toEqual([]);
  });
});

test('only what may be stored already is asked for; after a failed insert everything may', async () => {
  const asked: string[][] = [];
  const order = new LogOrder({ known: async (records) => (asked.push(records.map(({ id }) => id)), new Set(['w-2'])), position: 5, now: () => 0 });
  const [one, two, three] = [1, 2, 3].map((n) => line('w', n)) as [LogRecord, LogRecord, LogRecord];
  const put = async (...records: LogRecord[]) => {
    const fresh = await order.prepare(records);
    order.written(records);
    return fresh.map(({ id, position }) => [id, position]);
  };
  expect(await put(one, two)).toEqual([['w-1', 6]]);
  expect(await put(three)).toEqual([['w-3', 7]]);
  expect(asked).toEqual([['w-1', 'w-2']]);
  order.failed([three]);
  expect(await put(line('w', 4))).toEqual([['w-4', 8]]);
  expect(asked).toEqual([['w-1', 'w-2'], ['w-4']]);
});

test('OTLP/JSON has the agent as resource and the rest as attributes; absent is left out', () => {
  expect(otlpLogs([])).toEqual({ resourceLogs: [] });
  const record = { ...logRecord({ time: '2026-11-24T10:00:00.000000001Z' }), position: 42 };
  const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
  expect(otlpLogs([record])).toEqual({
    resourceLogs: [
      {
        resource: { attributes: [text('agent.kind', 'TaskAgent'), text('agent.namespace', 'default'), text('agent.name', 'summarizer')] },
        scopeLogs: [
          {
            scope: { name: 'clrk' },
            logRecords: [
              {
                timeUnixNano: '1795514400000000001',
                body: { stringValue: 'a line' },
                traceId: record.traceId,
                spanId: record.spanId,
                attributes: [
                  text('log.record.uid', 'inv-aaaa-1'),
                  text('clrk.revision', 'summarizer-00001'),
                  text('invocation.id', record.invocation),
                  text('clrk.worker', '0'),
                  text('clrk.component', 'worker'),
                  text('log.iostream', 'stdout'),
                  { key: 'clrk.position', value: { intValue: '42' } },
                ],
              },
            ],
          },
        ],
      },
    ],
  });
});
