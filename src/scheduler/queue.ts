/** A request that waits; what else it carries is its owner's matter. */
export interface Queued {
  readonly request: { readonly agent: string };
}

/** What came of an offer: the first of its line leaves it; its line waits and the next may go; or nobody can go now. */
export type Offered = 'leaves' | 'next' | 'stop';

/** The requests that wait for workers of one pool: each agent has a line of its own, first come first served, and lines take turns. */
export class FairQueue<Q extends Queued> {
  /** In the order of their turns. */
  readonly #lines = new Map<string, Q[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** How many requests of this agent wait. */
  sizeOf(agent: string): number {
    return this.#lines.get(agent)?.length ?? 0;
  }

  push(item: Q): void {
    const line = this.#lines.get(item.request.agent);
    if (line) line.push(item);
    else this.#lines.set(item.request.agent, [item]);
    this.#size++;
  }

  /** False when it does not wait (any more). */
  delete(item: Q): boolean {
    const { agent } = item.request;
    const line = this.#lines.get(agent);
    const at = line?.indexOf(item) ?? -1;
    if (!line || at < 0) return false;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(agent);
    this.#size--;
    return true;
  }

  /** The first of the lines, by turn, that an offer takes; its line is the last to be asked the next time. */
  next(offer: (item: Q) => Offered): Q | undefined {
    for (const [agent, line] of this.#lines) {
      const item = line[0]!;
      const answer = offer(item);
      if (answer === 'stop') return undefined;
      if (answer === 'next') continue;
      this.delete(item);
      this.#lines.delete(agent);
      if (line.length > 0) this.#lines.set(agent, line);
      return item;
    }
    return undefined;
  }

  *[Symbol.iterator](): Generator<Q, void> {
    for (const line of this.#lines.values()) yield* line;
  }
}
