import { readIfExists, writeFileAtomic } from '#lib';
import { MAX_GATEWAYS } from './slices.ts';

/** The index of every gateway this worker has served, kept on disk: it decides addresses, a port and file names. */
export class GatewayIndexes {
  readonly #file: string;
  #byName: Map<string, number>;

  private constructor(file: string, byName: Map<string, number>) {
    this.#file = file;
    this.#byName = byName;
  }

  static async open(file: string): Promise<GatewayIndexes> {
    return new GatewayIndexes(file, new Map(Object.entries(JSON.parse((await readIfExists(file)) ?? '{}') as Record<string, number>)));
  }

  get all(): readonly number[] {
    return [...new Set(this.#byName.values())];
  }

  nameOf(index: number): string | undefined {
    return [...this.#byName].find(([, own]) => own === index)?.[0];
  }

  /** The index of a gateway; a new one takes a free index, or that of a gateway that is not wanted any more. */
  async of(name: string, wanted: ReadonlySet<string>): Promise<number | undefined> {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    const taken = new Set(this.#byName.values());
    let index = Array.from({ length: MAX_GATEWAYS }, (_, i) => i).find((i) => !taken.has(i));
    const next = new Map(this.#byName);
    if (index === undefined) {
      const unused = [...next].find(([other]) => !wanted.has(other));
      if (!unused) return undefined;
      next.delete(unused[0]);
      index = unused[1];
    }
    next.set(name, index);
    await writeFileAtomic(this.#file, JSON.stringify(Object.fromEntries(next)));
    this.#byName = next;
    return index;
  }
}
