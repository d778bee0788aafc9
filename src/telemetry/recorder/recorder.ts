import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { retry, sleep, type Clock, type Logger } from '#lib';
import type { ExchangeRecord, StorePort, WorkerLayout } from '#model';
import { readCheckpoint, writeCheckpoint } from './checkpoint.ts';
import { RecordReader } from './reader.ts';
import { ship } from './ship.ts';
import { Spool } from './spool.ts';

const POLL_MS = 100;
const KEEP_BACKOFF = { firstMs: 200, maxMs: 2_000, factor: 2 };
/** How long an ending recorder waits for the store to take the rest. */
const LAST_SHIP_MS = 500;
/** A crash repeats at most this much work; the records it makes again have the same ids. */
const CHECKPOINT_EVERY_MS = 1_000;
const SPOOL_LIMIT = 512 * 1024 * 1024;

export interface RecorderOptions {
  readonly layout: WorkerLayout;
  /** Name of the worker, a column of every record. */
  readonly worker: string;
  readonly store: Pick<StorePort, 'insertExchanges'>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Bytes of records that may wait for the store, 512 MiB by default. */
  readonly spoolLimit?: number;
}

export interface RecorderCounters {
  /** Records spooled and shipped since start. */
  readonly records: number;
  readonly shipped: number;
  /** Lines skipped: not parseable, longer than 64 KiB. */
  readonly malformed: number;
  readonly oversized: number;
  /** Records lost to a full spool or disk, and admitted requests no longer followed. */
  readonly dropped: number;
  readonly overflow: number;
}

/** A running recorder. Disposing it spools what is there, and gives a reachable store half a second to take it. */
export interface Recorder extends AsyncDisposable {
  counters(): RecorderCounters;
  /** Rejects when the record files cannot be read: then end the process, a restart goes on from the checkpoint. */
  readonly ended: Promise<void>;
}

/**
 * Reads the record files of a worker, keeps records in the spool, ships them to the store. A record is durable in the
 * spool before the checkpoint passes its lines, so killing this process at any time loses nothing.
 */
export const createRecorder = async (options: RecorderOptions): Promise<Recorder> => {
  const { layout, worker, store, log, clock } = options;
  const checkpointPath = join(layout.offsets, 'recorder-checkpoint.json');
  for (const dir of [layout.records, layout.offsets]) await mkdir(dir, { recursive: true, mode: 0o700 });
  const spool = await Spool.open({ dir: layout.spool, limit: options.spoolLimit ?? SPOOL_LIMIT, log });
  const reader = new RecordReader({ layout, worker, clock, checkpoint: await readCheckpoint(checkpointPath, log) });
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const totals = { records: 0, shipped: 0 };
  const counters = (): RecorderCounters => ({
    ...totals,
    malformed: reader.malformed,
    oversized: reader.oversized,
    dropped: spool.dropped,
    overflow: reader.overflow,
  });

  /** Made from lines already read, not in the spool yet. */
  let unspooled: readonly ExchangeRecord[] = [];
  let written = '';
  let writtenAt = -Infinity;
  const keep = async (final: boolean): Promise<void> => {
    await spool.append(unspooled);
    totals.records += unspooled.length;
    unspooled = [];
    if (!final && clock.monotonic() - writtenAt < CHECKPOINT_EVERY_MS) return;
    const checkpoint = reader.checkpoint();
    const text = JSON.stringify(checkpoint);
    if (text !== written) await writeCheckpoint(checkpointPath, checkpoint);
    written = text;
    writtenAt = clock.monotonic();
  };
  /** Reads one round and keeps what came of it; nothing more is read before that succeeded. */
  const round = async (): Promise<boolean> => {
    const { records, drained } = await reader.read();
    unspooled = records;
    await retry(() => keep(false), { signal, backoff: KEEP_BACKOFF, onError: (err) => log.error('records cannot be written, trying again', { err }) });
    return drained;
  };
  const readAll = async (): Promise<void> => {
    let reported = counters();
    try {
      while (!signal.aborted) {
        const drained = await round();
        const now = counters();
        if (now.malformed > reported.malformed || now.oversized > reported.oversized || now.overflow > reported.overflow) {
          log.warn('record lines could not be used', { malformed: now.malformed, oversized: now.oversized, overflow: now.overflow });
          reported = now;
        }
        if (drained) await sleep(POLL_MS, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };

  const shipStop = new AbortController();
  const reading = readAll();
  const shipping = ship({ spool, store, log, signal: shipStop.signal, onShipped: (records) => (totals.shipped += records) });
  const ended = Promise.all([reading, shipping]).then(() => {});
  ended.catch(() => {}); // reported to whoever awaits `ended`

  return {
    counters,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
      await keep(true); // what a round could not keep before
      unspooled = (await reader.read()).records;
      await keep(true);
      await Promise.race([spool.shipped(), sleep(LAST_SHIP_MS)]);
      shipStop.abort();
      await shipping;
      await reader[Symbol.asyncDispose]();
      await spool[Symbol.asyncDispose]();
    },
  };
};
