import { transaction, type DatabaseSync } from '#lib';
import type { Ceilings } from './ceilings.ts';

/** Work queued in one turn of the event loop runs in one transaction and is answered after its commit. */
export const createBatches = (db: DatabaseSync, ceilings: Ceilings) => {
  let waiting: { run(): () => void; fail(error: unknown): void }[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    if (batch.length === 0) return;
    try {
      const answers = transaction(db, () => batch.map(({ run }) => run()));
      ceilings.raise();
      for (const answer of answers) answer();
    } catch (error) {
      ceilings.forget();
      for (const { fail } of batch) fail(error);
    }
  };
  return {
    flush,
    add: <T>(work: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(flush);
        waiting.push({
          run: () => {
            const value = work();
            return () => resolve(value);
          },
          fail: reject,
        });
      }),
  };
};
