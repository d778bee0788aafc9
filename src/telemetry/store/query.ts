import type { ExchangeQuery, ExchangeRecord } from '#model';
import { EXCHANGE_COLUMNS } from '../columns.ts';
import { TABLE, VERSION_COLUMN } from '../ddl.ts';

export const DEFAULT_LIMIT = 1_000;
export const MAX_LIMIT = 10_000;
/** What one query may take; ClickHouse ends it with an error beyond. */
const LIMITS = 'max_execution_time = 10, max_memory_usage = 268435456, max_threads = 2';
const FORMAT = "output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'";

const STORED = EXCHANGE_COLUMNS.flatMap(({ name, type, field }) => (field ? [{ name, field, integer: /U?Int/.test(type) }] : []));

/** SQL with `{name:Type}` places and the values bound to them by ClickHouse: no value is ever part of the text. */
export interface BoundQuery {
  readonly sql: string;
  readonly params: Readonly<Record<string, string | number>>;
}

/** The newest `limit` records that match, oldest first, one row for each decision id. */
export const exchangesQuery = (query: ExchangeQuery): BoundQuery => {
  const where = ['namespace = {namespace:String}'];
  const params: Record<string, string | number> = { namespace: query.namespace, limit: limitOf(query.limit) };
  const filter = (condition: string, name: string, value: string | number | undefined): void => {
    if (value === undefined) return;
    where.push(condition);
    params[name] = value;
  };
  filter('invocation = {invocation:String}', 'invocation', query.invocation);
  filter('agent = {agent:String}', 'agent', query.agent);
  filter('time > fromUnixTimestamp64Milli({since:Int64})', 'since', query.since === undefined ? undefined : Math.floor(query.since));
  const sql = `SELECT ${STORED.map((column) => column.name).join(', ')} FROM (
      SELECT * FROM ${TABLE} WHERE ${where.join(' AND ')}
      ORDER BY time DESC, decision_id DESC, ${VERSION_COLUMN} DESC LIMIT 1 BY decision_id LIMIT {limit:UInt32})
    ORDER BY time, decision_id SETTINGS ${LIMITS}, ${FORMAT}`;
  return { sql, params };
};

const limitOf = (limit: number | undefined): number => Math.min(MAX_LIMIT, Math.max(1, Math.trunc(limit ?? DEFAULT_LIMIT)));

/** A record as a JSONEachRow object. Numbers of integer columns are made whole and not negative. */
export const rowOf = (record: ExchangeRecord): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    STORED.map(({ name, field, integer }) => {
      const value = record[field];
      return [name, integer && typeof value === 'number' ? Math.max(0, Math.trunc(value)) : (value ?? null)];
    }),
  );

/** The record of a row; columns that hold NULL are absent fields. */
export const recordOf = (row: Readonly<Record<string, unknown>>): ExchangeRecord =>
  Object.fromEntries(STORED.flatMap(({ name, field }) => (row[name] === null ? [] : [[field, row[name]]]))) as unknown as ExchangeRecord;
