import type { DatabaseSync, Logger } from '#lib';
import type { BudgetCounter, ReserveAnswer, ReserveRequest, Settlement } from '#model';
import type { Ceilings } from './ceilings.ts';
import { DAY_MS, dayOf, endOfDay, type Counter } from './counter.ts';

/**
 * A ceiling is raised by this part of the cap at once, so a power cut can make at most that much count as spent. One of a run
 * is raised to its cap, which costs one write a run; such a run ended with the machine it was on.
 */
const CEILING_STEP = { day: 1 / 64, execution: 1 } as const;
/** Settled reservations are known (so that a repeat changes nothing) for this long, counters for longer. */
const KEEP_RESERVATIONS_MS = 3 * DAY_MS;
/** Counters of this many days are kept. By number, not by age: a clock that was wrong for a moment must not forget today's. */
const KEEP_DAYS = 40;
/** The counter of a run that ended is kept for this long after its last request: longer than any settlement is late. */
const KEEP_EXECUTIONS_MS = 3_600_000;
/** Counters of runs that are looked at in one sweep. */
const SWEEP_EXECUTIONS = 1_000;

interface Row extends Counter {
  readonly id: string;
  readonly amount: number;
  readonly state: 'held' | 'spent' | 'settled';
  /** Of a settled one: null when a power cut settled it. */
  readonly used: number | null;
}

interface Totals {
  readonly settled: number;
  readonly reserved: number;
  readonly ceiling: number;
}

/** One entry of a request, in the counter it means. */
interface Wanted extends Counter {
  readonly entry: number;
  readonly cap: number;
  readonly amount: number;
}

/** Entries of the same counter are one: the smallest cap and the largest amount. */
const wantedBy = ({ entries, execution }: ReserveRequest, today: string): readonly Wanted[] => {
  const wanted = new Map<string, Wanted>();
  for (const [entry, { key, unit, window: per, cap, amount }] of entries.entries()) {
    const name = `${unit} ${per} ${key}`;
    const known = wanted.get(name);
    const smaller = !known || cap < known.cap;
    wanted.set(name, {
      key,
      unit,
      per,
      span: per === 'day' ? today : execution,
      entry: smaller ? entry : known.entry,
      cap: smaller ? cap : known.cap,
      amount: Math.max(amount, known?.amount ?? 0),
    });
  }
  return [...wanted.values()];
};

