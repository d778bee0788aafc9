import { formatMicrodollars } from '#lib';
import type { Budget, ReserveAnswer } from '#model';
import type { BudgetAccount } from '#policy';
import type { Bounds } from './bounds.ts';
import { Refusal } from './request.ts';

/** `1200 tokens`, `$0.05`. */
const amountText = (unit: Budget['unit'], amount: number): string => (unit === 'tokens' ? `${amount} tokens` : formatMicrodollars(amount));

interface Asked {
  readonly route: string;
  readonly bounds: Bounds;
  readonly now: number;
}

/** 429 with what a client needs to know about the budget. */
export class BudgetExhausted extends Refusal {
  readonly headers: Readonly<Record<string, string>>;
  readonly account: BudgetAccount;

  constructor({ field, unit, window, cap }: Budget, { used, reserved, resetAt }: ReserveAnswer, { route, bounds, now }: Asked) {
    const remaining = Math.max(0, cap - used - reserved);
    const needed = bounds.amount(unit, bounds.fixed ? bounds.output : Math.min(1, bounds.output));
    const until = window === 'day' ? ` until ${new Date(resetAt).toISOString()}` : ' for the rest of this run';
    super(
      429,
      'BudgetExhausted',
      `The request needs at least ${amountText(unit, needed)}; ${amountText(unit, remaining)} of ${amountText(unit, cap)} are left${until} (${field} of ${route}).`,
    );
    const resetSeconds = window === 'day' ? String(Math.max(1, Math.ceil((resetAt - now) / 1000))) : undefined;
    this.headers = {
      'x-clrk-budget-limit': String(cap),
      'x-clrk-budget-remaining': String(remaining),
      'x-clrk-budget-unit': unit,
      ...(resetSeconds !== undefined && { 'x-clrk-budget-reset': resetSeconds, 'retry-after': resetSeconds }),
      // SDKs would repeat a 429 at once; the day does not end that soon, and the run never begins anew.
      'x-should-retry': 'false',
    };
    this.account = { field, unit, window, limit: cap, remaining, needed, ...(window === 'day' && { reset: new Date(resetAt).toISOString() }) };
  }
}
