import type { Logger } from '#lib';
import type { BudgetCounter, ReserveAnswer, ReserveRequest, Settlement } from '#model';
import { DAY_MS, dayOf, endOfDay, nameOf, type Settled, type Taken, type Totals } from './counter.ts';
import type { State } from './store.ts';

/**
 * A ceiling is raised by this part of the cap at once, so a power cut can make at most that much count as spent. One of a run
 * is raised to its cap, which costs one write a run; such a run ended with the machine it was on.
 */
const CEILING_STEP = { day: 1 / 64, execution: 1 } as const;
/** A settlement that is later than this corrects nothing. */
const KEEP_SPENT_MS = 3 * DAY_MS;
/** Counters of this many days are kept. By number, not by age: a clock that was wrong for a moment must not forget today's. */
const KEEP_DAYS = 40;
/** The counter of a run that ended is kept for this long after its last request: longer than any settlement is late. */
const KEEP_EXECUTIONS_MS = 3_600_000;
/** Counters of runs that are looked at in one sweep. */
const SWEEP_EXECUTIONS = 1_000;

/** One entry of a request, in the counter it means. */
interface Wanted extends Taken {
  readonly name: string;
  readonly entry: number;
  readonly cap: number;
}

/** Entries of the same counter are one: the smallest cap and the largest amount. */
const wantedBy = ({ entries, execution }: ReserveRequest, today: string): readonly Wanted[] => {
  const wanted = new Map<string, Wanted>();
  for (const [entry, { key, unit, window: per, cap, amount }] of entries.entries()) {
    const span = per === 'day' ? today : execution;
    const name = nameOf({ key, unit, per, span });
    const known = wanted.get(name);
    const smaller = known !== undefined && known.cap <= cap ? known : { entry, cap };
    wanted.set(name, { name, key, unit, per, span, entry: smaller.entry, cap: smaller.cap, amount: Math.max(amount, known?.amount ?? 0) });
  }
  return [...wanted.values()];
};

