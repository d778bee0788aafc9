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
];

const DAY_MS = 86_400_000;
/** Settled reservations are known (so that a repeat changes nothing) for this long, counters for longer. */
const KEEP_RESERVATIONS_MS = 3 * DAY_MS;
const KEEP_DAYS_MS = 40 * DAY_MS;

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

/**
 * The ledger in its own tables of the SQLite file at `path`. A reservation counts in the UTC day in which it was made, and
 * stays in that day when it is settled later. What is granted is durable before it is answered: settled + reserved <= cap for
 * every budget, in every interleaving and after every crash; only a provider that uses more than was reserved can pass it.
 * Requests that arrive together share one commit.
 */
export const openLedger = (path: string, options: { readonly clock?: Clock; readonly log: Logger }): Ledger => {
  const clock = options.clock ?? systemClock;
  const db = openDatabase(path, MIGRATIONS, 'ledger');
  const books = createBooks(db, options.log);
  const queue = createBatches(db);
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
      db.close();
    },
  };
};

/** Work queued in one turn of the event loop runs in one transaction and is answered after its commit. */
const createBatches = (db: DatabaseSync) => {
  let waiting: { run(): () => void; fail(error: unknown): void }[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    if (batch.length === 0) return;
    try {
      const answers = transaction(db, () => batch.map(({ run }) => run()));
      for (const answer of answers) answer();
    } catch (error) {
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
const createBooks = (db: DatabaseSync, log: Logger) => {
  const reservations = db.prepare('SELECT id, key, day, amount, state FROM ledger_reservations WHERE id = ?');
  const counter = db.prepare('SELECT settled, reserved FROM ledger_days WHERE key = ? AND day = ?');
  const move = db.prepare(
    `INSERT INTO ledger_days (key, day, settled, reserved) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (key, day) DO UPDATE SET settled = settled + ?3, reserved = reserved + ?4`,
  );
  const hold = db.prepare(`INSERT INTO ledger_reservations (id, key, day, amount, deadline, state) VALUES (?, ?, ?, ?, ?, 'held')`);
  const close = db.prepare('UPDATE ledger_reservations SET state = ?, used = ? WHERE id = ? AND key = ?');
  const overdue = db.prepare(`SELECT id, key, day, amount, state FROM ledger_reservations WHERE state = 'held' AND deadline <= ?`);
  const forget = db.prepare(`DELETE FROM ledger_reservations WHERE state <> 'held' AND day < ?`);
  const forgetDays = db.prepare('DELETE FROM ledger_days WHERE day < ? AND reserved = 0');

  const usage = (key: string, day: string): { readonly settled: number; readonly reserved: number } =>
    (counter.get(key, day) as { settled: number; reserved: number } | undefined) ?? { settled: 0, reserved: 0 };

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
    return { granted: true, key: '', cap: 0, used: 0, reserved: 0, resetAt };
  };

  const settle = (id: string, used: number): void => {
    for (const row of reservations.all(id) as unknown as readonly Row[]) {
      if (row.state === 'settled') continue;
      move.run(row.key, row.day, row.state === 'spent' ? used - row.amount : used, row.state === 'held' ? -row.amount : 0);
      close.run('settled', used, id, row.key);
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
    forgetDays.run(dayOf(now - KEEP_DAYS_MS));
    return rows.length;
  };

  return { reserve, settle, sweep };
};
