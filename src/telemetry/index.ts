// telemetry: consumes record files (Envoy's access logs, bindings.jsonl, egress.jsonl) and stdio.jsonl; produces ExchangeRecords
// and LogRecords in a Store. Owns: the columns of its tables, redaction, the join of lines to runs, the spool. `#telemetry/store` adds ClickHouse.
// A dead recorder or store delays records and loses none; nothing waits for either.
export { EXCHANGE_COLUMNS, LOG_COLUMNS, type Column } from './columns.ts';
export { genTelemetryDocs } from './docs.ts';
export { otlpLogs } from './otlp.ts';
export { createRecorder, type Recorder, type RecorderOptions } from './recorder/recorder.ts';
