import type { Clock } from '#lib';

/** Verdicts one agent gets at once, and each second from then on. A new cluster costs Envoy's main thread about 0.7 ms. */
const BURST = 512;
const PER_SECOND = 200;
/** Envoy gives up on a verdict after two seconds. */
const MAX_DELAY_MS = 1_500;

interface Bucket {
  tokens: number;
  at: number;
}

/** Spreads the new verdicts of one agent, so that those of others do not wait behind them. */
export class Pace {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long a verdict of this block is to wait, in ms; undefined = too long, it is refused. */
  delay(block: string): number | undefined {
    const now = this.#clock.monotonic();
    const bucket = this.#buckets.get(block) ?? { tokens: BURST, at: now };
    bucket.tokens = Math.min(BURST, bucket.tokens + ((now - bucket.at) / 1000) * PER_SECOND);
    bucket.at = now;
    this.#buckets.set(block, bucket);
    const delay = bucket.tokens >= 1 ? 0 : ((1 - bucket.tokens) / PER_SECOND) * 1000;
    if (delay > MAX_DELAY_MS) return undefined;
    bucket.tokens -= 1;
    return delay;
  }
}
