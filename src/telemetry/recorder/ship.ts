import { retry, sleep, type Logger } from '#lib';
import type { Spool } from './spool.ts';

/** Records in one batch, and the least time between the starts of two batches that are not full. */
export const BATCH_RECORDS = 1_000;
const BATCH_EVERY_MS = 250;

/** Ships the spool to the store until the signal aborts (then it returns). A store that is away is retried for ever. */
export const ship = async <Rec extends object>(options: {
  readonly spool: Spool<Rec>;
  readonly insert: (records: readonly Rec[]) => Promise<void>;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onShipped: (records: number) => void;
}): Promise<void> => {
  const { spool, insert, log, signal } = options;
  try {
    while (!signal.aborted) {
      const appended = spool.appended();
      const batch = await spool.next(BATCH_RECORDS);
      if (!batch) {
        await orAbort(appended, signal);
        continue;
      }
      let failures = 0;
      await retry(() => orAbort(insert(batch.records), signal), {
        signal,
        onError: (error) => {
          if (failures++ === 0) log.warn('the store does not take records; they wait in the spool', { err: error });
        },
      });
      if (failures > 0) log.info('the store takes records again', { failures });
      batch.done();
      options.onShipped(batch.records.length);
      if (batch.records.length < BATCH_RECORDS) await sleep(BATCH_EVERY_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
};

/** The promise, or a rejection as soon as the signal aborts. */
const orAbort = async <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> => {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason as Error);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
};
