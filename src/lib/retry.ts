import { sleep } from './clock.ts';

export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Growth per attempt. */
  readonly factor: number;
}

export const DEFAULT_BACKOFF: Backoff = { firstMs: 50, maxMs: 2_000, factor: 2 };

/** The delay before attempt `n` (0 = first retry), with up to 20 % jitter taken away. */
export const backoffMs = (n: number, b: Backoff = DEFAULT_BACKOFF): number => Math.min(b.maxMs, b.firstMs * b.factor ** n) * (1 - Math.random() * 0.2);

/** Runs `attempt` until it succeeds, the signal aborts, or `retryable` says the error is final. */
export const retry = async <T>(
  attempt: (n: number) => Promise<T>,
  options: { signal: AbortSignal; backoff?: Backoff; retryable?: (error: unknown) => boolean; onError?: (error: unknown, n: number) => void },
): Promise<T> => {
  for (let n = 0; ; n++) {
    try {
      return await attempt(n);
    } catch (error) {
      if (options.signal.aborted || options.retryable?.(error) === false) throw error;
      options.onError?.(error, n);
      await sleep(backoffMs(n, options.backoff), options.signal);
    }
  }
};

/** Polls `probe` until it returns something other than undefined, or the signal aborts. Use only where there is no event to await. */
export const poll = async <T>(probe: () => Promise<T | undefined> | T | undefined, everyMs: number, signal: AbortSignal): Promise<T> => {
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    await sleep(everyMs, signal);
  }
};
