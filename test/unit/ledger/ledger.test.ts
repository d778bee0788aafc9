import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase, silentLogger } from '#lib';
import { openLedger, type Ledger } from '#ledger';

const NOON = Date.UTC(2026, 0, 15, 12);
const DAY = 86_400_000;
let dir: string;
let now: number;
let ledger: Ledger;
const open = (boot = 'boot-1'): Ledger => openLedger(join(dir, 'dispatch.db'), { clock: { now: () => now, monotonic: () => now }, log: silentLogger, boot });
const reserve = (id: string, amount: number, cap = 100, key = 'b') => ledger.reserve({ id, budgets: [{ key, cap }], amount, deadline: now + 1000 });
/** Settled and reserved tokens of a budget today: what a refused question for more than everything says. */
const usage = async (key = 'b'): Promise<{ used: number; reserved: number }> => {
  const { used, reserved } = await ledger.reserve({ id: 'probe', budgets: [{ key, cap: 0 }], amount: 1, deadline: now });
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
  expect(await reserve('b', 41)).toEqual({ granted: false, key: 'b', cap: 100, used: 0, reserved: 60, resetAt: Date.UTC(2026, 0, 16) });
  expect((await reserve('c', 40)).granted).toBe(true);
});

test('the same id is one reservation, also after it was settled', async () => {
  await reserve('a', 60);
  await reserve('a', 60);
  expect(await usage()).toEqual({ used: 0, reserved: 60 });
  await ledger.settle({ id: 'a', used: 10 });
  await ledger.settle({ id: 'a', used: 50 });
  await reserve('a', 60);
  expect(await usage()).toEqual({ used: 10, reserved: 0 });
});

test('a clock that was wrong for a moment, however wrong, does not forget what was used today', async () => {
  await reserve('a', 60);
  await ledger.settle({ id: 'a', used: 60 });
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
  const answer = await ledger.reserve({
    id: 'a',
    budgets: [
      { key: 'large', cap: 1000 },
      { key: 'small', cap: 100 },
    ],
    amount: 10,
    deadline: now + 1000,
  });
  expect(answer).toMatchObject({ granted: false, key: 'small' });
  expect(await usage('large')).toEqual({ used: 0, reserved: 0 });
});

test('a reservation past its deadline counts as spent, and a late settlement corrects it', async () => {
  await reserve('a', 60);
  now += 1000;
  expect(ledger.sweep()).toBe(1);
  expect(await usage()).toEqual({ used: 60, reserved: 0 });
  await ledger.settle({ id: 'a', used: 25 });
  expect(await usage()).toEqual({ used: 25, reserved: 0 });
});

test('the day begins at midnight UTC; what was reserved before it stays in its day', async () => {
  now = Date.UTC(2026, 0, 15, 23, 59, 59);
  await reserve('late', 100);
  now += 2000;
  expect(await usage()).toEqual({ used: 0, reserved: 0 });
  expect((await reserve('early', 100)).granted).toBe(true);
  await ledger.settle({ id: 'late', used: 100 });
  expect(await usage()).toEqual({ used: 0, reserved: 100 });
});

test('an unknown id settles nothing, a fraction of a token is refused', async () => {
  await ledger.settle({ id: 'nobody', used: 5 });
  expect(await usage()).toEqual({ used: 0, reserved: 0 });
  await expect(reserve('a', 1.5)).rejects.toThrow(RangeError);
  await expect(ledger.settle({ id: 'a', used: -1 })).rejects.toThrow(RangeError);
});

test('a provider that used more than was reserved is counted in full', async () => {
  await reserve('a', 60);
  await ledger.settle({ id: 'a', used: 130 });
  expect(await usage()).toEqual({ used: 130, reserved: 0 });
});

test('parallel requests get exactly what fits', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => reserve(`r${i}`, 10)));
  expect(answers.filter(({ granted }) => granted)).toHaveLength(10);
});

test('old reservations are forgotten, a held one never is', async () => {
  await ledger.reserve({ id: 'held', budgets: [{ key: 'b', cap: 100 }], amount: 10, deadline: now + 90 * DAY });
  await reserve('done', 10);
  await ledger.settle({ id: 'done', used: 3 });
  now += 50 * DAY;
  ledger.sweep();
  const db = openDatabase(join(dir, 'dispatch.db'), [], 'test');
  expect(db.prepare('SELECT id FROM ledger_reservations').all()).toEqual([{ id: 'held' }]);
  db.close();
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

let runs = 0;
/** Budgets of a run of a property are nobody else's: one that is drawn repeats, above all when a failure is made smaller. */
const newRun = (): string => `run-${++runs}`;

test('no interleaving of reserve, settle, deadlines and restarts passes a cap', async () => {
  const caps = [100, 70, 150];
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const run = newRun();
      const granted = new Map<string, number>();
      const key = (budget: number): string => `${run}/${budget}`;
      for (const s of steps) {
        if (s.kind === 'reserve') {
          const budgets = s.budgets.map((b) => ({ key: key(b), cap: caps[b]! }));
          const { granted: ok } = await ledger.reserve({ id: `${run}/${s.id}`, budgets, amount: s.amount, deadline: now + 5000 });
          if (ok && !granted.has(`${s.id}`)) granted.set(`${s.id}`, s.amount);
        } else if (s.kind === 'settle') await ledger.settle({ id: `${run}/${s.id}`, used: Math.floor((granted.get(`${s.id}`) ?? 0) * s.share) });
        else if (s.kind === 'wait') {
          now += s.ms;
          ledger.sweep();
        } else {
          await ledger[Symbol.asyncDispose]();
          ledger = open();
        }
        for (const [b, cap] of caps.entries()) {
          const { used, reserved } = await usage(key(b));
          expect(used + reserved).toBeLessThanOrEqual(cap);
          expect(Math.min(used, reserved)).toBeGreaterThanOrEqual(0);
        }
      }
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
  const rows = JSON.stringify(db.prepare('SELECT key, day, ceiling FROM ledger_days ORDER BY key, day').all());
  db.close();
  return rows;
};

test('a killed process loses nothing: the same boot of the machine counts exactly', async () => {
  await reserve('a', 60);
  await ledger.settle({ id: 'a', used: 10 });
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
  expect(await usage()).toEqual({ used: 100, reserved: 600 }); // 700 = 600 + a 64th of the cap
  await ledger.settle({ id: 'a', used: 50 });
  expect(await usage()).toEqual({ used: 150, reserved: 0 });
});

test('no power cut, whatever it takes of what was not yet on disk, lets a budget pass its cap', async () => {
  const caps = [100, 700, 150_000];
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
            const budgets = s.budgets.map((b) => ({ key: key(b), cap: caps[b]! }));
            const id = `${run}/${at}`;
            const { granted } = await ledger.reserve({ id, budgets, amount: s.amount, deadline: now + 5000 });
            if (granted) left.push({ id, keys: budgets.map((budget) => budget.key), used: s.amount });
          } else if (s.kind === 'settle') {
            const request = left[s.id];
            if (!request) continue;
            request.used = Math.floor(request.used * s.share);
            await ledger.settle({ id: request.id, used: request.used });
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
            const { used, reserved } = await usage(key(b));
            const truth = left.reduce((sum, request) => sum + (request.keys.includes(key(b)) ? request.used : 0), 0);
            expect(used + reserved).toBeLessThanOrEqual(cap);
            expect(used + reserved, 'forgotten tokens').toBeGreaterThanOrEqual(truth);
          }
        }
        await ledger[Symbol.asyncDispose]();
        ledger = open();
      },
    ),
    { numRuns: 40 },
  );
}, 60_000);
