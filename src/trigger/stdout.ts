import { MAX_HELD_BYTES } from './limits.ts';

/**
 * The stdout of one run. Up to MAX_HELD_BYTES it is held; beyond that it `overflows` and can be read once as a stream. Its
 * memory is bounded by the credit the worker got: the initial credit is as large as what is held, more comes as it is read.
 */
export class Stdout {
  #chunks: Uint8Array[] = [];
  #total = 0;
  #taken = false;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #overflow = Promise.withResolvers<void>();

  /** Bytes received in all. */
  get total(): number {
    return this.#total;
  }

  /** Resolves when there is more output than is held. */
  get overflowed(): Promise<void> {
    return this.#overflow.promise;
  }

  push(data: Uint8Array): void {
    this.#total += data.byteLength;
    this.#chunks.push(data);
    if (this.#total >= MAX_HELD_BYTES) this.#overflow.resolve();
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Everything, or undefined when it was or is being streamed. */
  held(): Uint8Array | undefined {
    return this.#taken || this.#total >= MAX_HELD_BYTES ? undefined : Buffer.concat(this.#chunks);
  }

  /** What is there now, for judging what kind of output it is. */
  peek(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }

  /** The one reader's stream: everything from the beginning until `end`; undefined for a second reader. */
  take(): AsyncIterable<Uint8Array> | undefined {
    if (this.#taken) return undefined;
    this.#taken = true;
    return this.#read();
  }

  async *#read(): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      while (this.#chunks.length > 0) yield this.#chunks.shift()!;
      if (this.#ended) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }
}
