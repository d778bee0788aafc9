import { retry, sleep, type Clock, type Logger } from '#lib';
import { writeCheckpoint, type Checkpoint } from './checkpoint.ts';
import { ship } from './ship.ts';
import { Spool } from './spool.ts';

const POLL_MS = 100;
const KEEP_BACKOFF = { firstMs: 200, maxMs: 2_000, factor: 2 };
/** How long an ending pipeline waits for the store to take the rest. */
const LAST_SHIP_MS = 500;
/** A crash repeats at most this much work; the records it makes again have the same ids. */
const CHECKPOINT_EVERY_MS = 1_000;

/** Reads record files and makes records of them. */
export interface Source<Rec> extends AsyncDisposable {
  /** One round through every file. `drained`: nothing more is there to read now. */
  read(): Promise<{ readonly records: readonly Rec[]; readonly drained: boolean }>;
  /** Where to go on from if every record returned so far is kept. */
  checkpoint(): Checkpoint;
  /** Lines that could not be used, by why. */
  unusable(): Readonly<Record<string, number>>;
}

export interface PipelineOptions<Rec extends object> {
  readonly source: Source<Rec>;
  /** File of the checkpoint. */
  readonly checkpoint: string;
  readonly spool: Spool<Rec>;
  /** Resolves when the store has them; idempotent by record id. */
  readonly insert: (records: readonly Rec[]) => Promise<void>;
  /** Told of every record that is durable; again of some after a crash. */
  readonly kept?: (record: Rec) => void;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Records of one kind on their way. Disposing it spools what is there, and gives a reachable store half a second to take it. */
export interface Pipeline extends AsyncDisposable {
  /** Records spooled and shipped since start. */
  readonly totals: { readonly records: number; readonly shipped: number };
  /** Rejects when the record files cannot be read: then end the process, a restart goes on from the checkpoint. */
  readonly ended: Promise<void>;
}

/**
 * From record files over the spool to the store. A record is durable in the spool before the checkpoint passes its lines,
 * so killing this process at any time loses nothing.
 */
export const createPipeline = <Rec extends object>(options: PipelineOptions<Rec>): Pipeline => {
  const { source, spool, insert, log, clock } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const totals = { records: 0, shipped: 0 };

  /** Made from lines already read, not in the spool yet. */
  let unspooled: readonly Rec[] = [];
  let written = '';
  let writtenAt = -Infinity;
  const keep = async (final: boolean): Promise<void> => {
    await spool.append(unspooled);
    if (options.kept) unspooled.forEach(options.kept);
    totals.records += unspooled.length;
    unspooled = [];
    if (!final && clock.monotonic() - writtenAt < CHECKPOINT_EVERY_MS) return;
    const text = JSON.stringify(source.checkpoint());
    if (text !== written) await writeCheckpoint(options.checkpoint, text);
    written = text;
    writtenAt = clock.monotonic();
  };
  /** Reads one round and keeps what came of it; nothing more is read before that succeeded. */
  const round = async (): Promise<boolean> => {
    const { records, drained } = await source.read();
    unspooled = records;
    await retry(() => keep(false), { signal, backoff: KEEP_BACKOFF, onError: (err) => log.error('records cannot be written, trying again', { err }) });
    return drained;
  };
  const readAll = async (): Promise<void> => {
    let reported = JSON.stringify(source.unusable());
    try {
      while (!signal.aborted) {
        const drained = await round();
        const unusable = source.unusable();
        const text = JSON.stringify(unusable);
        if (text !== reported) log.warn('record lines could not be used', unusable);
        reported = text;
        if (drained) await sleep(POLL_MS, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };

  const shipStop = new AbortController();
  const reading = readAll();
  const shipping = ship({ spool, insert, log, signal: shipStop.signal, onShipped: (records) => (totals.shipped += records) });
  const ended = Promise.all([reading, shipping]).then(() => {});
  ended.catch(() => {}); // reported to whoever awaits `ended`

  return {
    totals,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
      await keep(true); // what a round could not keep before
      unspooled = (await source.read()).records;
      await keep(true);
      await Promise.race([spool.shipped(), sleep(LAST_SHIP_MS)]);
      shipStop.abort();
      await shipping;
      await source[Symbol.asyncDispose]();
      await spool[Symbol.asyncDispose]();
    },
  };
};
