/** What a run printed, and what its worker says about it. */

/** A line of `stdio.jsonl`, which the worker writes. */
export interface StdioLine {
  /** Key of the line: `<invocation>-<nonce of the run>-<number>`; numbers count every line of a run from 1. */
  readonly id: string;
  /** RFC 3339 with nanoseconds, UTC; each is later than the one before it in the file. */
  readonly time: string;
  readonly namespace: string;
  readonly agent: string;
  /** Name of the AgentSandboxRevision. */
  readonly revision: string;
  readonly invocation: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty = the worker says it. */
  readonly iostream: 'stdout' | 'stderr' | '';
  /** Of lines of the worker: `started`, `ended` (the last of its run), `dropped` (something is missing here). */
  readonly event: '' | 'started' | 'ended' | 'dropped';
  /** The text without the end of its line; bytes that are no UTF-8 are U+FFFD. */
  readonly body: string;
}

/** A line as it is stored, redacted. A row of ClickHouse table `logs`. */
export interface LogRecord extends StdioLine {
  readonly worker: string;
  /** Part of the platform the record comes from: `worker`. */
  readonly component: string;
}

/** A record as the store gives it. */
export interface StoredLog extends LogRecord {
  /** Grows in the order in which the store took records: a reader that goes on from it misses none and repeats none. */
  readonly position: number;
}
