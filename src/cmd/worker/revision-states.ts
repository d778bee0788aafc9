import { backoffMs } from '#lib';
import { templateKey, type DesiredRevision, type ImageState, type RunTemplate } from '#model';
import type { Images, TrialFailure } from '#sandbox';

/** Starts a sandbox of a template once; resolves with why it does not start. */
export type TryStart = (template: RunTemplate, signal: AbortSignal) => Promise<TrialFailure | undefined>;

/** What was tried and did not start is tried again: the machine may have been at fault. */
const BACKOFF = { firstMs: 5_000, maxMs: 300_000, factor: 2 };

interface Failure extends TrialFailure {
  readonly failures: number;
  /** `performance.now()` from which it is tried again. */
  readonly until: number;
}

/**
 * How far this worker is with the revisions it should be able to run. One is ready when its image is unpacked and a sandbox of it
 * has started: before, on this worker or another, or else now.
 */
export class RevisionStates {
  readonly #images: Images;
  readonly #tryStart: TryStart;
  readonly #changed: () => void;
  readonly #states = new Map<string, ImageState>();
  /** What each ready state was found for. */
  readonly #found = new Map<string, string>();
  /** By revision and content. */
  readonly #failures = new Map<string, Failure>();

  /** `changed` is called when `all` has changed. */
  constructor(options: { images: Images; tryStart: TryStart; changed: () => void }) {
    this.#images = options.images;
    this.#tryStart = options.tryStart;
    this.#changed = options.changed;
  }

  get all(): ImageState[] {
    return [...this.#states.values()];
  }

  /** Brings the states in line with what is wanted: takes up what is new, looks again at what is not ready, forgets the rest. */
  async refresh(wanted: readonly DesiredRevision[], signal: AbortSignal): Promise<void> {
    const keys = new Set(wanted.map(({ template }) => nameOf(template)));
    for (const known of [this.#states, this.#found]) for (const key of known.keys()) if (!keys.has(key)) known.delete(key);
    for (const key of this.#failures.keys()) if (!keys.has(key.split(' ')[0]!)) this.#failures.delete(key);
    for (const revision of wanted) {
      if (signal.aborted) return;
      const key = nameOf(revision.template);
      const before = this.#states.get(key);
      if (before?.ready && this.#found.get(key) === revision.template.image) continue;
      const state = await this.#stateOf(revision, signal);
      this.#states.set(key, state);
      if (state.ready) this.#found.set(key, revision.template.image);
      if (state.ready !== before?.ready || state.reason !== before.reason || state.digest !== before.digest) this.#changed();
    }
  }

  async #stateOf({ template, proven }: DesiredRevision, signal: AbortSignal): Promise<ImageState> {
    const state = await this.#images.state(template);
    if (!state.ready || proven) return state;
    // The content it would run, also when the name points elsewhere in the middle of it.
    const exact: RunTemplate = { ...template, image: state.digest };
    const key = `${nameOf(template)} ${templateKey(exact)}`;
    const before = this.#failures.get(key);
    if (before && before.until > performance.now()) return { ...state, ready: false, reason: before.reason, message: before.message };
    const failure = await this.#tryStart(exact, signal).catch((error: unknown) => {
      if (signal.aborted) return { reason: 'WorkerStopping', message: 'The worker stops.' };
      throw error;
    });
    if (!failure) {
      this.#failures.delete(key);
      return state;
    }
    const failures = (before?.failures ?? 0) + 1;
    this.#failures.set(key, { ...failure, failures, until: performance.now() + backoffMs(failures - 1, BACKOFF) });
    return { ...state, ready: false, ...failure };
  }
}

const nameOf = ({ namespace, revision }: RunTemplate): string => `${namespace}/${revision}`;
