import type { LogRecord, StoredLog } from '#model';

/**
 * Makes log records that come at least once into rows that are there exactly once, each with a position. The recorder of a
 * worker sends its records in the order of their times; one that is later than everything the worker sent before is new,
 * and only for others the store is asked (after a restart of either, or a call that was repeated).
 */
export class LogOrder {
  readonly #known: (records: readonly LogRecord[]) => Promise<ReadonlySet<string>>;
  readonly #now: () => number;
  #position: number;
  /** Time of the newest record, by worker; none = the store is asked. */
  readonly #newest = new Map<string, string>();

  /** `known` tells the ids among these that are stored; `position` is the last one given; `now` in milliseconds. */
  constructor(options: { known: (records: readonly LogRecord[]) => Promise<ReadonlySet<string>>; position: number; now: () => number }) {
    this.#known = options.known;
    this.#position = options.position;
    this.#now = options.now;
  }

  async prepare(records: readonly LogRecord[]): Promise<readonly StoredLog[]> {
    const doubtful = records.filter(({ worker, time }) => time <= (this.#newest.get(worker) ?? '\uffff'));
    const seen = new Set(doubtful.length > 0 ? await this.#known(doubtful) : []);
    const fresh = records.filter(({ id }) => !seen.has(id) && seen.add(id));
    return fresh.map((record) => ({ ...record, position: this.#next() }));
  }

  written(records: readonly LogRecord[]): void {
    for (const { worker, time } of records) if (time > (this.#newest.get(worker) ?? '')) this.#newest.set(worker, time);
  }

  /** They may be stored or not. */
  failed(records: readonly LogRecord[]): void {
    for (const { worker } of records) this.#newest.delete(worker);
  }

  /** Microseconds since the epoch, so that a reader's position stays good when the store begins anew. */
  #next(): number {
    this.#position = Math.max(this.#position + 1, this.#now() * 1000);
    return this.#position;
  }
}
