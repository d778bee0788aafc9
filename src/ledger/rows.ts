/** Rows by name, in memory, whose changes are kept or taken back together. Rows are replaced, never changed. */
export class Rows<Row> {
  readonly #rows: Map<string, Row>;
  /** What changed rows were; undefined = there was none. */
  readonly #before = new Map<string, Row | undefined>();

  constructor(rows: Iterable<readonly [string, Row]> = []) {
    this.#rows = new Map(rows);
  }

  get(name: string): Row | undefined {
    return this.#rows.get(name);
  }

  /** In no order that means anything; rows may be set and deleted meanwhile. */
  values(): IterableIterator<Row> {
    return this.#rows.values();
  }

  set(name: string, row: Row): void {
    this.#remember(name);
    this.#rows.set(name, row);
  }

  delete(name: string): void {
    this.#remember(name);
    this.#rows.delete(name);
  }

  /** Since the last `keep` or `takeBack`: what each changed row is now, and what it was. */
  *changes(): Generator<{ readonly now: Row | undefined; readonly before: Row | undefined }> {
    for (const [name, before] of this.#before) {
      const now = this.#rows.get(name);
      if (now !== before) yield { now, before };
    }
  }

  keep(): void {
    this.#before.clear();
  }

  takeBack(): void {
    for (const [name, before] of this.#before) {
      if (before === undefined) this.#rows.delete(name);
      else this.#rows.set(name, before);
    }
    this.#before.clear();
  }

  #remember(name: string): void {
    if (!this.#before.has(name)) this.#before.set(name, this.#rows.get(name));
  }
}
