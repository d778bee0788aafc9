import { join } from 'node:path';
import { readIfExists, writeFileAtomic, type Clock } from '#lib';
import { NAMES_PER_SLICE, slotAddress, slotOf } from '../slices.ts';

interface Stored {
  readonly gateway: string;
  /** Least recently asked first. */
  readonly names: Readonly<Record<string, number>>;
}

const read = (text: string | undefined): Stored | undefined => {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Stored);
  } catch {
    return undefined; // written atomically, so somebody else broke it; addresses start anew
  }
};

/** A sandbox may use an address this long after it was answered: its time to live, and some delay. */
const KEEP_MS = 90_000;

export interface NameAddressesOptions {
  readonly dir: string;
  readonly gateway: string;
  readonly index: number;
  readonly clock: Clock;
  /** Called with a name that is on disk and not given out yet, which happens when it resolves. Its address may have stood for another one before. */
  readonly assigned?: (name: string) => Promise<void>;
}

/**
 * The synthetic address of every name of a gateway: stable over restarts, on disk before it is given out. When the slice is
 * full, the name that was least recently asked for gives way, but for names policy lists and those that were just answered.
 */
export class NameAddresses {
  readonly #options: NameAddressesOptions;
  readonly #file: string;
  /** Name -> slot, least recently asked first. */
  readonly #slots = new Map<string, number>();
  readonly #names = new Map<number, string>();
  readonly #asked = new Map<string, number>();
  /** Taken while their names are not on disk yet. */
  readonly #pending = new Map<string, number>();
  readonly #reserved = new Set<number>();
  /** `assigned` has not resolved yet. */
  readonly #unready = new Map<string, Promise<void> | undefined>();
  #listed: ReadonlySet<string> = new Set();
  #next = 0;
  #writing: Promise<void> | undefined;
  /** What a write that has not begun yet will bring to disk. */
  #queued: Promise<void> | undefined;

  private constructor(options: NameAddressesOptions, stored: Stored | undefined) {
    this.#options = options;
    this.#file = fileOf(options);
    if (stored?.gateway !== options.gateway) return;
    // Whoever asked before a restart may use its address still.
    for (const [name, slot] of Object.entries(stored.names)) this.#put(name, slot);
  }

  static async open(options: NameAddressesOptions): Promise<NameAddresses> {
    return new NameAddresses(options, read(await readIfExists(fileOf(options))));
  }

  /** Names policy lists from now on; each has an address when this resolves, and keeps it. Names beyond the slice have none. */
  async admit(names: readonly string[]): Promise<void> {
    this.#listed = new Set(names);
    await Promise.all(names.map((name) => this.#slotFor(name)));
  }

  /** The address of a name, now asked for, to be given out. Undefined when all are in use. */
  async assign(name: string): Promise<string | undefined> {
    if (!this.#slots.has(name) && !this.#unready.has(name)) this.#unready.set(name, undefined);
    try {
      const slot = await this.#slotFor(name);
      if (slot === undefined) return undefined;
      if (this.#unready.has(name)) await this.#makeReady(name);
      return slotAddress(this.#options.index, 'admitted', slot);
    } finally {
      if (!this.#slots.has(name)) this.#unready.delete(name);
    }
  }

  async #slotFor(name: string): Promise<number | undefined> {
    const known = this.#slots.get(name);
    if (known !== undefined) {
      this.#put(name, known);
      return known;
    }
    const slot = this.#pending.get(name) ?? this.#free();
    if (slot === undefined) return undefined;
    this.#pending.set(name, slot);
    this.#reserved.add(slot);
    await this.#saved();
    if (this.#slots.get(name) !== slot) throw new Error(`the address of ${name} could not be written`);
    return slot;
  }

  /** Whoever asks meanwhile waits for the same; who asks after it failed tries again. */
  async #makeReady(name: string): Promise<void> {
    let making = this.#unready.get(name);
    if (!making) {
      making = Promise.resolve(this.#options.assigned?.(name));
      this.#unready.set(name, making);
    }
    try {
      await making;
      this.#unready.delete(name);
    } catch (error) {
      if (this.#unready.get(name) === making) this.#unready.set(name, undefined);
      throw error;
    }
  }

  /** The address a name has already. */
  of(name: string): string | undefined {
    const slot = this.#slots.get(name);
    return slot === undefined ? undefined : slotAddress(this.#options.index, 'admitted', slot);
  }

  /** Every name with its address. */
  *entries(): Generator<readonly [name: string, address: string]> {
    for (const [name, slot] of this.#slots) yield [name, slotAddress(this.#options.index, 'admitted', slot)];
  }

  /** The name an address stands for. */
  nameOf(address: string): string | undefined {
    const slot = slotOf(this.#options.index, address);
    return slot === undefined ? undefined : this.#names.get(slot);
  }

  #put(name: string, slot: number): void {
    this.#slots.delete(name);
    this.#slots.set(name, slot); // last in the order of asking
    this.#names.set(slot, name);
    this.#asked.set(name, this.#options.clock.monotonic());
  }

  #free(): number | undefined {
    for (; this.#next < NAMES_PER_SLICE; this.#next++) if (!this.#names.has(this.#next) && !this.#reserved.has(this.#next)) return this.#next++;
    const { clock } = this.#options;
    for (const [name, slot] of this.#slots) {
      const recent = clock.monotonic() - this.#asked.get(name)! < KEEP_MS;
      if (recent) return undefined; // so are all that come after it
      if (this.#listed.has(name)) continue;
      this.#slots.delete(name);
      this.#asked.delete(name);
      this.#unready.delete(name);
      this.#names.delete(slot);
      return slot;
    }
    return undefined;
  }

  /** Resolves when all that is pending now is on disk. One write takes along whatever came while another was under way. */
  #saved(): Promise<void> {
    return (this.#queued ??= (this.#writing ?? Promise.resolve())
      .catch(() => {})
      .then(() => {
        this.#queued = undefined;
        return (this.#writing = this.#write());
      }));
  }

  async #write(): Promise<void> {
    const added = [...this.#pending];
    try {
      const names = Object.fromEntries([...this.#slots, ...added]);
      await writeFileAtomic(this.#file, JSON.stringify({ gateway: this.#options.gateway, names } satisfies Stored));
      for (const [name, slot] of added) this.#put(name, slot);
    } finally {
      for (const [name, slot] of added) {
        this.#pending.delete(name);
        this.#reserved.delete(slot);
      }
      this.#next = 0; // slots whose name could not be written are free again
    }
  }
}

const fileOf = ({ dir, index }: NameAddressesOptions): string => join(dir, `${index}.json`);
