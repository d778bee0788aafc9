import type { StoredLog } from '#model';
import { LOG_COLUMNS } from './columns.ts';

/** Records as OTLP/JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), attribute names from the column table. */

type Value = { readonly stringValue: string } | { readonly intValue: string };
interface Attribute {
  readonly key: string;
  readonly value: Value;
}

const ATTRIBUTES = LOG_COLUMNS.flatMap(({ field, attributes }) =>
  field && !['traceId', 'spanId'].includes(field) ? attributes.map((key) => ({ field, key })) : [],
);
const AGENT = 'agent.';
const KIND: Attribute = { key: 'agent.kind', value: { stringValue: 'TaskAgent' } };

const valueOf = (value: string | number): Value => (typeof value === 'number' ? { intValue: String(value) } : { stringValue: value });

/** Attributes whose values are there: those of the agent are the resource's, the others the record's. */
const attributesOf = (record: StoredLog, ofAgent: boolean): Attribute[] =>
  ATTRIBUTES.filter(({ key }) => key.startsWith(AGENT) === ofAgent).flatMap(({ field, key }) => {
    const value = record[field];
    return value === '' ? [] : [{ key, value: valueOf(value) }];
  });

const unixNano = (time: string): string => String(BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1_000_000n + BigInt(time.slice(20, 29)));

const logRecord = (record: StoredLog): object => ({
  timeUnixNano: unixNano(record.time),
  body: { stringValue: record.body },
  attributes: attributesOf(record, false),
  ...(record.traceId && { traceId: record.traceId }),
  ...(record.spanId && { spanId: record.spanId }),
});

/** Records of one agent, in their order, as `LogsData`; none is `{"resourceLogs":[]}`. */
export const otlpLogs = (records: readonly StoredLog[]): object => {
  const [first] = records;
  if (!first) return { resourceLogs: [] };
  const scopeLogs = [{ scope: { name: 'clrk' }, logRecords: records.map(logRecord) }];
  return { resourceLogs: [{ resource: { attributes: [KIND, ...attributesOf(first, true)] }, scopeLogs }] };
};
