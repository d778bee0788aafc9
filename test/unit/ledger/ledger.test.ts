import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase, silentLogger } from '#lib';
import { openLedger, type Ledger } from '#ledger';
import type { BudgetEntry } from '#model';
import { MIGRATIONS } from '../../../src/ledger/schema.ts';

const NOON = Date.UTC(2026, 0, 15, 12);
const DAY = 86_400_000;
let dir: string;
let now: number;
let ledger: Ledger;
/** Runs that are under way. */
const running = new Set<string>();
const open = (boot = 'boot-1'): Ledger =>
  openLedger(join(dir, 'dispatch.db'), { clock: { now: () => now, monotonic: () => now }, log: silentLogger, alive: (id) => running.has(id), boot });
const entry = (key: string, cap: number, amount: number, of: Partial<BudgetEntry> = {}): BudgetEntry => ({
  key,
  unit: 'tokens',
  window: 'day',
  cap,
  amount,
  ...of,
});
const take = (id: string, entries: readonly BudgetEntry[], execution = '', deadline = now + 1000) => ledger.reserve({ id, execution, entries, deadline });
const reserve = (id: string, amount: number, cap = 100, key = 'b') => take(id, [entry(key, cap, amount)]);
const settle = (id: string, tokens: number, microdollars = 0): Promise<void> => ledger.settle({ id, tokens, microdollars });
/** Settled and reserved amounts of a budget: what a refused question says. */
const usage = async (key = 'b', of: Partial<BudgetEntry> = {}, execution = ''): Promise<{ used: number; reserved: number }> => {
  const { used, reserved } = await take('probe', [entry(key, 0, 1, of)], execution, now);
  return { used, reserved };
};

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clrk-ledger-'));
  now = NOON;
  ledger = open();
});
afterEach(async () => {
  await ledger[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

test('grants until the cap and says what is left when it refuses', async () => {
  expect((await reserve('a', 60)).granted).toBe(true);
  expect(await reserve('b', 41)).toEqual({ granted: false, entry: 0, used: 0, reserved: 60, resetAt: Date.UTC(2026, 0, 16) });
  expect((await reserve('c', 40)).granted).toBe(true);
});

test('the same id is one reservation, also after it was settled', async () => {
  await reserve('a', 60);
  await reserve('a', 60);
  expect(await usage()).toEqual({ used: 0, reserved: 60 });
  await settle('a', 10);
  await settle('a', 50);
  await reserve('a', 60);
  expect(await usage()).toEqual({ used: 10, reserved: 0 });
});

test('however much providers say they used, the file can be read again', async () => {
  await reserve('a', 1);
  await reserve('b', 1);
  for (const id of ['a', 'b']) await settle(id, Number.MAX_SAFE_INTEGER);
  await ledger[Symbol.asyncDispose]();
  ledger = open();
  expect(await usage()).toEqual({ used: Number.MAX_SAFE_INTEGER, reserved: 0 });
});

test('a clock that was wrong for a moment, however wrong, does not forget what was used today', async () => {
  await reserve('a', 60);
  await settle('a', 60);
  now += 400 * DAY;
  ledger.sweep();
  await reserve('b', 5);
  ledger.sweep();
  now = NOON;
  expect(await usage()).toEqual({ used: 60, reserved: 0 });
  expect((await reserve('c', 41)).granted).toBe(false);
});

test('several budgets are taken together or not at all', async () => {
  await reserve('x', 95, 100, 'small');
  const answer = await take('a', [entry('large', 1000, 10), entry('small', 100, 10)]);
  expect(answer).toMatchObject({ granted: false, entry: 1, used: 0, reserved: 95 });
  expect(await usage('large')).toEqual({ used: 0, reserved: 0 });
});

test('a reservation past its deadline counts as spent, and a late settlement corrects it', async () => {
  await reserve('a', 60);
  now += 1000;
  expect(ledger.sweep()).toBe(1);
  expect(await usage()).toEqual({ used: 60, reserved: 0 });
  await settle('a', 25);
  expect(await usage()).toEqual({ used: 25, reserved: 0 });
});

test('the day begins at midnight UTC; what was reserved before it stays in its day', async () => {
  now = Date.UTC(2026, 0, 15, 23, 59, 59);
  await reserve('late', 100);
  now += 2000;
  expect(await usage()).toEqual({ used: 0, reserved: 0 });
  expect((await reserve('early', 100)).granted).toBe(true);
  await settle('late', 100);
  expect(await usage()).toEqual({ used: 0, reserved: 100 });
});

test('an unknown id settles nothing, a fraction is refused, and so is what is no budget', async () => {
  await settle('nobody', 5);
  expect(await usage()).toEqual({ used: 0, reserved: 0 });
  await expect(reserve('a', 1.5)).rejects.toThrow(RangeError);
  await expect(settle('a', -1)).rejects.toThrow(RangeError);
  await expect(settle('a', 1, 0.5)).rejects.toThrow(RangeError);
  await expect(take('a', [entry('b', 100, 1, { unit: 'euros' as never })])).rejects.toThrow(RangeError);
  await expect(take('a', [entry('b', 100, 1, { window: 'week' as never })])).rejects.toThrow(RangeError);
  await expect(take('a', [entry('b', 100, 1, { window: 'execution' })])).rejects.toThrow(RangeError);
});

test('a provider that used more than was reserved is counted in full', async () => {
  await reserve('a', 60);
  await settle('a', 130);
  expect(await usage()).toEqual({ used: 130, reserved: 0 });
});

test('parallel requests get exactly what fits', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => reserve(`r${i}`, 10)));
  expect(answers.filter(({ granted }) => granted)).toHaveLength(10);
});

