import { appendFile, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { exited, poll, READY_STDIO, readyReport, silentLogger, sleep, spawnChild, systemClock } from '#lib';
import { layout, type AccessLine, type ExchangeRecord, type LogRecord, type StdioLine } from '#model';
import { createRecorder } from '#telemetry';
import { connect, createRpcServer, Store, type RpcServer } from '#wire';

let dir: string;
let cleanups: (() => unknown)[];
beforeEach(async () => {
  cleanups = [];
  dir = await mkdtemp(join(tmpdir(), 'clrk-rec-'));
  const { egressRecords, workerRecords, envoyRecords } = paths().worker('0');
  for (const own of [egressRecords, workerRecords, envoyRecords(0)]) await mkdir(own, { recursive: true });
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  await rm(dir, { recursive: true, force: true });
});
const paths = () => layout(dir, dir);
const within = (ms: number) => AbortSignal.timeout(ms);

const access = (id: string, over: Partial<AccessLine> = {}): string => {
  const line: AccessLine = {
    time: new Date().toISOString(),
    id,
    chain: 'http',
    gateway: 'default/out',
    source: '100.64.0.1',
    sni: 'a.example',
    host: 'a.example',
    status: 200,
    ...over,
  };
  return `${JSON.stringify(line)}\n`;
};
const stdio = (number: number, body: string, over: Partial<StdioLine> = {}): string => {
  const line: StdioLine = {
    id: `inv-aaaa-${number}`,
    time: `2026-11-24T10:00:00.${String(number).padStart(9, '0')}Z`,
    namespace: 'default',
    agent: 'summarizer',
    revision: 'summarizer-00001',
    invocation: 'inv',
    traceId: 't',
    spanId: 's',
    iostream: 'stdout',
    event: '',
    body,
    ...over,
  };
  return `${JSON.stringify(line)}\n`;
};
const bindAddress = () =>
  appendFile(
    paths().worker('0').bindings,
    `${JSON.stringify({ event: 'bind', time: Date.now(), address: '100.64.0.1', namespace: 'default', agent: 'summarizer', invocation: 'inv', traceId: 't', spanId: 's' })}\n`,
  );

const start = async (program: 'recorder' | 'store') => {
  const child = spawnChild(process.execPath, [`src/cmd/${program}.ts`, '--state', dir, '--run', dir, '--tools', '/nowhere', '--name', '0'], {
    stdio: READY_STDIO,
  });
  let stderr = '';
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = exited(child);
  cleanups.push(() => (child.kill('SIGKILL'), ended));
  await Promise.race([
    readyReport(child),
    ended.then(() => {
      throw new Error(stderr);
    }),
  ]);
  return { child, ended, stderr: () => stderr };
};

/** A store that keeps records by id and how often each came. */
const collecting = async () => {
  const records = new Map<string, ExchangeRecord>();
  const logs: LogRecord[] = [];
  let server: RpcServer | undefined;
  const up = async () => {
    server = createRpcServer().add(Store, {
      insertExchanges: async (batch) => {
        for (const one of batch.records) records.set(one.decisionId, one as unknown as ExchangeRecord);
        return {};
      },
      exchanges: async () => ({ records: [] }),
      insertLogs: async (batch) => {
        logs.push(...(batch.records as unknown as LogRecord[]));
        return {};
      },
      logs: async () => ({ records: [] }),
    });
    await server.listen(paths().storeSocket);
  };
  const down = async () => server?.[Symbol.asyncDispose]();
  cleanups.push(down);
  await up();
  return { records, logs, up, down };
};

test('a request is in ClickHouse within a second of its line', async () => {
  const store = await start('store');
  await start('recorder');
  const client = connect(Store, paths().storeQuerySocket);
  cleanups.push(() => client.close());
  await bindAddress();
  await appendFile(paths().worker('0').accessLog(0), access('warm-up'));
  const visible = (id: string) =>
    poll(async () => (await client.exchanges({ namespace: 'default', invocation: 'inv' })).records.find((r) => r.decisionId === id), 10, within(10_000));
  await visible('warm-up');
  const lags: number[] = [];
  for (const id of ['a', 'b', 'c']) {
    const begun = performance.now();
    await appendFile(paths().worker('0').accessLog(0), access(id));
    expect(await visible(id)).toMatchObject({ agent: 'summarizer', invocation: 'inv', verdict: 'Allowed', worker: '0', status: 200 });
    lags.push(performance.now() - begun);
  }
  expect(lags.toSorted((a, b) => a - b)[1]).toBeLessThan(1_000);
  expect(store.stderr()).toBe('');
}, 40_000);

test('killed again and again, with the store going away in between, it loses nothing and makes nothing up', async () => {
  const store = await collecting();
  await bindAddress();
  let written = 0;
  let writing = true;
  const writer = (async () => {
    while (writing) {
      // in pieces, as a buffered writer flushes: the last line is often not whole
      const text = Array.from({ length: 20 }, () => access(`k${written++}`)).join('');
      const cut = Math.floor(Math.random() * text.length);
      await appendFile(paths().worker('0').accessLog(0), text.slice(0, cut));
      await sleep(5);
      await appendFile(paths().worker('0').accessLog(0), text.slice(cut));
    }
  })();
  for (let n = 0; n < 6; n++) {
    const recorder = await start('recorder');
    await sleep(Math.random() * 700); // where it is killed is left to chance
    if (n === 2) await store.down();
    recorder.child.kill('SIGKILL');
    await recorder.ended;
    if (n === 3) await store.up();
  }
  writing = false;
  await writer;
  await start('recorder');
  await poll(() => (store.records.size >= written ? true : undefined), 20, within(20_000));
  expect([...store.records.keys()].toSorted()).toEqual(Array.from({ length: written }, (_, n) => `k${n}`).toSorted());
  expect([...store.records.values()].every((r) => r.invocation === 'inv' && r.worker === '0')).toBe(true);
}, 60_000);

test('without a store records wait; it ends on SIGTERM; the next one ships them', async () => {
  await bindAddress();
  await appendFile(paths().worker('0').accessLog(0), access('waits'));
  const recorder = await start('recorder');
  const spooled = async () => {
    const files = await readdir(paths().worker('0').spool).catch(() => []);
    const text = (
      await Promise.all(files.filter((name) => name.endsWith('.jsonl')).map((name) => readFile(join(paths().worker('0').spool, name), 'utf8')))
    ).join('');
    return text.includes('"waits"') ? true : undefined;
  };
  await poll(spooled, 20, within(5_000));
  recorder.child.kill('SIGTERM');
  expect(await recorder.ended).toEqual({ code: 0, signal: null });
  const store = await collecting();
  await start('recorder');
  await poll(() => (store.records.has('waits') ? true : undefined), 20, within(5_000));
}, 30_000);

test('an ending recorder takes along what was written last', async () => {
  const got: string[] = [];
  const stop = new AbortController();
  const store = {
    insertExchanges: async (records: readonly ExchangeRecord[]) => void got.push(...records.map((r) => r.decisionId)),
    insertLogs: async (records: readonly LogRecord[]) => void got.push(...records.map((r) => r.body)),
  };
  const recorder = await createRecorder({ layout: paths().worker('0'), worker: '0', store, log: silentLogger, clock: systemClock, signal: stop.signal });
  await bindAddress();
  await appendFile(paths().worker('0').accessLog(0), access('last'));
  await appendFile(paths().worker('0').stdioLog, stdio(1, 'last line'));
  stop.abort();
  await recorder[Symbol.asyncDispose]();
  expect(got.toSorted()).toEqual(['last', 'last line']);
});

test('no credential that shows up in a line reaches spool or store', async () => {
  const key = 'sk-proj-Canary00Canary11Canary22';
  const { records } = await collecting();
  await bindAddress();
  const over = { path: `/v1/${key}`, host: `${key}.example`, method: `Bearer ${key}`, destination: key, route: `x/${key}`, details: key, upstreamFailure: key };
  const engine = { verdict: 'Allowed', reason: key, route: key, rule: 0, revision: key, model: key, provider: key, operation: key, fetches: [key] } as const;
  const usage = { responseModel: key, responseId: key, finishReason: key };
  const credential = { replaced: `header ${key}`, echoed: key, refused: key };
  await appendFile(
    paths().worker('0').accessLog(0),
    access('canary-1', over) + access('canary-2', { ...over, engine, usage, credential }) + access('canary-3', { reason: key, gateway: key }),
  );
  await start('recorder');
  await poll(() => (records.size === 3 ? true : undefined), 20, within(10_000));
  expect(JSON.stringify([...records.values()])).not.toMatch(/canary00/i);
  for (const name of (await readdir(paths().worker('0').spool)).filter((file) => file.endsWith('.jsonl')))
    expect(await readFile(join(paths().worker('0').spool, name), 'utf8')).not.toMatch(/canary00/i);
}, 30_000);

test('lines of runs: as they were printed but without credentials; what is missing is said, once, also over restarts', async () => {
  const { logs } = await collecting();
  const file = paths().worker('0').stdioLog;
  const key = 'sk-proj-Canary00Canary11Canary22';
  await appendFile(file, stdio(1, 'plain \u001b[31mred\u001b[0m \u0000\t\u202e') + stdio(2, `key ${key}`) + 'no line\n' + stdio(3, '', { iostream: 'stderr' }));
  const first = await start('recorder');
  const bodies = (count: number) =>
    poll(() => (logs.length >= count ? logs.map(({ id, iostream, event, body }) => [id, iostream, event, body]) : undefined), 20, within(10_000));
  expect(await bodies(3)).toEqual([
    ['inv-aaaa-1', 'stdout', '', 'plain \u001b[31mred\u001b[0m \u0000\t\u202e'],
    ['inv-aaaa-2', 'stdout', '', 'key [redacted]'],
    ['inv-aaaa-3', 'stderr', '', ''],
  ]);
  expect(logs[0]).toMatchObject({ worker: '0', component: 'worker', agent: 'summarizer', revision: 'summarizer-00001' });
  await sleep(1_200); // the checkpoint is at the third line
  first.child.kill('SIGKILL');
  await first.ended;
  logs.length = 0;
  // The file is put aside twice while nobody reads, and the first of those is gone, with lines 4 and 5.
  await appendFile(file, stdio(4, 'four') + stdio(5, 'five'));
  await rm(file);
  await appendFile(`${file}.1`, stdio(6, 'six'));
  await appendFile(file, stdio(7, 'ended', { iostream: '', event: 'ended' }) + stdio(1, 'another', { id: 'inv-bbbb-1' }));
  await start('recorder');
  const last = async () => (await bodies(4)).filter(([id]) => !['inv-aaaa-1', 'inv-aaaa-2', 'inv-aaaa-3'].includes(id!));
  await poll(async () => ((await last()).length >= 4 ? true : undefined), 20, within(10_000));
  expect(await last()).toEqual([
    ['inv-aaaa-5', '', 'dropped', '(2 lines are missing here: they could not be written, or were not read in time)'],
    ['inv-aaaa-6', 'stdout', '', 'six'],
    ['inv-aaaa-7', '', 'ended', 'ended'],
    ['inv-bbbb-1', 'stdout', '', 'another'],
  ]);
}, 40_000);
