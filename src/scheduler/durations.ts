/** How much the newest duration counts. */
const WEIGHT = 0.2;
/** Keys beyond this are forgotten, the oldest first. */
const MAX_KEYS = 10_000;

/** Recent durations by key (an agent, a pool), as a moving average in milliseconds. */
export class Durations {
  readonly #averages = new Map<string, number>();

  add(key: string, ms: number): void {
    const before = this.#averages.get(key);
    this.#averages.delete(key);
    this.#averages.set(key, before === undefined ? ms : before + (ms - before) * WEIGHT);
    if (this.#averages.size > MAX_KEYS) this.#averages.delete(this.#averages.keys().next().value!);
  }

  /** Undefined when nothing of this key is known. */
  of(key: string): number | undefined {
    return this.#averages.get(key);
  }
}