test('old reservations are forgotten, a held one never is', async () => {
  await take('held', [entry('b', 100, 10)], '', now + 90 * DAY);
  await reserve('done', 10);
  await settle('done', 3);
  now += 50 * DAY;
  ledger.sweep();
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  expect(db.prepare('SELECT id FROM ledger_reservations').all()).toEqual([{ id: 'held' }]);
  db.close();
});

const RUN = { window: 'execution' } as const;
const MONEY = { unit: 'microdollars' } as const;

test('a budget of a run counts for that run alone, whatever the day', async () => {
  expect((await take('a', [entry('b', 100, 60, RUN)], 'run-1')).granted).toBe(true);
  now += DAY;
  expect(await take('b', [entry('b', 100, 60, RUN)], 'run-1')).toEqual({ granted: false, entry: 0, used: 0, reserved: 60, resetAt: 0 });
  expect((await take('c', [entry('b', 100, 60, RUN)], 'run-2')).granted).toBe(true);
  await settle('a', 7);
  expect(await usage('b', RUN, 'run-1')).toEqual({ used: 7, reserved: 0 });
  expect(await usage()).toEqual({ used: 0, reserved: 0 }); // the day has a counter of its own
});

test('money and tokens of one request are settled each in its own counter', async () => {
  const entries = [entry('b', 100, 60), entry('b', 5_000, 900, MONEY), entry('b', 2_000, 900, { ...MONEY, ...RUN })];
  expect((await take('a', entries, 'run-1')).granted).toBe(true);
  await settle('a', 11, 222);
  expect([await usage(), await usage('b', MONEY), await usage('b', { ...MONEY, ...RUN }, 'run-1')]).toEqual([
    { used: 11, reserved: 0 },
    { used: 222, reserved: 0 },
    { used: 222, reserved: 0 },
  ]);
  expect(await take('b', [entry('b', 100, 1), entry('b', 300, 79, MONEY)])).toMatchObject({ granted: false, entry: 1, used: 222 });
});

test('two entries of one counter are one: the smallest cap decides', async () => {
  expect(await take('a', [entry('b', 500, 60), entry('b', 50, 60)])).toMatchObject({ granted: false, entry: 1 });
  expect((await take('a', [entry('b', 500, 60), entry('b', 80, 60)])).granted).toBe(true);
  expect(await usage()).toEqual({ used: 0, reserved: 60 });
});

test('a cap of nothing refuses also what costs nothing', async () => {
  expect((await take('a', [entry('b', 0, 0, MONEY)])).granted).toBe(false);
  expect((await take('a', [entry('b', 1, 0, MONEY)])).granted).toBe(true);
});

