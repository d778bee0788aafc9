import type { Store } from './store.ts';

/** Work queued in one turn of the event loop is one commit, and is answered after it. */
export const createBatches = (store: Store) => {
  let waiting: { run(): () => void; fail(error: unknown): void }[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    if (batch.length === 0) return;
    try {
      const answers = batch.map(({ run }) => run());
      store.commit();
      for (const answer of answers) answer();
    } catch (error) {
      store.rollback();
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
