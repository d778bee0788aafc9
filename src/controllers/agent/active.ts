import { retry, sleep, type Logger } from '#lib';
import { isTerminal, type Invocation, type Runs } from '#model';

/** Where an invocation runs, and what; empty while it waits. */
interface Place {
  readonly revision: string;
  readonly worker: string;
}

/** The invocations of each agent that have not ended, followed from the journal. */
export class ActiveRuns {
  /** By agent and invocation. */
  readonly #ids = new Map<string, Map<string, Place>>();
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
        const { id, namespace, agent, phase, revision, worker } = invocation;
        // What is active now comes first; what ended while nobody listened is not told again.
        if (first) for (const [key, ids] of this.#ids) for (const known of ids.keys()) this.#note(key, known, undefined);
        first = false;
        this.#note(`${namespace}/${agent}`, id, isTerminal(phase) ? undefined : { revision, worker });
        if (isTerminal(phase)) for (const listener of this.#endListeners) listener(invocation);
      }
      throw new Error('the stream of invocations ended');
    };
    const followed = retry(follow, { signal, onError: (error) => log.debug('invocations cannot be followed', { err: error }) });
    this.#loops = Promise.allSettled([followed, this.#tell(signal)]);
  }

  #note(agent: string, id: string, place: Place | undefined): void {
    const ids = this.#ids.get(agent) ?? new Map<string, Place>();
    const before = ids.get(id);
    if (before?.revision === place?.revision && before?.worker === place?.worker && Boolean(before) === Boolean(place)) return;
    if (place) ids.set(id, place);
    else ids.delete(id);
    if (ids.size === 0) this.#ids.delete(agent);
    else this.#ids.set(agent, ids);
    this.#changed.add(agent);
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

  /** Of agent `namespace/name`; with a place those there. */
  count(agent: string, at?: Place): number {
    const places = [...(this.#ids.get(agent)?.values() ?? [])];
    return at ? places.filter(({ revision, worker }) => revision === at.revision && worker === at.worker).length : places.length;
  }

  /** Names of the revisions that run. */
  revisionsOf(agent: string): ReadonlySet<string> {
    return new Set([...(this.#ids.get(agent)?.values() ?? [])].map(({ revision }) => revision));
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
