import type { Clock } from '#lib';

/** Names served on demand at one gateway: Envoy holds a cluster for each of them and each of its routes. */
export const MAX_SERVED_HOSTS = 512;

/** Of these, names that one agent was the first to ask for: it must not use up what others need. */
export const MAX_SERVED_OF_AGENT = 64;

/** A sandbox may use an address this long after it was answered: its time to live, and some delay. */
const KEEP_MS = 90_000;

interface Asked {
  readonly at: number;
  /** The agent that asked first; empty when that is not known any more. */
  readonly by: string;
}

/**
 * Names that AI and MCP routes claim by a pattern and that somebody asked for, the least recently asked first. When there are too many, in
 * all or of one agent, that one (of the agent) gives way, unless it was asked for just now.
 */
export class ServedHosts {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #maxOfAgent: number;
  readonly #asked = new Map<string, Asked>();

  constructor(clock: Clock, max = MAX_SERVED_HOSTS, maxOfAgent = MAX_SERVED_OF_AGENT) {
    this.#clock = clock;
    this.#max = max;
    this.#maxOfAgent = maxOfAgent;
  }

  get names(): readonly string[] {
    return [...this.#asked.keys()];
  }

  /** The names that policy lets be served from now on, of those that were asked for. */
  restore(names: readonly string[]): void {
    const before = new Map(this.#asked);
    this.#asked.clear();
    for (const name of names.slice(-this.#max)) this.#asked.set(name, before.get(name) ?? { at: -Infinity, by: '' });
  }

  /** Takes a name in that an agent (`namespace/name`) asks for; false when there is no room. */
  ask(name: string, by: string): boolean {
    const known = this.#asked.get(name);
    if (!known && !this.#makeRoom(by)) return false;
    this.#asked.delete(name);
    this.#asked.set(name, { at: this.#clock.monotonic(), by: known?.by ?? by });
    return true;
  }

  #makeRoom(by: string): boolean {
    const own = [...this.#asked].filter(([, asked]) => asked.by === by);
    const among = own.length >= this.#maxOfAgent ? own : this.#asked.size >= this.#max ? [...this.#asked] : [];
    const [oldest] = among;
    if (!oldest) return true;
    const [name, { at }] = oldest;
    return this.#clock.monotonic() - at >= KEEP_MS && this.#asked.delete(name);
  }
}
