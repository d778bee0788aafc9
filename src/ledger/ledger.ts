import { readFileSync } from 'node:fs';
import { openDatabase, systemClock, transaction, type Clock, type DatabaseSync, type Logger } from '#lib';
import type { LedgerPort, ReserveAnswer, ReserveRequest } from '#model';

const MIGRATIONS = [
  `CREATE TABLE ledger_days (
     key TEXT NOT NULL,
     day TEXT NOT NULL,
     settled INTEGER NOT NULL DEFAULT 0,
     reserved INTEGER NOT NULL DEFAULT 0,
     PRIMARY KEY (key, day)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE ledger_reservations (
     id TEXT NOT NULL,
     key TEXT NOT NULL,
     day TEXT NOT NULL,
     amount INTEGER NOT NULL,
     deadline INTEGER NOT NULL,
     -- held: counts as reserved; spent: its deadline passed, counts as settled in full; settled: counts as \`used\`.
     state TEXT NOT NULL CHECK (state IN ('held', 'spent', 'settled')),
     used INTEGER,
     PRIMARY KEY (id, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX ledger_deadlines ON ledger_reservations (deadline) WHERE state = 'held';`,
  // ceiling: settled + reserved never pass it before it is raised, and it is raised on disk.
  `ALTER TABLE ledger_days ADD COLUMN ceiling INTEGER NOT NULL DEFAULT 0;
   -- boot: of the machine, while a ledger is open; empty after it was closed in order.
   CREATE TABLE ledger_owner (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), boot TEXT NOT NULL) STRICT;`,
];

const DAY_MS = 86_400_000;
/** A ceiling is raised by this part of the cap at once, so a power cut can make at most that much count as spent. */
const CEILING_STEP = 1 / 64;
/** Settled reservations are known (so that a repeat changes nothing) for this long, counters for longer. */
const KEEP_RESERVATIONS_MS = 3 * DAY_MS;
/** Counters of this many days are kept. By number, not by age: a clock that was wrong for a moment must not forget today's. */
const KEEP_DAYS = 40;

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const endOfDay = (ms: number): number => (Math.floor(ms / DAY_MS) + 1) * DAY_MS;

interface Row {
  readonly id: string;
  readonly key: string;
  readonly day: string;
  readonly amount: number;
  readonly state: 'held' | 'spent' | 'settled';
}

export interface Ledger extends LedgerPort, AsyncDisposable {
  /** Turns reservations past their deadline into spent ones and forgets old rows; returns how many it turned. */
  sweep(): number;
}

