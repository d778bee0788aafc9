import { messageOf, retry, sleep, type Logger } from '#lib';
import type { Budget, LedgerPort, ReserveAnswer, ReserveRequest } from '#model';
import type { Bounds } from './bounds.ts';
import { BudgetExhausted } from './exhausted.ts';
import { Refusal } from './request.ts';

export interface ReserveOptions {
  readonly ledger: LedgerPort;
  readonly log: Logger;
  /** How long a request waits for a ledger that is away, in ms; below Envoy's message timeout (2 s). */
  readonly holdMs: number;
  readonly signal: AbortSignal;
}

export interface ReserveInput {
  readonly id: string;
  /** Invocation id of the run that asks. */
  readonly execution: string;
  /** `AIProviderRoute/<namespace>/<name>`, whose budgets they are. */
  readonly route: string;
  readonly budgets: readonly Budget[];
  readonly bounds: Bounds;
  /** Ms since the epoch. */
  readonly now: number;
  readonly deadline: number;
}

/**
 * Reserves input + n answers of output in every budget, the output cut to what is left of the scarcest, and returns the output
 * tokens granted for one answer. Throws BudgetExhausted when not even one token of output fits, and a 503 when the ledger stays away.
 */
export const reserve = async (input: ReserveInput, options: ReserveOptions): Promise<number> => {
  const { id, execution, budgets, bounds, deadline } = input;
  const hold = holdFor(options);
  let { output } = bounds;
  try {
    for (;;) {
      const entries = budgets.map(({ key, unit, window, cap }) => ({ key, unit, window, cap, amount: bounds.amount(unit, output) }));
      const answer = await ask({ id, execution, entries, deadline }, hold, options);
      if (answer.granted) return output;
      const budget = budgets[answer.entry];
      if (!budget) throw new Error(`the ledger refused entry ${answer.entry} of ${budgets.length}`);
      // Others reserve meanwhile, so what is left may shrink again; each turn asks for less, and this ends.
      const fits = Math.min(output - 1, bounds.fitting(budget.unit, budget.cap - answer.used - answer.reserved));
      if (bounds.fixed || fits < 1) throw new BudgetExhausted(budget, answer, input);
      output = fits;
    }
  } finally {
    hold.release();
  }
};

/** How long a request is held: rejects when the time is over or the request is cancelled, which `over` says, too. */
interface Hold {
  readonly ended: Promise<never>;
  over: boolean;
  release(): void;
}

// By hand: signals of AbortSignal.timeout and any cost more than the whole reservation.
const holdFor = ({ holdMs, signal }: ReserveOptions): Hold => {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {}); // heard of where it is raced
  const end = (): void => {
    hold.over = true;
    reject(new Error('held too long, or cancelled'));
  };
  const timer = setTimeout(end, holdMs);
  signal.addEventListener('abort', end, { once: true });
  const hold: Hold = {
    ended: promise,
    over: false,
    release() {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    },
  };
  if (signal.aborted) end();
  return hold;
};

/** How long what was not used is tried to be given back; a ledger that is away for longer counts it as spent at its deadline. */
const GIVE_BACK_MS = 60_000;

/** Frees a reservation whose request never left, or was never made: also when the ledger only comes back later. */
export const giveBack = (id: string, ledger: LedgerPort): void => {
  retry(() => ledger.settle({ id, tokens: 0, microdollars: 0 }), { signal: AbortSignal.timeout(GIVE_BACK_MS) }).catch(() => {});
};

/** Asks until there is an answer or the time is over. The same id is one reservation, so asking again is safe. */
const ask = async (request: ReserveRequest, hold: Hold, { ledger, log, signal }: ReserveOptions): Promise<ReserveAnswer> => {
  try {
    for (;;) {
      try {
        return await Promise.race([ledger.reserve(request), hold.ended]);
      } catch (error) {
        if (hold.over) throw error;
        log.debug('ledger does not answer', { err: messageOf(error) });
        await Promise.race([sleep(50), hold.ended]);
      }
    }
  } catch (error) {
    giveBack(request.id, ledger); // it may have been granted without our hearing of it
    if (signal.aborted) throw error;
    throw new Refusal(503, 'LedgerUnavailable', 'The budget cannot be checked right now.');
  }
};
