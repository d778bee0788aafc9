/**
 * A latest-value cell: a subscriber first gets the current value, then every newer one, coalesced when it is slow.
 * Stages share data through these and never call each other.
 */
export class Latest<T> {
  #value: T | undefined;
  #version = 0;
  #waiters = new Set<() => void>();

  get value(): T | undefined {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#version++;
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  async *subscribe(signal: AbortSignal): AsyncGenerator<T, void> {
    let seen = 0;
    while (!signal.aborted) {
      if (this.#version > seen) {
        seen = this.#version;
        yield this.#value as T;
        continue;
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiters.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }
}

/** An unbounded queue that can be iterated; `end` lets readers finish what is there. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift()!;
      if (this.#ended) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }
}
