import { join } from 'node:path';
import { readIfExists, writeFileAtomic } from '#lib';
import { NAMES_PER_SLICE, slotAddress } from '../slices.ts';

interface Stored {
  readonly gateway: string;
  readonly names: Readonly<Record<string, number>>;
}

const read = (text: string | undefined): Stored | undefined => {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Stored);
  } catch {
    return undefined; // written atomically, so somebody else broke it; addresses start anew
  }
};

/**
 * The synthetic address of every name a gateway admits: stable over restarts, kept on disk before it is given out. A name that
 * is not admitted any more keeps its address until the slice is full.
 */
export class NameAddresses {
  readonly #file: string;
  readonly #gateway: string;
  readonly #index: number;
  #slots = new Map<string, number>();
  #admitted: ReadonlySet<string> = new Set();

  private constructor(dir: string, gateway: string, index: number) {
    this.#file = join(dir, `${index}.json`);
    this.#gateway = gateway;
    this.#index = index;
  }

  static async open(dir: string, gateway: string, index: number): Promise<NameAddresses> {
    const addresses = new NameAddresses(dir, gateway, index);
    const stored = read(await readIfExists(addresses.#file));
    if (stored?.gateway === gateway) addresses.#slots = new Map(Object.entries(stored.names));
    return addresses;
  }

  /** The names admitted from now on; each has an address when this resolves. Names beyond the slice have none. */
  async admit(names: readonly string[]): Promise<void> {
    const wanted = new Set(names);
    const added = names.filter((name) => !this.#slots.has(name));
    if (added.length > 0) {
      const slots = new Map(this.#slots);
      const taken = new Set(slots.values());
      const leaving = [...slots.keys()].filter((name) => !wanted.has(name));
      for (let next = 0; added.length > 0;) {
        while (next < NAMES_PER_SLICE && taken.has(next)) next++;
        let slot = next;
        if (slot === NAMES_PER_SLICE) {
          const oldest = leaving.shift();
          if (oldest === undefined) break;
          slot = slots.get(oldest)!;
          slots.delete(oldest);
        }
        taken.add(slot);
        slots.set(added.shift()!, slot);
      }
      await writeFileAtomic(this.#file, JSON.stringify({ gateway: this.#gateway, names: Object.fromEntries(slots) } satisfies Stored));
      this.#slots = slots;
    }
    this.#admitted = wanted;
  }

  /** The address of an admitted name. */
  of(name: string): string | undefined {
    const slot = this.#admitted.has(name) ? this.#slots.get(name) : undefined;
    return slot === undefined ? undefined : slotAddress(this.#index, 'admitted', slot);
  }
}
