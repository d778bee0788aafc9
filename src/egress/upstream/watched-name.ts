import type { Clock } from '#lib';
import { asksFor, choose, needsV6, type Choice, type Wanted } from './choice.ts';
import type { Family, Said } from './question.ts';

/** Times to live of answers are taken within these bounds, ms. */
const MIN_TTL_MS = 5_000;
const MAX_TTL_MS = 3_600_000;
/** An answer that there is no such name or address, and a failure, count this long. */
const NEGATIVE_MS = 5_000;
/** Where servers fail, what they said last is used this long after its time (RFC 8767). */
const STALE_MS = 600_000;
/** An answer is renewed after this part of its time. */
const RENEW_AFTER = 0.9;

interface Records {
  readonly addresses: readonly string[];
  /** When it is asked for again, and until when it is used if that fails; monotonic ms. */
  readonly renew: number;
  readonly until: number;
  readonly failure: string;
}

interface Watcher {
  readonly wanted: Wanted;
  /** The same for those who want the same of the name: many ports of it may be watched. */
  readonly key: string;
  readonly listener: (choice: Choice) => void;
  told: string | undefined;
}

export interface WatchedNameOptions {
  readonly name: string;
  readonly ask: (name: string, family: Family) => Promise<Said>;
  readonly ownAddresses: () => readonly string[];
  readonly clock: Clock;
}

/** One name, what is known of it, and who wants to hear of it. It is asked for while somebody does, once at a time. */
export class WatchedName {
  readonly #options: WatchedNameOptions;
  readonly #watchers = new Set<Watcher>();
  readonly #records = new Map<Family, Records>();
  #timer: NodeJS.Timeout | undefined;
  #refreshing = false;
  #again = false;

  constructor(options: WatchedNameOptions) {
    this.#options = options;
  }

  /** Nobody wants it, and nothing that is known of it would spare a question. */
  get idle(): boolean {
    const now = this.#options.clock.monotonic();
    return this.#watchers.size === 0 && !this.#refreshing && [...this.#records.values()].every(({ renew }) => renew <= now);
  }

  get watched(): boolean {
    return this.#watchers.size > 0;
  }

  add(wanted: Wanted, listener: (choice: Choice) => void): Disposable {
    const watcher: Watcher = { wanted, key: JSON.stringify(wanted), listener, told: undefined };
    this.#watchers.add(watcher);
    // Not at once: whoever watches has this watch in hand when it hears.
    queueMicrotask(() => void this.#refresh());
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(watcher);
        if (!this.watched) clearTimeout(this.#timer);
      },
    };
  }

  stop(): void {
    this.#watchers.clear();
    clearTimeout(this.#timer);
  }

  async #refresh(): Promise<void> {
    this.#again = this.#refreshing;
    if (this.#refreshing) return;
    this.#refreshing = true;
    clearTimeout(this.#timer);
    const kinds = [...new Map([...this.#watchers].map(({ key, wanted }) => [key, wanted])).values()];
    const asked = new Set(kinds.flatMap(asksFor));
    await Promise.all([...asked].map((family) => this.#renew(family)));
    const { ownAddresses } = this.#options;
    if (!asked.has('AAAA') && kinds.some((wanted) => needsV6(wanted, this.#addresses('A'), ownAddresses()))) {
      asked.add('AAAA');
      await this.#renew('AAAA');
    }
    this.#refreshing = false;
    this.#tell();
    if (this.#again) return this.#refresh();
    if (!this.watched || asked.size === 0) return;
    const next = Math.min(...[...asked].map((family) => this.#records.get(family)!.renew));
    this.#timer = setTimeout(() => void this.#refresh(), Math.max(1, next - this.#options.clock.monotonic()));
  }

  async #renew(family: Family): Promise<void> {
    const { name, ask, clock } = this.#options;
    const known = this.#records.get(family);
    if (known && known.renew > clock.monotonic()) return;
    const said = await ask(name, family);
    const now = clock.monotonic();
    const negative = { addresses: [], renew: now + NEGATIVE_MS, until: now + NEGATIVE_MS + STALE_MS, failure: '' };
    if (said.kind === 'addresses') {
      const ttl = Math.min(MAX_TTL_MS, Math.max(MIN_TTL_MS, said.ttlS * 1000));
      this.#records.set(family, { addresses: said.addresses, renew: now + ttl * RENEW_AFTER, until: now + ttl + STALE_MS, failure: '' });
    } else if (said.kind === 'none') this.#records.set(family, negative);
    else {
      const kept = known && known.until > now ? { addresses: known.addresses, until: known.until } : { addresses: [], until: 0 };
      this.#records.set(family, { ...kept, renew: now + NEGATIVE_MS, failure: said.cause });
    }
  }

  #addresses(family: Family): readonly string[] {
    return this.#records.get(family)?.addresses ?? [];
  }

  #tell(): void {
    const { name, ownAddresses } = this.#options;
    const own = ownAddresses();
    const failure = [...this.#records.values()].find((records) => records.failure !== '')?.failure ?? '';
    const known = { A: this.#addresses('A'), AAAA: this.#addresses('AAAA'), failure };
    const choices = new Map<string, Choice>();
    for (const watcher of this.#watchers) {
      const choice = choices.get(watcher.key) ?? choose(name, watcher.wanted, known, own);
      choices.set(watcher.key, choice);
      const key = `${choice.endpoints.join()} ${choice.problem}`;
      if (watcher.told === key) continue;
      watcher.told = key;
      watcher.listener(choice);
    }
  }
}
