// telemetry/store: consumes ExchangeRecords, LogRecords and queries; produces rows of ClickHouse and records again.
// Owns: the embedded ClickHouse and its data directory; only `cmd/store` loads it, because of its size and its one writer.
// Heavy dependency owned here: chdb.
export { openStore, type Store } from './store.ts';
