import type { BudgetUnit, BudgetWindow } from '#model';

/** What is counted apart from everything else. */
export interface Counter {
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly per: BudgetWindow;
  /** The UTC day (`2026-01-15`), or the invocation id of a run. */
  readonly span: string;
}

/** How a counter stands. */
export interface Totals extends Counter {
  /** Of the newest request. */
  readonly cap: number;
  readonly settled: number;
  readonly reserved: number;
  /** settled + reserved never pass it before it is raised, and it is raised on disk. */
  readonly ceiling: number;
  /** Of the newest request, ms since the epoch. */
  readonly touched: number;
}

/** What a request took of a counter. */
export interface Taken extends Counter {
  readonly amount: number;
}

/** A request whose use is not known, or not for sure. */
export interface Reservation {
  readonly id: string;
  /** The UTC day on which it was made. */
  readonly day: string;
  /** Ms since the epoch. */
  readonly deadline: number;
  /** held: counts as reserved; spent: its deadline passed, counts as settled in full; cut: a power cut settled it, in full. */
  readonly state: 'held' | 'spent' | 'cut';
  readonly entries: readonly Taken[];
}

/** A request whose use is counted. */
export interface Settled {
  readonly id: string;
  readonly entries: readonly (Taken & { readonly used: number })[];
}

export const nameOf = ({ key, unit, per, span }: Counter): string => `${unit} ${per} ${span} ${key}`;

export const DAY_MS = 86_400_000;
export const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
/** When the day of a moment ends. */
export const endOfDay = (ms: number): number => (Math.floor(ms / DAY_MS) + 1) * DAY_MS;
