import type { Clock } from '#lib';

/** Distinct names one sandbox may ask for. */
const MAX_NAMES = 512;
/** New names a minute for which one sandbox may have a leaf made. */
const NEW_DENIED_PER_MINUTE = 20;
/** The same answer about the same name to the same sandbox is recorded once in this time. */
const RECORD_AGAIN_MS = 60_000;
/** Records a minute of one sandbox; one more says that there were more. */
const RECORDS_PER_MINUTE = 240;
/** Sandboxes that are not bound are remembered only to bound their records. */
const MAX_SOURCES = 4096;

/** What one sandbox has asked for. */
export class Source {
  readonly #clock: Clock;
  readonly #names = new Set<string>();
  readonly #recorded = new Map<string, number>();
  #minute = -1;
  #newDenied = 0;
  #records = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Whether the sandbox may have one more name that it has not asked for in its life. */
  mayAsk(name: string): boolean {
    if (!this.#names.has(name) && this.#names.size >= MAX_NAMES) return false;
    this.#names.add(name);
    return true;
  }

  /** Whether a refused name is answered by its deny slice. One too many stays new: waiting a minute buys twenty more, not all. */
  mayBeDenied(name: string, isNew: boolean): boolean {
    this.#turn();
    if (!isNew || ++this.#newDenied <= NEW_DENIED_PER_MINUTE) return true;
    this.#names.delete(name);
    return false;
  }

  /** Whether this answer is recorded: `more` = the sandbox asks for more than is written down, and this is the one record that says so. */
  record(key: string): 'yes' | 'more' | 'no' {
    this.#turn();
    const now = this.#clock.monotonic();
    if (now - (this.#recorded.get(key) ?? -Infinity) < RECORD_AGAIN_MS) return 'no';
    if (++this.#records > RECORDS_PER_MINUTE) return this.#records === RECORDS_PER_MINUTE + 1 ? 'more' : 'no';
    if (this.#recorded.size >= MAX_NAMES * 2) this.#recorded.delete(this.#recorded.keys().next().value!);
    this.#recorded.set(key, now);
    return 'yes';
  }

  #turn(): void {
    const minute = Math.floor(this.#clock.monotonic() / 60_000);
    if (this.#minute !== minute) [this.#minute, this.#newDenied, this.#records] = [minute, 0, 0];
  }
}

export class Sources {
  readonly #clock: Clock;
  readonly #sources = new Map<string, Source>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  of(address: string): Source {
    const known = this.#sources.get(address);
    if (known) return known;
    if (this.#sources.size >= MAX_SOURCES) this.#sources.delete(this.#sources.keys().next().value!);
    const made = new Source(this.#clock);
    this.#sources.set(address, made);
    return made;
  }

  forget(address: string): void {
    this.#sources.delete(address);
  }
}
