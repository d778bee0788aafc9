import { readFileSync } from 'node:fs';
import { openDatabase, systemClock, type Clock, type Logger } from '#lib';
import type { BudgetCounter, LedgerPort } from '#model';
import { createBatches } from './batches.ts';
import { createBooks } from './books.ts';
import { MIGRATIONS } from './schema.ts';
import { openStore } from './store.ts';

export interface Ledger extends LedgerPort, AsyncDisposable {
  /** Turns reservations past their deadline into spent ones and forgets old rows; returns how many it turned. */
  sweep(): number;
  /** Counters of today and of runs that are under way, of one namespace or (empty) all. */
  counters(namespace: string): readonly BudgetCounter[];
}

/** Tokens and millionths of a dollar are counted in whole numbers; anything else from a caller is a defect there, and is refused. */
const checkWhole = (what: string, value: number): void => {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${what} must be a whole number, not ${value}`);
};

const UNITS: ReadonlySet<string> = new Set(['tokens', 'microdollars']);
const WINDOWS: ReadonlySet<string> = new Set(['day', 'execution']);

export interface LedgerOptions {
  readonly clock?: Clock;
  readonly log: Logger;
  /** Whether a run is under way: as long as it is, its counters are kept. */
  readonly alive: (execution: string) => boolean;
  /** Id of this boot of the machine; asked of the kernel by default. */
  readonly boot?: string;
}

/**
 * The ledger in its own tables of the SQLite file at `path`. A reservation counts in the UTC day in which it was made, and
 * stays in that day when it is settled later, and in the run that made it: settled + reserved <= cap for every budget, in every
 * interleaving and after every crash; only a provider that uses more than was reserved can pass it. Requests that arrive together
 * share one commit.
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
  db.exec('PRAGMA synchronous=NORMAL');
  const store = openStore(db);
  const books = createBooks(store.state, options.log, options.alive);
  if (store.owner !== '' && store.owner !== boot) books.cut();
  store.own(boot);
  const queue = createBatches(store);
  return {
    reserve: async (request) => {
      for (const { cap, amount, unit, window } of request.entries) {
        checkWhole('amount', amount);
        checkWhole('cap', cap);
        if (!UNITS.has(unit) || !WINDOWS.has(window)) throw new RangeError(`there are no budgets of ${unit} by ${window}`);
        if (window === 'execution' && request.execution === '') throw new RangeError('a budget of a run needs the id of the run');
      }
      return queue.add(() => books.reserve(request, clock.now()));
    },
    settle: async (settlement) => {
      checkWhole('tokens', settlement.tokens);
      checkWhole('microdollars', settlement.microdollars);
      return queue.add(() => books.settle(settlement));
    },
    sweep() {
      queue.flush(); // a failure of the sweep must not take back what waits for an answer
      try {
        const spent = books.sweep(clock.now());
        store.commit();
        store.forgetSettled();
        return spent;
      } catch (error) {
        store.rollback();
        throw error;
      }
    },
    counters(namespace) {
      queue.flush(); // what was asked before is in it
      return books.list(namespace, clock.now());
    },
    async [Symbol.asyncDispose]() {
      queue.flush();
      store.own('');
      db.close();
    },
  };
};
