import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sweepTemporaries, type Clock, type Logger } from '#lib';
import type { ExchangeRecord, LogRecord, StorePort, WorkerLayout } from '#model';
import { readCheckpoint, type ExchangeCheckpoint } from './checkpoint.ts';
import { LogReader, type LogCheckpoint } from './log-reader.ts';
import { alertOf } from './alert.ts';
import { createPipeline } from './pipeline.ts';
import { RecordReader } from './reader.ts';
import { Spool } from './spool.ts';

const SPOOL_LIMIT = 512 * 1024 * 1024;
/** Lines of runs wait in a spool of their own, so that a flood of them pushes out no record of an exchange. */
const LOG_SPOOL_LIMIT = 128 * 1024 * 1024;

export interface RecorderOptions {
  readonly layout: WorkerLayout;
  /** Name of the worker, a column of every record. */
  readonly worker: string;
  readonly store: Pick<StorePort, 'insertExchanges' | 'insertLogs'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Bytes of exchanges that may wait for the store, 512 MiB by default. */
  readonly spoolLimit?: number;
}

/** A running recorder. Disposing it spools what is there, and gives a reachable store half a second to take it. */
export interface Recorder extends AsyncDisposable {
  /** Rejects when the record files cannot be read: then end the process, a restart goes on from the checkpoint. */
  readonly ended: Promise<void>;
}

/** Reads the record files of a worker, keeps records in spools, ships them to the store: exchanges, and lines of runs. */
export const createRecorder = async (options: RecorderOptions): Promise<Recorder> => {
  const { layout, worker, store, log, clock, signal } = options;
  for (const dir of [layout.egressRecords, layout.recorderOffsets]) await mkdir(dir, { recursive: true, mode: 0o700 });
  for (const mine of ['recorder-checkpoint.json', 'logs-checkpoint.json']) await sweepTemporaries(layout.recorderOffsets, mine);
  const common = { log, clock, signal };

  const checkpoint = join(layout.recorderOffsets, 'recorder-checkpoint.json');
  const exchanges = createPipeline<ExchangeRecord>({
    ...common,
    source: new RecordReader({ layout, worker, clock, checkpoint: await readCheckpoint<ExchangeCheckpoint>(checkpoint, log) }),
    kept: alertOf(log),
    checkpoint,
    spool: await Spool.open({ dir: layout.spool, limit: options.spoolLimit ?? SPOOL_LIMIT, log }),
    insert: (records) => store.insertExchanges(records),
  });
  const logCheckpoint = join(layout.recorderOffsets, 'logs-checkpoint.json');
  const logs = createPipeline<LogRecord>({
    ...common,
    source: new LogReader({ path: layout.stdioLog, worker, checkpoint: await readCheckpoint<LogCheckpoint>(logCheckpoint, log) }),
    checkpoint: logCheckpoint,
    spool: await Spool.open({ dir: layout.logSpool, limit: LOG_SPOOL_LIMIT, log }),
    insert: (records) => store.insertLogs(records),
  });
  const ended = Promise.all([exchanges.ended, logs.ended]).then(() => {});
  ended.catch(() => {}); // reported to whoever awaits `ended`
  return {
    ended,
    async [Symbol.asyncDispose]() {
      await Promise.all([exchanges[Symbol.asyncDispose](), logs[Symbol.asyncDispose]()]);
    },
  };
};
