import { messageOf, retry, sleep, type Logger } from '#lib';
import type { LedgerPort, ReserveAnswer, ReserveRequest, TokenBudget } from '#model';
import type { BodyFacts, ModelLimits } from '#policy';
import { Refusal } from './request.ts';

/** Tokens a request can use at most. */
export interface Bounds {
  readonly input: number;
  /** Of one answer; a request asks for `n`. */
  readonly output: number;
  readonly n: number;
}

/**
 * A token is at least one byte, and everything the provider counts as input is in the body, so the bytes of the body bound
 * the input; so does the context window of a known model. A part without a visible size counts as a whole window.
 */
export const boundsOf = (facts: BodyFacts, limits: ModelLimits, bodyBytes: number): Bounds => {
  const input = facts.unknownInput
    ? Math.max(limits.contextWindow, limits.known ? 0 : bodyBytes)
    : limits.known
      ? Math.min(bodyBytes, limits.contextWindow)
      : bodyBytes;
  return { input, output: facts.outputLimit ?? limits.maxOutput, n: facts.n };
};

export interface ReserveOptions {
  readonly ledger: LedgerPort;
  readonly log: Logger;
  /** How long a request waits for a ledger that is away, in ms; below Envoy's message timeout (2 s). */
  readonly holdMs: number;
  readonly signal: AbortSignal;
}

export interface ReserveInput {
  readonly id: string;
  readonly budgets: readonly TokenBudget[];
  readonly bounds: Bounds;
  /** Ms since the epoch. */
  readonly now: number;
  readonly deadline: number;
}

/** 429 with what a client needs to know about the budget. */
export class BudgetExhausted extends Refusal {
  readonly headers: Readonly<Record<string, string>>;
  constructor({ cap, used, reserved, resetAt }: ReserveAnswer, needed: number, now: number) {
    const remaining = Math.max(0, cap - used - reserved);
    const resetSeconds = Math.max(1, Math.ceil((resetAt - now) / 1000));
    super(429, 'BudgetExhausted', `The request needs at least ${needed} tokens; ${remaining} of ${cap} are left until ${new Date(resetAt).toISOString()}.`);
    this.headers = {
      'x-clrk-budget-limit': String(cap),
      'x-clrk-budget-remaining': String(remaining),
      'x-clrk-budget-reset': String(resetSeconds),
      'retry-after': String(resetSeconds),
      // The OpenAI SDKs would repeat a 429 at once; the day does not end that soon.
      'x-should-retry': 'false',
    };
  }
}

/**
 * Reserves input + n answers of output, the output cut to what is left of the budget, and returns the output tokens granted
 * for one answer. Throws BudgetExhausted when not even one token of output fits, and a 503 when the ledger stays away.
 */
export const reserve = async (input: ReserveInput, options: ReserveOptions): Promise<number> => {
  const { id, budgets, bounds, now, deadline } = input;
  const caps = budgets.map(({ key, maxTokensPerDay }) => ({ key, cap: maxTokensPerDay }));
  const hold = holdFor(options);
  let output = bounds.output;
  try {
    for (;;) {
      const amount = bounds.input + output * bounds.n;
      const answer = await ask({ id, budgets: caps, amount, deadline }, hold, options);
      if (answer.granted) return output;
      // Others reserve meanwhile, so what is left may shrink again; each turn asks for less, and this ends.
      const left = answer.cap - answer.used - answer.reserved;
      const fits = Math.min(output - 1, Math.floor((left - bounds.input) / bounds.n));
      if (fits < 1) throw new BudgetExhausted(answer, bounds.input + bounds.n, now);
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
  retry(() => ledger.settle({ id, used: 0 }), { signal: AbortSignal.timeout(GIVE_BACK_MS) }).catch(() => {});
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
    throw new Refusal(503, 'LedgerUnavailable', 'The token budget cannot be checked right now.');
  }
};
