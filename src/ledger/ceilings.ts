import { transaction, type DatabaseSync, type Logger } from '#lib';
import type { Counter } from './counter.ts';

/** Totals that are safe from a power cut. A transaction that is on disk brings all before it to disk: they share one log. */
export interface Ceilings {
  /** This total of a counter must be safe before the transaction under way is answered. */
  want(counter: Counter, ceiling: number): void;
  /** After a commit, before it is answered. */
  raise(): void;
  /** Wants of a transaction that was rolled back. */
  forget(): void;
  /** Another boot of the machine than last time, and the ledger was not closed: what may have been lost counts as used. */
  own(boot: string, log: Logger): void;
  disown(): void;
}

export const createCeilings = (db: DatabaseSync): Ceilings => {
  const raise = db.prepare('UPDATE ledger_counters SET ceiling = max(ceiling, ?) WHERE key = ? AND unit = ? AND per = ? AND span = ?');
  const owner = db.prepare('SELECT boot FROM ledger_owner');
  const setOwner = db.prepare('INSERT INTO ledger_owner VALUES (1, ?) ON CONFLICT DO UPDATE SET boot = excluded.boot');
  const useUp = db.prepare(
    `UPDATE ledger_counters SET settled = max(ceiling, settled + reserved), reserved = 0
     WHERE settled + reserved < ceiling OR reserved > 0 RETURNING key, unit, per, span, ceiling`,
  );
  const settleAll = db.prepare(`UPDATE ledger_reservations SET state = 'settled', used = NULL WHERE state <> 'settled'`);
  let wanted: (Counter & { readonly ceiling: number })[] = [];
  const onDisk = (work: () => void): void => {
    db.exec('PRAGMA synchronous=FULL');
    try {
      transaction(db, work);
    } finally {
      db.exec('PRAGMA synchronous=NORMAL');
    }
  };
  return {
    want: (counter, ceiling) => void wanted.push({ ...counter, ceiling }),
    raise() {
      if (wanted.length === 0) return;
      onDisk(() => {
        for (const { key, unit, per, span, ceiling } of wanted) raise.run(ceiling, key, unit, per, span);
      });
      wanted = [];
    },
    forget: () => void (wanted = []),
    own: (boot, log) =>
      onDisk(() => {
        const last = (owner.get() as { boot: string } | undefined)?.boot ?? '';
        if (last !== '' && last !== boot) {
          for (const row of useUp.all()) log.warn('the machine was started again, a budget counts as used up to what was safe on disk', { ...row });
          settleAll.run();
        }
        setOwner.run(boot);
      }),
    disown: () => onDisk(() => setOwner.run('')),
  };
};
