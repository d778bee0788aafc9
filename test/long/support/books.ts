import { DatabaseSync } from 'node:sqlite';
import { layout, type Invocation } from '#model';
import type { TestStack } from '../../e2e/harness.ts';

export interface Reservation {
  readonly id: string;
  readonly key: string;
  readonly amount: number;
  readonly state: 'held' | 'spent' | 'settled';
  readonly used: number | null;
}

export interface Day {
  readonly key: string;
  readonly day: string;
  readonly settled: number;
  readonly reserved: number;
}

/** The dispatcher's own database, read beside it: what is in it is what a killed dispatcher would find again. */
export interface Books extends Disposable {
  invocation(id: string): Invocation | undefined;
  invocations(): Invocation[];
  reservation(id: string): Reservation | undefined;
  reservations(): Reservation[];
  days(): Day[];
}

export const openBooks = (stack: TestStack): Books => {
  const db = new DatabaseSync(layout(stack.state, stack.run).dispatchDb, { readOnly: true });
  db.exec('PRAGMA busy_timeout = 2000');
  const record = (row: Record<string, unknown>): Invocation => JSON.parse(row['record'] as string) as Invocation;
  const one = db.prepare('SELECT record FROM invocations WHERE id = ?');
  const all = db.prepare('SELECT record FROM invocations ORDER BY seq');
  const reservation = db.prepare('SELECT * FROM ledger_reservations WHERE id = ?');
  const reservations = db.prepare('SELECT * FROM ledger_reservations');
  const days = db.prepare('SELECT * FROM ledger_days');
  return {
    invocation: (id) => {
      const row = one.get(id);
      return row && record(row);
    },
    invocations: () => all.all().map(record),
    reservation: (id) => reservation.get(id) as unknown as Reservation | undefined,
    reservations: () => reservations.all() as unknown as Reservation[],
    days: () => days.all() as unknown as Day[],
    [Symbol.dispose]: () => db.close(),
  };
};

/** Looks at every budget all the time: what was ever beyond the cap is in `broken`. */
export const watchCap = (books: Books, capOf: (key: string) => number, everyMs = 20) => {
  const broken: string[] = [];
  let looks = 0;
  const look = (): void => {
    looks++;
    for (const { key, day, settled, reserved } of books.days()) {
      if (settled < 0 || reserved < 0 || settled + reserved > capOf(key)) broken.push(`${key} on ${day}: ${settled} settled + ${reserved} reserved`);
    }
  };
  const timer = setInterval(look, everyMs);
  return { broken, looks: () => looks, [Symbol.dispose]: () => clearInterval(timer) };
};