/** The bookkeeping itself; every function but `counters` runs inside a transaction. */
export const createBooks = (db: DatabaseSync, log: Logger, ceilings: Ceilings, alive: (execution: string) => boolean) => {
  const which = 'key = ? AND unit = ? AND per = ? AND span = ?';
  const reservations = db.prepare('SELECT id, key, unit, per, span, amount, state, used FROM ledger_reservations WHERE id = ?');
  const counter = db.prepare(`SELECT settled, reserved, ceiling FROM ledger_counters WHERE ${which}`);
  const take = db.prepare(
    `INSERT INTO ledger_counters (key, unit, per, span, cap, settled, reserved, ceiling, touched) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, ?7)
     ON CONFLICT (key, unit, per, span) DO UPDATE SET reserved = reserved + ?6, cap = ?5, touched = ?7`,
  );
  const move = db.prepare(`UPDATE ledger_counters SET settled = settled + ?, reserved = reserved + ? WHERE ${which}`);
  const hold = db.prepare(`INSERT INTO ledger_reservations (id, key, unit, per, span, day, amount, deadline, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'held')`);
  const close = db.prepare('UPDATE ledger_reservations SET state = ?, used = ? WHERE id = ? AND key = ? AND unit = ? AND per = ?');
  const overdue = db.prepare(`SELECT id, key, unit, per, span, amount, state FROM ledger_reservations WHERE state = 'held' AND deadline <= ?`);
  const forget = db.prepare(`DELETE FROM ledger_reservations WHERE state <> 'held' AND day < ?`);
  const forgetDays = db.prepare(
    `DELETE FROM ledger_counters WHERE per = 'day' AND reserved = 0
       AND span NOT IN (SELECT DISTINCT span FROM ledger_counters WHERE per = 'day' ORDER BY span DESC LIMIT ${KEEP_DAYS})`,
  );
  const idle = db.prepare(
    `SELECT key, unit, per, span FROM ledger_counters WHERE per = 'execution' AND reserved = 0 AND touched < ? ORDER BY touched LIMIT ${SWEEP_EXECUTIONS}`,
  );
  const touch = db.prepare(`UPDATE ledger_counters SET touched = ? WHERE ${which}`);
  const forgetCounter = db.prepare(`DELETE FROM ledger_counters WHERE ${which}`);
  const forgetOfCounter = db.prepare(`DELETE FROM ledger_reservations WHERE state <> 'held' AND ${which}`);
  const all = db.prepare(
    `SELECT key, unit, per, span, cap, settled, reserved FROM ledger_counters WHERE per = 'execution' OR span = ? ORDER BY key, unit, per, span`,
  );

  const totals = ({ key, unit, per, span }: Counter): Totals =>
    (counter.get(key, unit, per, span) as Totals | undefined) ?? { settled: 0, reserved: 0, ceiling: 0 };

  const reserve = (request: ReserveRequest, now: number): ReserveAnswer => {
    const { id, deadline } = request;
    const today = dayOf(now);
    const wanted = wantedBy(request, today);
    if (reservations.all(id).length === 0) {
      for (const want of wanted) {
        const { settled, reserved } = totals(want);
        if (want.cap > 0 && settled + reserved + want.amount <= want.cap) continue;
        return { granted: false, entry: want.entry, used: settled, reserved, resetAt: want.per === 'day' ? endOfDay(now) : 0 };
      }
      for (const { key, unit, per, span, cap, amount } of wanted) {
        hold.run(id, key, unit, per, span, today, amount, Math.floor(deadline));
        take.run(key, unit, per, span, cap, amount, Math.floor(now));
      }
    }
    // Also of a repeated request: its first answer may have failed because the ceiling could not be raised.
    for (const want of wanted) {
      const { settled, reserved, ceiling } = totals(want);
      const total = settled + reserved;
      if (total > ceiling) ceilings.want(want, Math.max(total, Math.min(want.cap, total + Math.ceil(want.cap * CEILING_STEP[want.per]))));
    }
    return { granted: true, entry: -1, used: 0, reserved: 0, resetAt: 0 };
  };

  const settle = ({ id, ...amounts }: Settlement): void => {
    for (const row of reservations.all(id) as unknown as readonly Row[]) {
      if (row.state === 'settled' && row.used !== null) continue;
      const { key, unit, per, span, amount, state } = row;
      const used = amounts[unit];
      // What a power cut settled may have been settled before it, and its room taken by others: nothing of it is given back.
      const more = state === 'held' ? used : state === 'spent' ? used - amount : Math.max(0, used - amount);
      move.run(more, state === 'held' ? -amount : 0, key, unit, per, span);
      close.run('settled', used, id, key, unit, per);
      const { settled, reserved, ceiling } = totals(row);
      if (settled + reserved > ceiling) ceilings.want(row, settled + reserved); // only by more than was reserved
      if (used > amount) log.warn('a provider used more than was reserved', { id, budget: key, unit, per, reserved: amount, used, reason: 'BudgetOverrun' });
    }
  };

  /** Runs end without a word to the ledger, so it asks. */
  const forgetExecutions = (now: number): void => {
    for (const { key, unit, per, span } of idle.all(now - KEEP_EXECUTIONS_MS) as unknown as readonly Counter[]) {
      if (alive(span)) touch.run(Math.floor(now), key, unit, per, span);
      else {
        forgetCounter.run(key, unit, per, span);
        forgetOfCounter.run(key, unit, per, span);
      }
    }
  };

  const sweep = (now: number): number => {
    const rows = overdue.all(now) as unknown as readonly Row[];
    for (const { id, key, unit, per, span, amount } of rows) {
      move.run(amount, -amount, key, unit, per, span);
      close.run('spent', amount, id, key, unit, per);
    }
    forget.run(dayOf(now - KEEP_RESERVATIONS_MS));
    forgetDays.run();
    forgetExecutions(now);
    return rows.length;
  };

  const counters = (namespace: string, now: number): readonly BudgetCounter[] =>
    (all.all(dayOf(now)) as unknown as readonly (Counter & { cap: number; settled: number; reserved: number })[])
      .filter(({ key, per, span }) => (namespace === '' || key.split('/')[1] === namespace) && (per === 'day' || alive(span)))
      .map(({ key, unit, per, span, cap, settled, reserved }) => ({
        key,
        unit,
        window: per,
        execution: per === 'execution' ? span : '',
        cap,
        used: settled,
        reserved,
        resetAt: per === 'day' ? endOfDay(now) : 0,
      }));

  return { reserve, settle, sweep, counters };
};
