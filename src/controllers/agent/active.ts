import { retry, sleep, type Logger } from '#lib';
import { isTerminal, type Invocation, type Runs } from '#model';

/** The invocations of each agent that have not ended, followed from the journal. */
export class ActiveRuns {
  /** By agent: invocation -> revision, empty while it has none. */
  readonly #ids = new Map<string, Map<string, string>>();
  readonly #listeners = new Set<(agent: string) => void>();
  readonly #endListeners = new Set<(invocation: Invocation) => void>();
  readonly #abort = new AbortController();
  readonly #changed = new Set<string>();
  readonly #loops: Promise<unknown>;

  constructor(runs: Runs, log: Logger) {
    const signal = this.#abort.signal;
    const follow = async (): Promise<void> => {
      let first = true;
      for await (const invocation of runs.watch({}, signal)) {
        const { id, namespace, agent, phase, revision } = invocation;
        // What is active now comes first; what ended while nobody listened is not told again.
        if (first) for (const [key, ids] of this.#ids) this.#set(key, ids, () => ids.clear());
        first = false;
        const key = `${namespace}/${agent}`;
        const ids = this.#ids.get(key) ?? new Map<string, string>();
        this.#set(key, ids, () => (isTerminal(phase) ? ids.delete(id) : ids.set(id, revision)));
        if (isTerminal(phase)) for (const listener of this.#endListeners) listener(invocation);
      }
      throw new Error('the stream of invocations ended');
    };
    const followed = retry(follow, { signal, onError: (error) => log.debug('invocations cannot be followed', { err: error }) });
    this.#loops = Promise.allSettled([followed, this.#tell(signal)]);
  }

  #set(key: string, ids: Map<string, string>, change: () => void): void {
    const before = ids.size;
    change();
    if (ids.size === before) return;
    if (ids.size === 0) this.#ids.delete(key);
    else this.#ids.set(key, ids);
    this.#changed.add(key);
  }

  /** A status that changes with every run is written at most once a second: runs must not load the API. */
  async #tell(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(1_000, signal);
      const changed = [...this.#changed];
      this.#changed.clear();
      for (const key of changed) for (const listener of this.#listeners) listener(key);
    }
  }

  /** Of agent `namespace/name`. */
  count(agent: string): number {
    return this.#ids.get(agent)?.size ?? 0;
  }

  /** Names of the revisions that run. */
  revisionsOf(agent: string): ReadonlySet<string> {
    return new Set(this.#ids.get(agent)?.values());
  }

  onChange(listener: (agent: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called with every invocation that ends while the journal is followed. */
  onEnd(listener: (invocation: Invocation) => void): () => void {
    this.#endListeners.add(listener);
    return () => this.#endListeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error('ended'));
    await this.#loops;
  }
}
