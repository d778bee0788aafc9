import type { Clock } from '#lib';

/** Names served on demand at one gateway: Envoy holds a cluster for each of them and each of its routes. */
export const MAX_SERVED_HOSTS = 512;

/** A sandbox may use an address this long after it was answered: its time to live, and some delay. */
const KEEP_MS = 90_000;

/**
 * Names that AI routes claim by a pattern and that somebody asked for, the least recently asked first. When there are too many
 * that one gives way, unless it was asked for just now.
 */
export class ServedHosts {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #asked = new Map<string, number>();

  constructor(clock: Clock, max = MAX_SERVED_HOSTS) {
    this.#clock = clock;
    this.#max = max;
  }

  get names(): readonly string[] {
    return [...this.#asked.keys()];
  }

  /** The names that policy lets be served from now on, of those that were asked for. */
  restore(names: readonly string[]): void {
    const before = new Map(this.#asked);
    this.#asked.clear();
    for (const name of names.slice(-this.#max)) this.#asked.set(name, before.get(name) ?? -Infinity);
  }

  /** Takes a name in; false when there is no room. */
  ask(name: string): boolean {
    const now = this.#clock.monotonic();
    if (!this.#asked.delete(name) && this.#asked.size >= this.#max) {
      const [oldest, at] = this.#asked.entries().next().value!;
      if (now - at < KEEP_MS) return false;
      this.#asked.delete(oldest);
    }
    this.#asked.set(name, now);
    return true;
  }
}
