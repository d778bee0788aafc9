import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exited, readyReport, READY_STDIO, silentLogger, spawnChild } from '#lib';
import { layout, type ExchangeRecord } from '#model';
import { connect, exchangeBatch, status, Store as StoreService } from '#wire';
import { openStore, type Store } from '#telemetry/store';
import { EXCHANGE_COLUMNS } from '#telemetry';
import { ddl, EXCHANGES } from '../../../src/telemetry/ddl.ts';
import { record } from './records.ts';

const day = 24 * 60 * 60 * 1000;
const recently = Date.now() - day;
const at = (ms: number): string => new Date(recently + ms).toISOString();

describe('the store', () => {
  let dir: string;
  let store: Store;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'clrk-store-'));
    store = await openStore({ dir: join(dir, 'clickhouse'), log: silentLogger });
  });
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const put = (namespace: string, ...records: readonly Partial<ExchangeRecord>[]): Promise<void> =>
    store.insertExchanges(records.map((over) => record({ namespace, time: at(0), ...over })));

  test('has a column for every field of a record, and gives back what was put in', async () => {
    const whole = record({ namespace: 'whole', time: at(7) });
    expect(EXCHANGE_COLUMNS.flatMap(({ field }) => (field ? [field] : [])).toSorted()).toEqual(Object.keys(whole).toSorted());
    await store.insertExchanges([whole]);
    expect(await store.exchanges({ namespace: 'whole' })).toEqual([whole]);
  });

  test('keeps unknown tokens unknown and zero tokens zero', async () => {
    const whole = record({ namespace: 'tokens', time: at(1), decisionId: 'a' });
    const unknown = Object.fromEntries(Object.entries(whole).filter(([name]) => !name.endsWith('Tokens'))) as unknown as ExchangeRecord;
    const zero = record({ namespace: 'tokens', time: at(2), decisionId: 'b', inputTokens: 0, outputTokens: 0 });
    await store.insertExchanges([unknown, zero]);
    expect(await store.exchanges({ namespace: 'tokens' })).toEqual([unknown, zero]);
  });

  test('gives the newest N, oldest first', async () => {
    await put('newest', ...[3, 1, 5, 2, 4].map((n) => ({ decisionId: `d${n}`, time: at(n) })));
    const ids = async (limit?: number) => (await store.exchanges({ namespace: 'newest', ...(limit ? { limit } : {}) })).map((r) => r.decisionId);
    expect(await ids(3)).toEqual(['d3', 'd4', 'd5']);
    expect(await ids()).toEqual(['d1', 'd2', 'd3', 'd4', 'd5']);
  });

  test('filters by invocation, agent and time; `since` is exclusive', async () => {
    await put('filters', { decisionId: 'a', agent: 'x', invocation: 'i1', time: at(1) }, { decisionId: 'b', agent: 'y', invocation: 'i2', time: at(2) });
    const ids = async (filter: object) => (await store.exchanges({ namespace: 'filters', ...filter })).map((r) => r.decisionId);
    expect(await ids({ agent: 'x' })).toEqual(['a']);
    expect(await ids({ invocation: 'i2' })).toEqual(['b']);
    expect(await ids({ invocation: 'i2', agent: 'x' })).toEqual([]);
    expect(await ids({ since: recently + 1 })).toEqual(['b']);
    expect(await store.exchanges({ namespace: 'other' })).toEqual([]);
  });

  test('filters by verdict, protocol and pattern of the host, or of the address where there is none', async () => {
    await put(
      'patterns',
      { decisionId: 'a', host: 'api.example.com', protocol: 'https', time: at(1) },
      { decisionId: 'b', host: 'a%b_c.example.com', protocol: 'dns', verdict: 'Denied', time: at(2) },
      { decisionId: 'c', host: '', destination: '10.40.0.5:5432', protocol: 'tcp', verdict: 'Denied', time: at(3) },
      { decisionId: 'd', host: '', destination: '[2001:db8::1]:53', protocol: 'udp', time: at(4) },
    );
    const ids = async (filter: object) => (await store.exchanges({ namespace: 'patterns', ...filter })).map((r) => r.decisionId);
    expect(await ids({ verdict: 'Denied' })).toEqual(['b', 'c']);
    expect(await ids({ protocols: ['tcp', 'udp'] })).toEqual(['c', 'd']);
    expect(await ids({ protocols: [] })).toHaveLength(4);
    expect(await ids({ host: '*.example.com' })).toEqual(['a', 'b']);
    expect(await ids({ host: 'ap?.example.com' })).toEqual(['a']);
    expect(await ids({ host: 'a%c.example.com' })).toEqual([]);
    expect(await ids({ host: 'a%b_c.example.com' })).toEqual(['b']);
    expect(await ids({ host: 'a%b?c.example.com' })).toEqual(['b']);
    expect(await ids({ host: 'a\\' })).toEqual([]);
    expect(await ids({ host: '10.40.*' })).toEqual(['c']);
    expect(await ids({ host: '2001:db8::1' })).toEqual(['d']);
    expect(await ids({ host: '198.18.*' })).toEqual([]);
    expect(await ids({ limit: 1, verdict: 'Denied' })).toEqual(['c']);
  });

  test('shows a record that was inserted again once, in its later form, before any merge', async () => {
    await put('again', { decisionId: 'a', reason: 'First' }, { decisionId: 'b' });
    for (const reason of ['Third', 'Fourth', 'Second']) await put('again', { decisionId: 'a', reason }, { decisionId: 'a', reason });
    expect((await store.exchanges({ namespace: 'again' })).map((r) => [r.decisionId, r.reason])).toEqual([
      ['a', 'Second'],
      ['b', 'Allowed'],
    ]);
    expect(await store.exchanges({ namespace: 'again', limit: 2 })).toHaveLength(2);
  });

  test.each([`' OR 1=1 --`, `x'; DROP TABLE clrk.exchanges; --`, '{namespace:String}', '\\', `\\'`, "a\u0000b\n\t'", '%', '😀'])(
    'takes %j as a value, never as SQL',
    async (hostile) => {
      await put('sql', { decisionId: 'kept' });
      expect(await store.exchanges({ namespace: hostile })).toEqual([]);
      expect(await store.exchanges({ namespace: 'sql', agent: hostile, invocation: hostile })).toEqual([]);
      const mine = record({ namespace: hostile, agent: hostile, invocation: hostile, path: hostile, time: at(1) });
      await store.insertExchanges([mine]);
      expect(await store.exchanges({ namespace: hostile, agent: hostile, invocation: hostile })).toEqual([mine]);
      expect(await store.exchanges({ namespace: 'sql' })).toHaveLength(1);
    },
  );

  test('is bounded to 10,000 records and accepts nonsense limits', async () => {
    await put('many', ...Array.from({ length: 10_001 }, (_, n) => ({ decisionId: `d${n}`, time: at(n) })));
    expect(await store.exchanges({ namespace: 'many', limit: 1_000_000 })).toHaveLength(10_000);
    expect(await store.exchanges({ namespace: 'many', limit: 0 })).toHaveLength(1);
  });

  test('acknowledges every one of many concurrent batches', async () => {
    await Promise.all(Array.from({ length: 200 }, (_, n) => put('concurrent', { decisionId: `c${n}` })));
    expect(await store.exchanges({ namespace: 'concurrent' })).toHaveLength(200);
  });
});

