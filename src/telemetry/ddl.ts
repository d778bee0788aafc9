import { EXCHANGE_COLUMNS } from './columns.ts';

/** DDL from the column table, the same for the embedded ClickHouse and a server. */
export const DATABASE = 'clrk';
export const TABLE = `${DATABASE}.exchanges`;
export const RETENTION_DAYS = 30;

/** When the row was written: of two rows of one record the later one holds. */
export const VERSION_COLUMN = 'inserted_at';

/**
 * Statements that make the table, or bring an older one up to date; running them again changes nothing. The key starts
 * with what every query filters by, so that the newest N of a namespace read little; rows of one record (same key) are
 * merged into the latest in time. Each insert is synced to disk before it is acknowledged.
 */
export const exchangesDdl = (): readonly string[] => {
  const columns = [
    ...EXCHANGE_COLUMNS.map((column) => ({ name: column.name, type: column.type })),
    { name: VERSION_COLUMN, type: "DateTime64(6, 'UTC') DEFAULT now64(6)" },
  ];
  return [
    `CREATE DATABASE IF NOT EXISTS ${DATABASE} ENGINE = Atomic`,
    `CREATE TABLE IF NOT EXISTS ${TABLE} (${columns.map((column) => `${column.name} ${column.type}`).join(', ')},
       INDEX by_invocation invocation TYPE bloom_filter GRANULARITY 4)
     ENGINE = ReplacingMergeTree(${VERSION_COLUMN})
     PARTITION BY toDate(time) ORDER BY (namespace, time, decision_id)
     TTL toDateTime(time) + INTERVAL ${RETENTION_DAYS} DAY DELETE
     SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
    ...columns.map((column) => `ALTER TABLE ${TABLE} ADD COLUMN IF NOT EXISTS ${column.name} ${column.type}`),
  ];
};
