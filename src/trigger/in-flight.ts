/**
 * Bytes that are held for callers: bodies being read, events of runs that wait, and answers nobody has taken yet. Beyond the
 * limit no more bodies are taken; answers of runs that are over are counted, but never refused.
 */
export class InFlight {
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** False, and nothing is counted, when it would be too much. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#limit) return false;
    this.#bytes += bytes;
    return true;
  }

  /** Counts what is there already. */
  add(bytes: number): void {
    this.#bytes += bytes;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}