/** The bookkeeping itself, on rows in memory; what it changed is brought to the file by the store. */
export const createBooks = ({ counters, reservations, settled }: State, log: Logger, alive: (execution: string) => boolean) => {
  /** What safely covers a total: the ceiling there is, or a higher one. */
  const ceilingOf = ({ per, ceiling }: Totals, total: number, room: number, cap: number): number =>
    total <= ceiling ? ceiling : Math.max(total, Math.min(room, total + Math.ceil(cap * CEILING_STEP[per])));

  const reserve = (request: ReserveRequest, now: number): ReserveAnswer => {
    const { id } = request;
    const granted = { granted: true, entry: -1, used: 0, reserved: 0, resetAt: 0 };
    if (reservations.get(id) || settled.has(id)) return granted;
    const day = dayOf(now);
    const wanted = wantedBy(request, day);
    for (const { name, per, cap, amount, entry } of wanted) {
      const { settled: used, reserved } = counters.get(name) ?? { settled: 0, reserved: 0 };
      if (cap > 0 && used + reserved + amount <= cap) continue;
      return { granted: false, entry, used, reserved, resetAt: per === 'day' ? endOfDay(now) : 0 };
    }
    for (const { name, key, unit, per, span, cap, amount } of wanted) {
      const known = counters.get(name) ?? { key, unit, per, span, cap, settled: 0, reserved: 0, ceiling: 0, touched: 0 };
      const reserved = known.reserved + amount;
      counters.set(name, { ...known, cap, reserved, ceiling: ceilingOf(known, known.settled + reserved, cap, cap), touched: Math.floor(now) });
    }
    const entries = wanted.map(({ key, unit, per, span, amount }) => ({ key, unit, per, span, amount }));
    reservations.set(id, { id, day, deadline: Math.floor(request.deadline), state: 'held', entries });
    return granted;
  };

  const settle = ({ id, ...amounts }: Settlement): void => {
    const row = reservations.get(id);
    if (!row) return;
    const entries: Settled['entries'][number][] = [];
    for (const taken of row.entries) {
      const { key, unit, per, amount } = taken;
      const used = amounts[unit];
      entries.push({ ...taken, used });
      if (used > amount) log.warn('a provider used more than was reserved', { id, budget: key, unit, per, reserved: amount, used, reason: 'BudgetOverrun' });
      const name = nameOf(taken);
      const known = counters.get(name);
      if (!known) continue; // forgotten with its run
      // What a power cut settled may have been settled before it, and its room taken by others: nothing of it is given back.
      const more = row.state === 'held' ? used : row.state === 'spent' ? used - amount : Math.max(0, used - amount);
      // A run that was taken for ended may have a counter that began anew: what is given back was not in it.
      const reserved = known.reserved - (row.state === 'held' ? amount : 0);
      // A larger total could not be read from the file again.
      const settledNow = Math.min(Math.max(0, known.settled + more), Number.MAX_SAFE_INTEGER - reserved);
      const next = { ...known, settled: settledNow, reserved };
      // Only by more than was reserved.
      const total = next.settled + next.reserved;
      counters.set(name, { ...next, ceiling: ceilingOf(known, total, total, 0) });
    }
    reservations.delete(id);
    settled.add({ id, entries });
  };

  /** Runs end without a word to the ledger, so it asks. */
  const forgetExecutions = (now: number): void => {
    let looked = 0;
    for (const counter of counters.values()) {
      const { per, reserved, touched, span } = counter;
      if (per !== 'execution' || reserved > 0 || touched >= now - KEEP_EXECUTIONS_MS) continue;
      if (++looked > SWEEP_EXECUTIONS) return;
      if (alive(span)) counters.set(nameOf(counter), { ...counter, touched: Math.floor(now) });
      else counters.delete(nameOf(counter));
    }
  };

  const forgetDays = (): void => {
    const days = [...counters.values()].filter(({ per }) => per === 'day');
    const kept = new Set([...new Set(days.map(({ span }) => span))].toSorted().slice(-KEEP_DAYS));
    for (const counter of days) if (counter.reserved === 0 && !kept.has(counter.span)) counters.delete(nameOf(counter));
  };

  const sweep = (now: number): number => {
    let spent = 0;
    const before = dayOf(now - KEEP_SPENT_MS);
    for (const row of reservations.values()) {
      if (row.state !== 'held') {
        if (row.day < before) reservations.delete(row.id);
        continue;
      }
      if (row.deadline > now) continue;
      for (const taken of row.entries) {
        const known = counters.get(nameOf(taken))!; // kept while something is reserved
        counters.set(nameOf(taken), { ...known, settled: known.settled + taken.amount, reserved: known.reserved - taken.amount });
      }
      reservations.set(row.id, { ...row, state: 'spent' });
      spent++;
    }
    forgetDays();
    forgetExecutions(now);
    return spent;
  };

  /** Another boot of the machine, and the ledger was not closed: what may have been lost counts as used. */
  const cut = (): void => {
    for (const counter of counters.values()) {
      const total = counter.settled + counter.reserved;
      if (total >= counter.ceiling && counter.reserved === 0) continue;
      const { key, unit, per, span, ceiling } = counter;
      log.warn('the machine was started again, a budget counts as used up to what was safe on disk', { key, unit, per, span, ceiling });
      counters.set(nameOf(counter), { ...counter, settled: Math.max(ceiling, total), reserved: 0 });
    }
    for (const row of reservations.values()) reservations.set(row.id, { ...row, state: 'cut' });
  };

  const list = (namespace: string, now: number): readonly BudgetCounter[] =>
    [...counters.values()]
      .filter(({ key, per, span }) => (namespace === '' || key.split('/')[1] === namespace) && (per === 'day' ? span === dayOf(now) : alive(span)))
      .toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
      .map(({ key, unit, per, span, cap, settled: used, reserved }) => {
        const [execution, resetAt] = per === 'day' ? ['', endOfDay(now)] : [span, 0];
        return { key, unit, window: per, execution, cap, used, reserved, resetAt };
      });

  return { reserve, settle, sweep, cut, list };
};

const orderOf = ({ key, unit, per, span }: Totals): string => [key, unit, per, span].join('\0');
