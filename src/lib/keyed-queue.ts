import { sleep } from './clock.ts';

/** What a reconcile run asks for next: nothing, or another run of the same key after some time. */
export type Next = void | { readonly requeueAfterMs: number };

/**
 * A work queue of keys in the manner of controller-runtime: a key runs at most once at a time, adds of a waiting key
 * coalesce, a failing key is retried with exponential back-off (50 ms doubling to 30 s), success resets it.
 */
export class KeyedQueue {
  readonly #handle: (key: string, signal: AbortSignal) => Promise<Next>;
  readonly #onError: (key: string, error: unknown) => void;
  readonly #abort = new AbortController();
  readonly #dirty = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, number>();
  readonly #concurrency: number;

  constructor(options: { handle: (key: string, signal: AbortSignal) => Promise<Next>; onError?: (key: string, error: unknown) => void; concurrency?: number }) {
    this.#handle = options.handle;
    this.#onError = options.onError ?? (() => {});
    this.#concurrency = options.concurrency ?? 4;
  }

  add(key: string): void {
    if (this.#abort.signal.aborted) return;
    this.#dirty.add(key);
    this.#pump();
  }

  addAfter(key: string, ms: number): void {
    sleep(ms, this.#abort.signal).then(
      () => this.add(key),
      () => {},
    );
  }

  #pump(): void {
    for (const key of this.#dirty) {
      if (this.#running.size >= this.#concurrency) return;
      if (this.#running.has(key)) continue;
      this.#dirty.delete(key);
      const run = this.#run(key).finally(() => {
        this.#running.delete(key);
        this.#pump();
      });
      this.#running.set(key, run);
    }
  }

  async #run(key: string): Promise<void> {
    try {
      const next = await this.#handle(key, this.#abort.signal);
      this.#failures.delete(key);
      if (next) this.addAfter(key, next.requeueAfterMs);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const failures = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, failures);
      this.#onError(key, error);
      this.addAfter(key, Math.min(30_000, 50 * 2 ** (failures - 1)));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running.values());
  }
}
