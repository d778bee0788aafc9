import { mkdir } from 'node:fs/promises';
import type { Session } from 'chdb';
import { ClrkError, messageOf, systemClock, type Logger } from '#lib';
import type { ExchangeRecord, LogQuery, LogRecord, StoredLog, StorePort } from '#model';
import { ddl, EXCHANGES, LOGS } from '../ddl.ts';
import { LogOrder } from './log-order.ts';
import { exchangesQuery, knownLogsQuery, lastPositionQuery, logsQuery, type BoundQuery } from './query.ts';
import { recordOf } from './rows.ts';
import { Writer } from './writer.ts';

/** The store of records. Disposing it waits for what it accepted. */
export interface Store extends StorePort, AsyncDisposable {}

/** For the whole engine; caches are sized for one machine shared with sandboxes. */
const ENGINE = ['--max_server_memory_usage=1073741824', '--mark_cache_size=67108864', '--background_pool_size=2'];
const MAX_WAIT_MS = 30_000;

/**
 * Opens the embedded ClickHouse in `dir` and brings its tables up to date. Errors: `ToolBroken` when chdb is missing or
 * does not load, `StoreUnusable` when the directory does not open (another process has it, no space, damage).
 */
export const openStore = async (options: { readonly dir: string; readonly log: Logger }): Promise<Store> => {
  const session = await openSession(options.dir);
  const rows = async ({ sql, params }: BoundQuery): Promise<readonly Record<string, unknown>[]> => {
    const text = (await session.queryBindAsync(sql, params, { format: 'JSONEachRow' })).text();
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };

  const exchanges = new Writer<ExchangeRecord>(session, EXCHANGES, options.log);
  const [last] = await rows(lastPositionQuery);
  const known = async (records: readonly LogRecord[]): Promise<ReadonlySet<string>> =>
    new Set((await rows(knownLogsQuery(records))).map(({ id }) => String(id)));
  const order = new LogOrder({ known, position: Number(last?.['position'] ?? 0), now: systemClock.now });
  let changed = Promise.withResolvers<void>();
  const logs = new Writer<LogRecord>(session, LOGS, options.log, {
    prepare: (records) => order.prepare(records),
    written: (records) => {
      order.written(records);
      changed.resolve();
      changed = Promise.withResolvers();
    },
    failed: (records) => order.failed(records),
  });
  const readLogs = async (query: LogQuery): Promise<readonly StoredLog[]> => (await rows(logsQuery(query))).map(recordOf<StoredLog>(LOGS));

  return {
    insertExchanges: (records) => exchanges.insert(records),
    exchanges: async (query) => (await rows(exchangesQuery(query))).map(recordOf<ExchangeRecord>(EXCHANGES)),
    insertLogs: (records) => logs.insert(records),
    logs: async (query, signal = new AbortController().signal) => {
      const until = AbortSignal.any([signal, AbortSignal.timeout(Math.min(query.waitMs ?? 0, MAX_WAIT_MS))]);
      const ended = new Promise<void>((resolve) => until.addEventListener('abort', () => resolve(), { once: true }));
      for (;;) {
        const next = changed.promise; // before reading: what comes during it is seen by the next round
        const found = await readLogs(query);
        if (found.length > 0 || !query.waitMs || until.aborted) return found;
        await Promise.race([next, ended]);
      }
    },
    async [Symbol.asyncDispose]() {
      await exchanges[Symbol.asyncDispose]();
      await logs[Symbol.asyncDispose]();
      session.close();
    },
  };
};

const openSession = async (dir: string): Promise<Session> => {
  const chdb = await import('chdb').catch((cause: unknown) => {
    throw new ClrkError('ToolBroken', { tool: 'chdb (the embedded ClickHouse)', cause: messageOf(cause), path: 'node_modules' }, { cause });
  });
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const session = new chdb.Session(dir, { connectionArgs: ENGINE });
    try {
      for (const statement of ddl()) await session.queryAsync(statement);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  } catch (cause) {
    throw new ClrkError('StoreUnusable', { dir, cause: messageOf(cause).split('\n')[0]! }, { cause });
  }
};