test('the counters of a run are kept while it is under way, and forgotten an hour after it ended', async () => {
  running.add('long');
  await take('a', [entry('b', 100, 60, RUN)], 'long');
  await settle('a', 60);
  await take('b', [entry('b', 100, 60, RUN)], 'short');
  await settle('b', 60);
  now += 3_601_000;
  ledger.sweep();
  expect(await usage('b', RUN, 'long')).toEqual({ used: 60, reserved: 0 });
  expect(await usage('b', RUN, 'short')).toEqual({ used: 0, reserved: 0 });
  running.delete('long');
  ledger.sweep();
  expect(await usage('b', RUN, 'long')).toEqual({ used: 60, reserved: 0 });
  now += 3_601_000;
  ledger.sweep();
  expect(await usage('b', RUN, 'long')).toEqual({ used: 0, reserved: 0 });
  await settle('a', 99); // a settlement that comes once more changes nothing
  expect(await usage('b', RUN, 'long')).toEqual({ used: 0, reserved: 0 });
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  expect(db.prepare('SELECT * FROM ledger_reservations').all()).toEqual([]);
  expect(db.prepare('SELECT * FROM ledger_counters').all()).toEqual([]);
  db.close();
});

test('a held reservation of a run is never forgotten before it is spent', async () => {
  await take('a', [entry('b', 100, 60, RUN)], 'gone', now + 2 * DAY);
  now += DAY;
  ledger.sweep();
  expect(await usage('b', RUN, 'gone')).toEqual({ used: 0, reserved: 60 });
});

test('counters say how they stand: those of today and of runs that are under way, by namespace', async () => {
  running.add('run-1');
  await take('a', [entry('budget/demo/openai/egress', 100, 60), entry('budget/demo/openai/egress', 80, 60, RUN)], 'run-1');
  await take('b', [entry('shared/team/all', 900, 5, MONEY), entry('shared/team/all', 900, 5, { ...MONEY, ...RUN })], 'run-2');
  await settle('b', 0, 3);
  const resetAt = Date.UTC(2026, 0, 16);
  const demo = [
    { key: 'budget/demo/openai/egress', unit: 'tokens', window: 'day', execution: '', cap: 100, used: 0, reserved: 60, resetAt },
    { key: 'budget/demo/openai/egress', unit: 'tokens', window: 'execution', execution: 'run-1', cap: 80, used: 0, reserved: 60, resetAt: 0 },
  ];
  const team = { key: 'shared/team/all', unit: 'microdollars', window: 'day', execution: '', cap: 900, used: 3, reserved: 0, resetAt };
  expect(ledger.counters('demo')).toEqual(demo);
  expect(ledger.counters('')).toEqual([...demo, team]);
  now += DAY;
  expect(ledger.counters('team')).toEqual([]);
});

test('a database of a version before is taken over: rules of a route are one counter', async () => {
  const path = join(dir, 'old.db');
  const old = openDatabase(path, MIGRATIONS.slice(0, 2), 'ledger');
  const days: [string, number, number, number][] = [
    ['budget/demo/openai/0/egress', 60, 0, 70],
    ['budget/demo/openai/12/egress', 5, 10, 20],
    ['budget/team/openai/0/demo/egress', 1, 0, 1],
  ];
  for (const [key, settled, reserved, ceiling] of days)
    old.prepare('INSERT INTO ledger_days VALUES (?, ?, ?, ?, ?)').run(key, '2026-01-15', settled, reserved, ceiling);
  old.exec(`INSERT INTO ledger_reservations VALUES ('held', 'budget/demo/openai/12/egress', '2026-01-15', 10, ${NOON + 60_000}, 'held', NULL);
    INSERT INTO ledger_reservations VALUES ('done', 'budget/demo/openai/0/egress', '2026-01-15', 90, ${NOON}, 'settled', 60);`);
  old.close();
  await ledger[Symbol.asyncDispose]();
  ledger = openLedger(path, { clock: { now: () => now, monotonic: () => now }, log: silentLogger, alive: () => false, boot: 'boot-1' });
  expect(await usage('budget/demo/openai/egress')).toEqual({ used: 65, reserved: 10 });
  expect(await usage('budget/team/openai/demo/egress')).toEqual({ used: 1, reserved: 0 });
  await settle('held', 4);
  await settle('done', 1);
  expect(await usage('budget/demo/openai/egress')).toEqual({ used: 69, reserved: 0 });
});

type Step =
  | { readonly kind: 'reserve'; readonly id: number; readonly amount: number; readonly budgets: readonly number[] }
  | { readonly kind: 'settle'; readonly id: number; readonly share: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'restart' };

