import type { ExchangeQuery, LogQuery, LogRecord } from '#model';
import { EXCHANGES, LOGS, VERSION_COLUMN } from '../ddl.ts';
import { columnsOf } from './rows.ts';

export const DEFAULT_LIMIT = 1_000;
export const MAX_LIMIT = 10_000;
const MAX_LOGS = 1_000;
/** What one query may take; ClickHouse ends it with an error beyond. */
const LIMITS = 'max_execution_time = 10, max_memory_usage = 268435456, max_threads = 2';
const FORMAT = "output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'";
const SETTINGS = `SETTINGS ${LIMITS}, ${FORMAT}`;

type Value = string | number | readonly string[];

/** SQL with `{name:Type}` places and the values bound to them by ClickHouse: no value is ever part of the text. */
export interface BoundQuery {
  readonly sql: string;
  readonly params: Readonly<Record<string, Value>>;
}

const time = (name: string): string => `parseDateTime64BestEffort({${name}:String}, 9, 'UTC')`;

/** Conditions and their values; one without a value is left out. */
const where = (
  conditions: readonly (readonly [condition: string, value: Value | undefined])[],
): { readonly text: string; readonly params: Record<string, Value> } => {
  const used = conditions.filter((entry): entry is readonly [string, Value] => entry[1] !== undefined);
  return {
    text: used.map(([condition]) => condition).join(' AND '),
    params: Object.fromEntries(used.map(([condition, value]) => [/\{(\w+):/.exec(condition)![1]!, value])),
  };
};

/** What was dialled, without port and brackets. */
const ADDRESS = "trim(BOTH '[]' FROM replaceRegexpOne(destination, ':[0-9]+$', ''))";

/** A pattern with `*` and `?` as one of LIKE. */
const likeOf = (pattern: string): string =>
  pattern
    .replace(/[\\%_]/g, '\\$&')
    .replaceAll('*', '%')
    .replaceAll('?', '_');

/** The newest `limit` records that match, oldest first, one row for each decision id. */
export const exchangesQuery = (query: ExchangeQuery): BoundQuery => {
  const { text, params } = where([
    ['namespace = {namespace:String}', query.namespace],
    ['invocation = {invocation:String}', query.invocation],
    ['agent = {agent:String}', query.agent],
    ['time > fromUnixTimestamp64Milli({since:Int64})', query.since === undefined ? undefined : Math.floor(query.since)],
    ['verdict = {verdict:String}', query.verdict],
    ['protocol IN {protocols:Array(String)}', query.protocols?.length ? query.protocols : undefined],
    [`if(host = '', ${ADDRESS}, host) LIKE {host:String}`, query.host === undefined ? undefined : likeOf(query.host)],
  ]);
  const sql = `SELECT ${columnsOf(EXCHANGES).join(', ')} FROM (
      SELECT * FROM ${EXCHANGES.name} WHERE ${text}
      ORDER BY time DESC, decision_id DESC, ${VERSION_COLUMN} DESC LIMIT 1 BY decision_id LIMIT {limit:UInt32})
    ORDER BY time, decision_id ${SETTINGS}`;
  return { sql, params: { ...params, limit: bounded(query.limit ?? DEFAULT_LIMIT, MAX_LIMIT) } };
};

/** See LogQuery. Every record is one row: the store takes none twice. */
export const logsQuery = (query: LogQuery): BoundQuery => {
  const { text, params } = where([
    ['namespace = {namespace:String}', query.namespace],
    ['agent = {agent:String}', query.agent],
    ['invocation = {invocation:String}', query.invocation],
    ['component IN {components:Array(String)}', query.components.length > 0 ? query.components : undefined],
    ['iostream = {iostream:String}', query.iostream],
    [`time > ${time('since')}`, query.since],
    ['position > {after:UInt64}', query.after],
  ]);
  const from = `FROM ${LOGS.name} WHERE ${text}`;
  const columns = columnsOf(LOGS).join(', ');
  const limited = 'LIMIT {limit:UInt32}';
  const [first, order] = query.after !== undefined ? ['position', 'position'] : ['time, position', 'time, position'];
  const page = query.after !== undefined || query.since !== undefined;
  const sql = page
    ? `SELECT ${columns} ${from} ORDER BY ${first} ${limited} ${SETTINGS}`
    : `SELECT * FROM (SELECT ${columns} ${from} ORDER BY time DESC, position DESC ${limited}) ORDER BY ${order} ${SETTINGS}`;
  return { sql, params: { ...params, limit: bounded(query.limit, MAX_LOGS) } };
};

/** The ids of those among these records (at least one) that the store has. */
export const knownLogsQuery = (records: readonly LogRecord[]): BoundQuery => {
  const times = records.map(({ time }) => time).toSorted();
  const distinct = (field: 'namespace' | 'agent'): readonly string[] => [...new Set(records.map((record) => record[field]))];
  return {
    sql: `SELECT id FROM ${LOGS.name} WHERE namespace IN {namespaces:Array(String)} AND agent IN {agents:Array(String)}
      AND time >= ${time('from')} AND time <= ${time('to')} AND id IN {ids:Array(String)} ${SETTINGS}`,
    params: { namespaces: distinct('namespace'), agents: distinct('agent'), from: times[0]!, to: times.at(-1)!, ids: records.map(({ id }) => id) },
  };
};

export const lastPositionQuery: BoundQuery = { sql: `SELECT max(position) AS position FROM ${LOGS.name} ${SETTINGS}`, params: {} };

const bounded = (limit: number, most: number): number => Math.min(most, Math.max(1, Math.trunc(limit)));