test('rows of an older table are kept, and have nothing in the columns that are new', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-store-'));
  const whole = record({ namespace: 'older', time: at(1) });
  const { Session } = await import('chdb');
  const before = new Session(dir);
  try {
    for (const statement of ddl()) await before.queryAsync(statement);
    const added = [
      'route_matched',
      'max_tokens',
      'response_model',
      'finish_reasons',
      'cached_input_tokens',
      'budget_overrun',
      'cost_usd',
      'cost_estimated',
      'provider_fetches',
      'credentials_echoed',
    ];
    await before.queryAsync(`ALTER TABLE ${EXCHANGES.name} ${added.map((name) => `DROP COLUMN ${name}`).join(', ')}`);
    await before.queryAsync(`INSERT INTO ${EXCHANGES.name} (namespace, time, decision_id, model, input_tokens) VALUES ('older', now(), 'd-0', 'm', 5)`);
  } finally {
    before.close();
  }
  const store = await openStore({ dir, log: silentLogger });
  try {
    const [row] = await store.exchanges({ namespace: 'older' });
    expect(row).toMatchObject({
      decisionId: 'd-0',
      model: 'm',
      inputTokens: 5,
      routeMatched: false,
      responseModel: '',
      costEstimated: false,
      finishReasons: [],
      credentialsEchoed: [],
    });
    expect([row!.maxTokens, row!.costUsd]).toEqual([undefined, undefined]);
    await store.insertExchanges([whole]);
    expect(await store.exchanges({ namespace: 'older', since: recently })).toContainEqual(whole);
  } finally {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  }
});

test('a directory that cannot be a store is refused with what to do', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-store-'));
  await writeFile(join(dir, 'clickhouse'), 'not a directory');
  await expect(openStore({ dir: join(dir, 'clickhouse'), log: silentLogger })).rejects.toMatchObject({ code: 'StoreUnusable' });
  await rm(dir, { recursive: true, force: true });
});

describe('cmd/store', () => {
  const cleanups: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });
  const start = async (dir: string) => {
    const child = spawnChild(process.execPath, ['src/cmd/store.ts', '--state', dir, '--run', dir], { stdio: READY_STDIO });
    let stderr = '';
    child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const ended = exited(child);
    cleanups.push(async () => (child.kill('SIGKILL'), ended));
    await Promise.race([
      readyReport(child),
      ended.then(() => {
        throw new Error(stderr);
      }),
    ]);
    return { child, ended };
  };

  test('has every acknowledged row after kill -9 and a restart, and ends on SIGTERM', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'clrk-store-'));
    cleanups.push(() => rm(dir, { recursive: true, force: true }));
    const { child, ended } = await start(dir);
    const client = connect(StoreService, layout(dir, dir).storeSocket);
    const queries = connect(StoreService, layout(dir, dir).storeQuerySocket);
    cleanups.push(async () => (client.close(), queries.close()));
    const acknowledged: string[] = [];
    const feed = (async () => {
      for (let n = 0; ; n++) {
        await client.insertExchanges(exchangeBatch([record({ decisionId: `k${n}`, time: at(n) })]), { timeoutMs: 5_000 });
        acknowledged.push(`k${n}`);
        if (n === 30) child.kill('SIGKILL'); // the next inserts are in the middle
      }
    })();
    await expect(feed).rejects.toThrow();
    await ended;

    const again = await start(dir);
    const { records } = await queries.exchanges({ namespace: 'default' });
    await expect(client.exchanges({ namespace: 'default' }), 'a recorder only adds').rejects.toMatchObject({ code: status.UNIMPLEMENTED });
    await expect(queries.insertExchanges({ records: [] }), 'controller-manager only asks').rejects.toMatchObject({ code: status.UNIMPLEMENTED });
    const found = new Set(records.map((r) => r.decisionId));
    expect(acknowledged.length).toBeGreaterThan(30);
    expect(acknowledged.filter((id) => !found.has(id))).toEqual([]);
    again.child.kill('SIGTERM');
    expect(await again.ended).toEqual({ code: 0, signal: null });
  });
});