const ids = fc.nat(12);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('reserve' as const), id: ids, amount: fc.nat(60), budgets: fc.uniqueArray(fc.nat(2), { minLength: 1 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('settle' as const), id: ids, share: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(DAY / 2) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
);

/** What the three budgets of a property count: tokens of a day, money of a day, money of a run. */
const KINDS: readonly Partial<BudgetEntry>[] = [{}, MONEY, { ...MONEY, ...RUN }];
/** A token costs this much. */
const PRICE = 3;
const worth = (budget: number, tokens: number): number => (KINDS[budget]!.unit === 'microdollars' ? tokens * PRICE : tokens);

let runs = 0;
/** Budgets of a run of a property are nobody else's: one that is drawn repeats, above all when a failure is made smaller. */
const newRun = (): string => `run-${++runs}`;

test('no interleaving of reserve, settle, deadlines and restarts passes a cap', async () => {
  const caps = [100, 70 * PRICE, 150 * PRICE];
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const run = newRun();
      const granted = new Map<string, number>();
      const key = (budget: number): string => `${run}/${budget}`;
      for (const s of steps) {
        if (s.kind === 'reserve') {
          const entries = s.budgets.map((b) => entry(key(b), caps[b]!, worth(b, s.amount), KINDS[b]));
          const { granted: ok } = await take(`${run}/${s.id}`, entries, run, now + 5000);
          if (ok && !granted.has(`${s.id}`)) granted.set(`${s.id}`, s.amount);
        } else if (s.kind === 'settle') {
          const used = Math.floor((granted.get(`${s.id}`) ?? 0) * s.share);
          await settle(`${run}/${s.id}`, used, used * PRICE);
        } else if (s.kind === 'wait') {
          now += s.ms;
          ledger.sweep();
        } else {
          await ledger[Symbol.asyncDispose]();
          ledger = open();
        }
        for (const [b, cap] of caps.entries()) {
          const { used, reserved } = await usage(key(b), KINDS[b], run);
          expect(used + reserved).toBeLessThanOrEqual(cap);
          expect(Math.min(used, reserved)).toBeGreaterThanOrEqual(0);
        }
      }
      // Whatever happened: when the last deadline has passed nothing is held.
      now += 5001;
      ledger.sweep();
      for (const b of caps.keys()) expect((await usage(key(b), KINDS[b], run)).reserved).toBe(0);
    }),
    { numRuns: 60 },
  );
}, 60_000);

/** The files of the ledger as they are now, closed by nobody: what a killed process leaves, or what a power cut may leave of it. */
const files = (): ReadonlyMap<string, Buffer> => new Map(['', '-wal'].map((end) => [end, readFileSync(join(dir, `dispatch.db${end}`))]));
const putBack = (saved: ReadonlyMap<string, Buffer>): void => {
  rmSync(join(dir, 'dispatch.db-shm'), { force: true });
  for (const [end, bytes] of saved) writeFileSync(join(dir, `dispatch.db${end}`), bytes);
};
const ceilings = (): string => {
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  const rows = JSON.stringify(db.prepare('SELECT key, unit, per, span, ceiling FROM ledger_counters ORDER BY 1, 2, 3, 4').all());
  db.close();
  return rows;
};

test('a killed process loses nothing: the same boot of the machine counts exactly', async () => {
  await reserve('a', 60);
  await settle('a', 10);
  await reserve('b', 5);
  const left = files();
  await ledger[Symbol.asyncDispose]();
  putBack(left);
  ledger = open();
  expect(await usage()).toEqual({ used: 10, reserved: 5 });
});

test('a power cut counts a budget as used up to its ceiling, a clean stop before a restart of the machine does not', async () => {
  await reserve('a', 600, 6400);
  const old = files();
  await reserve('b', 100, 6400); // below the ceiling, so only the kernel knows it
  await ledger[Symbol.asyncDispose]();
  ledger = open('boot-2');
  expect(await usage()).toEqual({ used: 0, reserved: 700 });
  await ledger[Symbol.asyncDispose]();
  putBack(old);
  ledger = open('boot-3');
  expect(await usage()).toEqual({ used: 700, reserved: 0 }); // 600 + a 64th of the cap
  await settle('a', 50);
  expect(await usage()).toEqual({ used: 700, reserved: 0 });
});

