// telemetry: consumes record files (Envoy's access logs, bindings.jsonl, egress.jsonl); produces ExchangeRecords in a Store.
// Owns: the columns of table `exchanges`, redaction, the join of lines to runs, the spool. `#telemetry/store` adds ClickHouse.
// A dead recorder or store delays records and loses none; nothing waits for either.
export { EXCHANGE_COLUMNS, type Column } from './columns.ts';
export { genTelemetryDocs } from './docs.ts';
export { createRecorder, type Recorder, type RecorderCounters, type RecorderOptions } from './recorder/recorder.ts';
