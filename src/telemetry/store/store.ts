import { mkdir } from 'node:fs/promises';
import type { Session } from 'chdb';
import { ClrkError, messageOf, type Logger } from '#lib';
import type { ExchangeQuery, ExchangeRecord, StorePort } from '#model';
import { EXCHANGE_COLUMNS } from '../columns.ts';
import { exchangesDdl, TABLE } from '../ddl.ts';
import { exchangesQuery, recordOf, rowOf } from './query.ts';

/** The store of records. Disposing it waits for what it accepted. */
export interface Store extends StorePort, AsyncDisposable {}

/** Rows in one INSERT: everything that waits goes together, because each INSERT makes a part and syncs it. */
const MAX_ROWS = 10_000;
const COLUMNS = EXCHANGE_COLUMNS.flatMap((column) => (column.field ? [column.name] : []));
/** For the whole engine; caches are sized for one machine shared with sandboxes. */
const ENGINE = ['--max_server_memory_usage=1073741824', '--mark_cache_size=67108864', '--background_pool_size=2'];

interface Waiting {
  readonly records: readonly ExchangeRecord[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Opens the embedded ClickHouse in `dir` and brings its table up to date. Errors: `ToolBroken` when chdb is missing or
 * does not load, `StoreUnusable` when the directory does not open (another process has it, no space, damage).
 */
export const openStore = async (options: { readonly dir: string; readonly log: Logger }): Promise<Store> => {
  const session = await openSession(options.dir);
  const waiting: Waiting[] = [];
  let writer: Promise<void> | undefined;

  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = takeBatch(waiting);
      const rows = batch.flatMap(({ records }) => records.map((record) => JSON.stringify(rowOf(record))));
      try {
        await session.insert({
          table: TABLE,
          columns: COLUMNS,
          values: Buffer.from(rows.join('\n')),
          format: 'JSONEachRow',
          settings: { date_time_input_format: 'best_effort' },
        });
        for (const { resolve } of batch) resolve();
      } catch (error) {
        options.log.error('insert failed', { err: error, rows: rows.length });
        for (const { reject } of batch) reject(error);
      }
    }
    writer = undefined;
  };

  return {
    insertExchanges: (records) =>
      new Promise((resolve, reject) => {
        if (records.length === 0) return resolve();
        waiting.push({ records, resolve, reject });
        writer ??= write();
      }),
    exchanges: async (query: ExchangeQuery) => {
      const { sql, params } = exchangesQuery(query);
      const text = (await session.queryBindAsync(sql, params, { format: 'JSONEachRow' })).text();
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => recordOf(JSON.parse(line) as Record<string, unknown>));
    },
    async [Symbol.asyncDispose]() {
      await writer;
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
      for (const statement of exchangesDdl()) await session.queryAsync(statement);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  } catch (cause) {
    throw new ClrkError('StoreUnusable', { dir, cause: messageOf(cause).split('\n')[0]! }, { cause });
  }
};

/** At least one entry, then more while they fit into one INSERT. */
const takeBatch = (waiting: Waiting[]): readonly Waiting[] => {
  let rows = waiting[0]!.records.length;
  let count = 1;
  while (count < waiting.length && rows + waiting[count]!.records.length <= MAX_ROWS) rows += waiting[count++]!.records.length;
  return waiting.splice(0, count);
};
