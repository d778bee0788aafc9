// egress/upstream: consumes names that policy admits; produces the addresses they are dialled at, checked, as they change.
// Owns: questions to the name servers of the machine. Nothing a sandbox says gets here but by a name some route admits.
import { systemClock, type Clock } from '#lib';
import { ownAddresses, type Choice, type Wanted } from './choice.ts';
import { NameServers, type NameServersOptions } from './name-servers.ts';
import { ask, Slots } from './question.ts';
import { WatchedName } from './watched-name.ts';

export { ownAddresses, type Choice, type LookupFamily, type Wanted } from './choice.ts';

/** Questions under way, of all names. */
const MAX_QUESTIONS = 64;
/** Names nobody watches are remembered for their time to live, this many at most. */
const MAX_IDLE_NAMES = 4096;

export interface UpstreamResolverOptions extends NameServersOptions {
  readonly clock?: Clock;
  readonly maxQuestions?: number;
  /** Never dialled, whoever names them; the worker's own by default. */
  readonly ownAddresses?: () => readonly string[];
}

/**
 * Where names lead. A name is asked for while it is watched, before its time to live ends; what comes back is checked each
 * time, so an answer that turns to a forbidden address (rebinding) ends with no endpoint.
 */
export class UpstreamResolver implements Disposable {
  readonly #options: UpstreamResolverOptions;
  readonly #servers: NameServers;
  readonly #slots: Slots;
  readonly #names = new Map<string, WatchedName>();

  constructor(options: UpstreamResolverOptions = {}) {
    this.#options = options;
    this.#servers = new NameServers(options);
    this.#slots = new Slots(options.maxQuestions ?? MAX_QUESTIONS);
  }

  /**
   * Tells what is dialled for a canonical name, first as soon as it is known and then at every change, never before this
   * returns. `problem` is a sentence, `reason` a word for it; both are empty when there are endpoints.
   */
  watch(name: string, wanted: Wanted, listener: (endpoints: readonly string[], problem: string, reason: Choice['reason']) => void): Disposable {
    return this.#name(name).add(wanted, ({ endpoints, problem, reason }) => listener(endpoints, problem, reason));
  }

  #name(name: string): WatchedName {
    const known = this.#names.get(name);
    if (known) return known;
    this.#forgetIdle();
    const made = new WatchedName({
      name,
      ask: (of, family) => this.#slots.run(of, () => ask(this.#servers, of, family)),
      ownAddresses: this.#options.ownAddresses ?? ownAddresses,
      clock: this.#options.clock ?? systemClock,
    });
    this.#names.set(name, made);
    return made;
  }

  #forgetIdle(): void {
    for (const [name, { idle }] of this.#names) if (idle) this.#names.delete(name);
    for (const [name, { watched }] of this.#names) {
      if (this.#names.size < MAX_IDLE_NAMES) return;
      if (!watched) this.#names.delete(name);
    }
  }

  [Symbol.dispose](): void {
    for (const name of this.#names.values()) name.stop();
    this.#servers.cancel();
  }
}