test('what the file does not take is not counted: all that came together is refused, and asking again works', async () => {
  await reserve('a', 60);
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  db.exec("CREATE TRIGGER full BEFORE INSERT ON ledger_reservations BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  const together = await Promise.allSettled([settle('a', 10), reserve('b', 20), reserve('c', 1, 100, 'other')]);
  expect(together.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect([await usage(), await usage('other')]).toEqual([
    { used: 0, reserved: 60 },
    { used: 0, reserved: 0 },
  ]);
  db.exec('DROP TRIGGER full');
  db.close();
  await settle('a', 10);
  expect((await reserve('b', 90)).granted).toBe(true);
  await ledger[Symbol.asyncDispose]();
  ledger = open();
  expect(await usage()).toEqual({ used: 10, reserved: 90 });
});

test('an id that was settled is known after a restart; of settlements the newest are kept', async () => {
  await reserve('a', 60);
  await settle('a', 10);
  await ledger[Symbol.asyncDispose]();
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  db.exec("INSERT INTO ledger_settled (seq, id, entries) VALUES (100000, 'old', '[]')");
  ledger = open();
  expect((await reserve('a', 60)).granted).toBe(true);
  expect(await usage()).toEqual({ used: 10, reserved: 0 });
  await reserve('b', 1);
  await settle('b', 1);
  ledger.sweep();
  expect(db.prepare('SELECT id FROM ledger_settled').all()).toEqual([{ id: 'old' }, { id: 'b' }]);
  db.close();
});

test('what was settled before a power cut and is settled again after it gives nothing back that others took', async () => {
  await reserve('a', 100, 6400);
  await reserve('c', 50, 6400);
  const old = files();
  await settle('a', 0);
  await reserve('b', 150, 6400);
  await ledger[Symbol.asyncDispose]();
  putBack(old);
  ledger = open('boot-2');
  await settle('a', 0);
  expect(await usage()).toEqual({ used: 200, reserved: 0 });
  // A provider that used more than was held counts, once.
  await settle('c', 80);
  await settle('c', 80);
  expect(await usage()).toEqual({ used: 230, reserved: 0 });
});

test('no power cut, whatever it takes of what was not yet on disk, lets a budget pass its cap', async () => {
  const caps = [100, 700 * PRICE, 150_000 * PRICE];
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 4, arbitrary: step }, { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), back: fc.nat(6) }) }), {
        maxLength: 30,
      }),
      async (steps) => {
        const run = newRun();
        const key = (budget: number): string => `${run}/${budget}`;
        /** What requests that left may have used, in order; a truth no cut changes. */
        const left: { readonly id: string; readonly keys: readonly string[]; used: number }[] = [];
        /** Since the last raise of a ceiling, which is on disk, a cut may leave any of these. */
        let survivors: { readonly files: ReadonlyMap<string, Buffer>; readonly ceilings: string }[] = [];
        let boots = 0;
        for (const [at, s] of steps.entries()) {
          if (s.kind === 'reserve') {
            const entries = s.budgets.map((b) => entry(key(b), caps[b]!, worth(b, s.amount), KINDS[b]));
            const id = `${run}/${at}`;
            const { granted } = await take(id, entries, run, now + 5000);
            if (granted) left.push({ id, keys: entries.map((wanted) => wanted.key), used: s.amount });
          } else if (s.kind === 'settle') {
            const request = left[s.id];
            if (!request) continue;
            request.used = Math.floor(request.used * s.share);
            await settle(request.id, request.used, request.used * PRICE);
          } else if (s.kind === 'cut') {
            const kept = survivors.at(-1 - Math.min(s.back, survivors.length - 1));
            if (!kept) continue;
            await ledger[Symbol.asyncDispose]();
            putBack(kept.files);
            ledger = open(`${run}/boot-${++boots}`);
            survivors = [];
          } else if (s.kind === 'restart') {
            await ledger[Symbol.asyncDispose]();
            ledger = open(`${run}/boot-${boots}`);
          }
          const raised = ceilings();
          survivors = [...survivors.filter((survivor) => survivor.ceilings === raised), { files: files(), ceilings: raised }];
          for (const [b, cap] of caps.entries()) {
            const { used, reserved } = await usage(key(b), KINDS[b], run);
            const truth = left.reduce((sum, request) => sum + (request.keys.includes(key(b)) ? worth(b, request.used) : 0), 0);
            expect(used + reserved).toBeLessThanOrEqual(cap);
            expect(used + reserved, 'forgotten').toBeGreaterThanOrEqual(truth);
          }
        }
        await ledger[Symbol.asyncDispose]();
        ledger = open();
      },
    ),
    { numRuns: 200 },
  );
}, 60_000);
