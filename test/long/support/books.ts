import { DatabaseSync } from 'node:sqlite';
import { layout, type Invocation } from '#model';
import type { TestStack } from '../../e2e/harness.ts';

export interface Reservation {
  readonly id: string;
  readonly key: string;
  readonly unit: string;
  readonly per: string;
  readonly amount: number;
  readonly state: 'held' | 'spent' | 'settled';
  readonly used: number | null;
}

export interface Counter {
  readonly key: string;
  readonly unit: string;
  readonly per: string;
  /** The UTC day, or the invocation id. */
  readonly span: string;
  readonly settled: number;
  readonly reserved: number;
}

/** The dispatcher's own database, read beside it: what is in it is what a killed dispatcher would find again. */
export interface Books extends Disposable {
  invocation(id: string): Invocation | undefined;
  invocations(): Invocation[];
  reservation(id: string): Reservation | undefined;
  reservations(): Reservation[];
  counters(): Counter[];
}

export const openBooks = (stack: TestStack): Books => {
  const db = new DatabaseSync(layout(stack.state, stack.run).dispatchDb, { readOnly: true });
  db.exec('PRAGMA busy_timeout = 2000');
  const record = (row: Record<string, unknown>): Invocation => JSON.parse(row['record'] as string) as Invocation;
  const one = db.prepare('SELECT record FROM invocations WHERE id = ?');
  const all = db.prepare('SELECT record FROM invocations ORDER BY seq');
  const entries = (state: string, used: string): string => `
    SELECT r.id, ${state} AS state, ${used} AS used, e.value ->> 'key' AS key, e.value ->> 'unit' AS unit, e.value ->> 'per' AS per, e.value ->> 'amount' AS amount`;
  const rows = `${entries('state', "CASE state WHEN 'spent' THEN e.value ->> 'amount' END")} FROM ledger_reservations AS r, json_each(r.entries) AS e
    UNION ALL ${entries("'settled'", "e.value ->> 'used'")} FROM ledger_settled AS r, json_each(r.entries) AS e`;
  const reservation = db.prepare(`SELECT * FROM (${rows}) WHERE id = ?`);
  const reservations = db.prepare(rows);
  const counters = db.prepare('SELECT * FROM ledger_counters');
  return {
    invocation: (id) => {
      const row = one.get(id);
      return row && record(row);
    },
    invocations: () => all.all().map(record),
    reservation: (id) => reservation.get(id) as unknown as Reservation | undefined,
    reservations: () => reservations.all() as unknown as Reservation[],
    counters: () => counters.all() as unknown as Counter[],
    [Symbol.dispose]: () => db.close(),
  };
};

/** Looks at every budget all the time: what was ever beyond the cap is in `broken`. */
export const watchCap = (books: Books, capOf: (key: string, counter: Counter) => number, everyMs = 20) => {
  const broken: string[] = [];
  let looks = 0;
  const look = (): void => {
    looks++;
    for (const counter of books.counters()) {
      const { key, unit, span, settled, reserved } = counter;
      if (settled < 0 || reserved < 0 || settled + reserved > capOf(key, counter))
        broken.push(`${key} ${unit} in ${span}: ${settled} settled + ${reserved} reserved`);
    }
  };
  const timer = setInterval(look, everyMs);
  return { broken, looks: () => looks, [Symbol.dispose]: () => clearInterval(timer) };
};
