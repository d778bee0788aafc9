import { transaction, type DatabaseSync } from '#lib';
import { nameOf, type Reservation, type Settled, type Totals } from './counter.ts';
import { Rows } from './rows.ts';

/** Requests whose settlement can be looked up in the file. */
const KEEP_SETTLED = 100_000;
/** Settled ids that are known, so that a question that comes again late reserves nothing; more than come within the time a question may take. */
const KNOWN_IDS = 10_000;

/** Ids that were settled, the newest of them, and rows of those that are not in the file yet. */
export interface SettledRows {
  has(id: string): boolean;
  add(row: Settled): void;
}

export interface State {
  /** By `nameOf`. */
  readonly counters: Rows<Totals>;
  /** By id. */
  readonly reservations: Rows<Reservation>;
  readonly settled: SettledRows;
}

/** The tables of the ledger, which nobody else writes: what decides is in memory, and what changed there is written in one transaction. */
export interface Store {
  readonly state: State;
  /** The boot of the machine the ledger was last open in; empty after it was closed in order. */
  readonly owner: string;
  /**
   * Brings every change to the file, or (it throws) takes all of them back. When it returns they are with the kernel; on disk
   * when a ceiling was raised. A transaction that is on disk brings all before it to disk: they share one log.
   */
  commit(): void;
  /** Takes back what was not committed. */
  rollback(): void;
  /** The same as `commit`, on disk, with a new owner. */
  own(boot: string): void;
  /** Drops all but the newest rows of what was settled. */
  forgetSettled(): void;
}

export const openStore = (db: DatabaseSync): Store => {
  const counters = new Rows((db.prepare('SELECT * FROM ledger_counters').all() as unknown as Totals[]).map((row) => [nameOf(row), row] as const));
  const reservations = new Rows(
    (db.prepare('SELECT * FROM ledger_reservations').all() as unknown as (Omit<Reservation, 'entries'> & { entries: string })[]).map(
      (row) => [row.id, { ...row, entries: JSON.parse(row.entries) as Reservation['entries'] }] as const,
    ),
  );
  const newest = db.prepare(`SELECT id FROM ledger_settled ORDER BY seq DESC LIMIT ${KNOWN_IDS}`).all() as unknown as { id: string }[];
  const ids = new Set(newest.toReversed().map(({ id }) => id));
  const adding = new Map<string, Settled>();

  const putCounter = db.prepare(
    `INSERT INTO ledger_counters (key, unit, per, span, cap, settled, reserved, ceiling, touched) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
     ON CONFLICT DO UPDATE SET cap = ?5, settled = ?6, reserved = ?7, ceiling = ?8, touched = ?9`,
  );
  const dropCounter = db.prepare('DELETE FROM ledger_counters WHERE key = ? AND unit = ? AND per = ? AND span = ?');
  const putReservation = db.prepare(
    'INSERT INTO ledger_reservations (id, day, deadline, state, entries) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET state = ?4',
  );
  const dropReservation = db.prepare('DELETE FROM ledger_reservations WHERE id = ?');
  const addSettled = db.prepare('INSERT INTO ledger_settled (id, entries) VALUES (?, ?)');
  const forget = db.prepare(`DELETE FROM ledger_settled WHERE seq <= (SELECT max(seq) FROM ledger_settled) - ${KEEP_SETTLED}`);
  const setOwner = db.prepare('INSERT INTO ledger_owner VALUES (1, ?) ON CONFLICT DO UPDATE SET boot = excluded.boot');
  const owner = (db.prepare('SELECT boot FROM ledger_owner').get() as { boot: string } | undefined)?.boot ?? '';

  const write = (changes: readonly { readonly now: Totals | undefined; readonly before: Totals | undefined }[]): void => {
    for (const { now, before } of changes) {
      if (now) putCounter.run(now.key, now.unit, now.per, now.span, now.cap, now.settled, now.reserved, now.ceiling, now.touched);
      else dropCounter.run(before!.key, before!.unit, before!.per, before!.span);
    }
    for (const { now, before } of reservations.changes()) {
      if (now) putReservation.run(now.id, now.day, now.deadline, now.state, JSON.stringify(now.entries));
      else dropReservation.run(before!.id);
    }
    for (const { id, entries } of adding.values()) addSettled.run(id, JSON.stringify(entries));
  };

  const rollback = (): void => {
    counters.takeBack();
    reservations.takeBack();
    adding.clear();
  };

  const keep = (): void => {
    counters.keep();
    reservations.keep();
    for (const id of adding.keys()) ids.add(id);
    adding.clear();
    for (const id of ids) {
      if (ids.size <= KNOWN_IDS) break;
      ids.delete(id);
    }
  };

  const bring = (toDisk: boolean, more = (): void => {}): void => {
    try {
      const changes = [...counters.changes()];
      const raised = changes.some(({ now, before }) => now !== undefined && now.ceiling > (before?.ceiling ?? 0));
      if (!toDisk && changes.length === 0 && adding.size === 0 && reservations.changes().next().done) return;
      // A level holds for the transactions that begin after it; setting it takes longer than asking whether it must be.
      if (toDisk || raised) db.exec('PRAGMA synchronous=FULL');
      try {
        transaction(db, () => {
          write(changes);
          more();
        });
      } finally {
        if (toDisk || raised) db.exec('PRAGMA synchronous=NORMAL');
      }
      keep();
    } catch (error) {
      rollback();
      throw error;
    }
  };

  return {
    state: {
      counters,
      reservations,
      settled: { has: (id) => ids.has(id) || adding.has(id), add: (row) => void adding.set(row.id, row) },
    },
    owner,
    commit: () => bring(false),
    rollback,
    own: (boot) => bring(true, () => setOwner.run(boot)),
    forgetSettled: () => void forget.run(),
  };
};
