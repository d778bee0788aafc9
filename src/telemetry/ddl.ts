import { EXCHANGE_COLUMNS, LOG_COLUMNS, type Column } from './columns.ts';

/** DDL from the column tables, the same for the embedded ClickHouse and a server. */
export const DATABASE = 'clrk';

/** When the row was written: of two rows of one record the later one holds. */
export const VERSION_COLUMN = 'inserted_at';

export interface Table<Field extends string = string> {
  /** With its database. */
  readonly name: string;
  readonly columns: readonly Column<Field>[];
  /** Starts with what every query filters by, so that the newest N read little, and ends with the key of a record. */
  readonly order: readonly string[];
  readonly retentionDays: number;
}

const table = <Field extends string>(name: string, columns: readonly Column<Field>[], order: readonly string[], retentionDays: number): Table<Field> => ({
  name: `${DATABASE}.${name}`,
  columns,
  order,
  retentionDays,
});

export const EXCHANGES = table('exchanges', EXCHANGE_COLUMNS, ['namespace', 'time', 'decision_id'], 30);
export const LOGS = table('logs', LOG_COLUMNS, ['namespace', 'agent', 'time', 'id'], 7);
const TABLES: readonly Table[] = [EXCHANGES, LOGS];

/**
 * Statements that make a table, or bring an older one up to date; running them again changes nothing. Rows of one record
 * (same key) are merged into the latest in time. Each insert is synced to disk before it is acknowledged.
 */
const tableDdl = ({ name, columns: described, order, retentionDays }: Table): readonly string[] => {
  const columns = [...described, { name: VERSION_COLUMN, type: "DateTime64(6, 'UTC') DEFAULT now64(6)" }];
  return [
    `CREATE TABLE IF NOT EXISTS ${name} (${columns.map((column) => `${column.name} ${column.type}`).join(', ')},
       INDEX by_invocation invocation TYPE bloom_filter GRANULARITY 4)
     ENGINE = ReplacingMergeTree(${VERSION_COLUMN})
     PARTITION BY toDate(time) ORDER BY (${order.join(', ')})
     TTL toDateTime(time) + INTERVAL ${retentionDays} DAY DELETE
     SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
    // In one statement: each one takes its time at every start.
    `ALTER TABLE ${name} ${columns.map((column) => `ADD COLUMN IF NOT EXISTS ${column.name} ${column.type}`).join(', ')}`,
  ];
};

export const ddl = (): readonly string[] => [`CREATE DATABASE IF NOT EXISTS ${DATABASE} ENGINE = Atomic`, ...TABLES.flatMap(tableDdl)];
