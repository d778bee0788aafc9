import type { BudgetUnit, BudgetWindow } from '#model';

/** What a row of `ledger_counters` counts. */
export interface Counter {
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly per: BudgetWindow;
  /** The UTC day (`2026-01-15`), or the invocation id of a run. */
  readonly span: string;
}

export const DAY_MS = 86_400_000;
export const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
/** When the day of a moment ends. */
export const endOfDay = (ms: number): number => (Math.floor(ms / DAY_MS) + 1) * DAY_MS;