/** Tokens are counted in whole numbers; anything else from a caller is a defect there, and is refused. */
const checkTokens = (what: string, value: number): void => {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${what} must be a whole number of tokens, not ${value}`);
};

export interface LedgerOptions {
  readonly clock?: Clock;
  readonly log: Logger;
  /** Id of this boot of the machine; asked of the kernel by default. */
  readonly boot?: string;
}

/**
 * The ledger in its own tables of the SQLite file at `path`. A reservation counts in the UTC day in which it was made, and
 * stays in that day when it is settled later: settled + reserved <= cap for every budget, in every interleaving and after
 * every crash; only a provider that uses more than was reserved can pass it. Requests that arrive together share one commit.
 *
 * A commit is with the kernel before its requests are answered, which no end of a process takes back; it is not on disk, which
 * would take longer than everything else. What a power cut takes is made up for by a ceiling: a total at or below it needs no
 * disk, and before one above it is answered, a higher ceiling is on disk. When the machine was started again meanwhile, each
 * budget counts as used up to its ceiling.
 */
export const openLedger = (path: string, options: LedgerOptions): Ledger => {
  const clock = options.clock ?? systemClock;
  const boot = options.boot ?? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const db = openDatabase(path, MIGRATIONS, 'ledger');
  const ceilings = createCeilings(db);
  ceilings.own(boot, options.log);
  db.exec('PRAGMA synchronous=NORMAL');
  const books = createBooks(db, options.log, ceilings);
  const queue = createBatches(db, ceilings);
  return {
    reserve: async (request) => {
      checkTokens('amount', request.amount);
      for (const { cap } of request.budgets) checkTokens('cap', cap);
      return queue.add(() => books.reserve(request, clock.now()));
    },
    settle: async ({ id, used }) => {
      checkTokens('used', used);
      return queue.add(() => books.settle(id, used));
    },
    sweep: () => transaction(db, () => books.sweep(clock.now())),
    async [Symbol.asyncDispose]() {
      queue.flush();
      ceilings.disown();
      db.close();
    },
  };
};

type Ceilings = ReturnType<typeof createCeilings>;

/** Totals that are safe from a power cut. A transaction that is on disk brings all before it to disk: they share one log. */
const createCeilings = (db: DatabaseSync) => {
  const raise = db.prepare('UPDATE ledger_days SET ceiling = max(ceiling, ?) WHERE key = ? AND day = ?');
  const owner = db.prepare('SELECT boot FROM ledger_owner');
  const setOwner = db.prepare('INSERT INTO ledger_owner VALUES (1, ?) ON CONFLICT DO UPDATE SET boot = excluded.boot');
  const useUp = db.prepare('UPDATE ledger_days SET settled = ceiling - reserved WHERE settled + reserved < ceiling RETURNING key, day, ceiling');
  let wanted: { readonly key: string; readonly day: string; readonly ceiling: number }[] = [];
  const onDisk = (work: () => void): void => {
    db.exec('PRAGMA synchronous=FULL');
    try {
      transaction(db, work);
    } finally {
      db.exec('PRAGMA synchronous=NORMAL');
    }
  };
  return {
    want: (key: string, day: string, ceiling: number): void => void wanted.push({ key, day, ceiling }),
    /** After a commit, before it is answered. */
    raise(): void {
      if (wanted.length === 0) return;
      onDisk(() => {
        for (const { key, day, ceiling } of wanted) raise.run(ceiling, key, day);
      });
      wanted = [];
    },
    /** Wants of a transaction that was rolled back. */
    forget: (): void => void (wanted = []),
    own: (boot: string, log: Logger): void =>
      onDisk(() => {
        const last = (owner.get() as { boot: string } | undefined)?.boot ?? '';
        if (last !== '' && last !== boot)
          for (const row of useUp.all()) log.warn('the machine was started again, a budget counts as used up to what was safe on disk', { ...row });
        setOwner.run(boot);
      }),
    disown: (): void => onDisk(() => setOwner.run('')),
  };
};

/** Work queued in one turn of the event loop runs in one transaction and is answered after its commit. */
const createBatches = (db: DatabaseSync, ceilings: Ceilings) => {
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

/** The bookkeeping itself; every function runs inside a transaction. */
const createBooks = (db: DatabaseSync, log: Logger, ceilings: Ceilings) => {
  const reservations = db.prepare('SELECT id, key, day, amount, state FROM ledger_reservations WHERE id = ?');
  const counter = db.prepare('SELECT settled, reserved, ceiling FROM ledger_days WHERE key = ? AND day = ?');
  const move = db.prepare(
    `INSERT INTO ledger_days (key, day, settled, reserved) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (key, day) DO UPDATE SET settled = settled + ?3, reserved = reserved + ?4`,
  );
  const hold = db.prepare(`INSERT INTO ledger_reservations (id, key, day, amount, deadline, state) VALUES (?, ?, ?, ?, ?, 'held')`);
  const close = db.prepare('UPDATE ledger_reservations SET state = ?, used = ? WHERE id = ? AND key = ?');
  const overdue = db.prepare(`SELECT id, key, day, amount, state FROM ledger_reservations WHERE state = 'held' AND deadline <= ?`);
  const forget = db.prepare(`DELETE FROM ledger_reservations WHERE state <> 'held' AND day < ?`);
  const forgetDays = db.prepare(
    `DELETE FROM ledger_days WHERE reserved = 0 AND day NOT IN (SELECT DISTINCT day FROM ledger_days ORDER BY day DESC LIMIT ${KEEP_DAYS})`,
  );

  const usage = (key: string, day: string): { readonly settled: number; readonly reserved: number; readonly ceiling: number } =>
    (counter.get(key, day) as { settled: number; reserved: number; ceiling: number } | undefined) ?? { settled: 0, reserved: 0, ceiling: 0 };

  const reserve = ({ id, budgets, amount, deadline }: ReserveRequest, now: number): ReserveAnswer => {
    const day = dayOf(now);
    const resetAt = endOfDay(now);
    const caps = new Map<string, number>();
    for (const { key, cap } of budgets) caps.set(key, Math.min(cap, caps.get(key) ?? cap));
    if (reservations.all(id).length === 0) {
      for (const [key, cap] of caps) {
        const { settled, reserved } = usage(key, day);
        if (settled + reserved + amount > cap) return { granted: false, key, cap, used: settled, reserved, resetAt };
      }
      for (const key of caps.keys()) {
        hold.run(id, key, day, amount, Math.floor(deadline));
        move.run(key, day, 0, amount);
      }
    }
    // Also of a repeated request: its first answer may have failed because the ceiling could not be raised.
    for (const [key, cap] of caps) {
      const { settled, reserved, ceiling } = usage(key, day);
      const total = settled + reserved;
      if (total > ceiling) ceilings.want(key, day, Math.max(total, Math.min(cap, total + Math.ceil(cap * CEILING_STEP))));
    }
    return { granted: true, key: '', cap: 0, used: 0, reserved: 0, resetAt };
  };

  const settle = (id: string, used: number): void => {
    for (const row of reservations.all(id) as unknown as readonly Row[]) {
      if (row.state === 'settled') continue;
      move.run(row.key, row.day, row.state === 'spent' ? used - row.amount : used, row.state === 'held' ? -row.amount : 0);
      close.run('settled', used, id, row.key);
      const { settled, reserved, ceiling } = usage(row.key, row.day);
      if (settled + reserved > ceiling) ceilings.want(row.key, row.day, settled + reserved); // only by more than was reserved
      if (used > row.amount) log.warn('a provider used more than was reserved', { id, budget: row.key, reserved: row.amount, used, reason: 'BudgetOverrun' });
    }
  };

  const sweep = (now: number): number => {
    const rows = overdue.all(now) as unknown as readonly Row[];
    for (const { id, key, day, amount } of rows) {
      move.run(key, day, amount, -amount);
      close.run('spent', amount, id, key);
    }
    forget.run(dayOf(now - KEEP_RESERVATIONS_MS));
    forgetDays.run();
    return rows.length;
  };

  return { reserve, settle, sweep };
};
