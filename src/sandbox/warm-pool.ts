import { randomUUID } from 'node:crypto';
import { cpus } from 'node:os';
import { parseImageReference } from '#image';
import { backoffMs, canonicalJson, sha256Hex } from '#lib';
import { templateKey, type RunTemplate, type WarmState, type WarmTarget } from '#model';
import type { RunContext } from './context.ts';
import type { Load } from './load.ts';
import { ParkedSandbox, type ParkFailure } from './parked.ts';

/** Sandboxes started ahead at the same time: as many as the machine has CPUs to spare. */
const STARTS = cpus().length > 2 ? 2 : 1;
/** How long a start stands back for runs. */
const STAND_BACK_MS = 2_000;
const BACKOFF = { firstMs: 500, maxMs: 60_000, factor: 2 };

interface Entry {
  /** What exactly runs in it, and with what it was made. */
  readonly key: string;
  /** What it is kept for; renewed with the targets. */
  target: WarmTarget;
  readonly parked: ParkedSandbox;
}

/** What went wrong with the sandboxes of a key. */
interface Trouble extends ParkFailure {
  readonly failures: number;
  /** `performance.now()` from which it is tried again; Infinity: not with this key. */
  readonly until: number;
}

/**
 * Sandboxes started ahead of their runs. A run gets one only when everything it was made of is what the run asks for: the
 * template, the content of the image, the roots it trusts. What does not match the targets any more goes, and so does what
 * waited for too long; what is missing is started, one or two at a time and after the runs that are starting.
 *
 * An agent that does not wait for its event cannot be started ahead: its sandboxes are given up, and its runs start cold
 * until its template changes.
 */
export class WarmPool implements AsyncDisposable {
  readonly #context: RunContext;
  readonly #load: Load;
  readonly #nextNumber: () => number;
  readonly #changed: () => void;
  readonly #abort = new AbortController();
  readonly #ending = new Set<Promise<void>>();
  readonly #troubles = new Map<string, Trouble>();
  #targets: readonly WarmTarget[] = [];
  #entries: Entry[] = [];
  #starting = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `changed` is called when `states` has changed. */
  constructor(options: { context: RunContext; load: Load; nextNumber: () => number; changed: () => void }) {
    this.#context = options.context;
    this.#load = options.load;
    this.#nextNumber = options.nextNumber;
    this.#changed = options.changed;
  }

  /** What to have from now on. Call it again, too, when an image or a root of a gateway may have changed. */
  set(targets: readonly WarmTarget[]): void {
    this.#targets = targets;
    const keys = new Set(targets.map(({ template }) => this.#keyOf(template)));
    for (const key of this.#troubles.keys()) if (!keys.has(key)) this.#troubles.delete(key);
    this.#arrange();
  }

  /** The sandbox that waits longest for such a run; it belongs to the caller from here on. */
  take(template: RunTemplate): ParkedSandbox | undefined {
    const key = this.#keyOf(template);
    const usable = this.#entries.filter((entry) => entry.key === key && entry.parked.usable);
    const entry = usable.find(({ parked }) => parked.readySince !== undefined) ?? usable[0];
    if (!entry) return undefined;
    this.#entries = this.#entries.filter((other) => other !== entry);
    setImmediate(() => {
      this.#changed();
      this.#arrange();
    });
    return entry.parked;
  }

  get states(): readonly WarmState[] {
    return this.#targets.map(({ template, size }) => {
      const key = this.#keyOf(template);
      const { reason = '', message = '' } = (key !== undefined && this.#troubles.get(key)) || {};
      const ready = this.#ready(key);
      const { namespace, agent, revision } = template;
      return { agent: `${namespace}/${agent}`, revision: `${namespace}/${revision}`, ready, wanted: size, reason, message };
    });
  }

  /** How many wait, by `templateKey`. */
  get counts(): readonly { readonly template: string; readonly count: number }[] {
    return this.#targets.flatMap(({ template }) => {
      const count = this.#ready(this.#keyOf(template));
      return count > 0 ? [{ template: templateKey(template), count }] : [];
    });
  }

  #ready(key: string | undefined): number {
    return this.#entries.filter((entry) => entry.key === key && entry.parked.readySince !== undefined).length;
  }

  /** Undefined while something a sandbox would be made of is not there. */
  #keyOf(template: RunTemplate): string | undefined {
    const { image, gateways } = template;
    // Of a revision that was never ready it is not known what runs.
    const digest = parseImageReference(image)?.digest;
    const roots = this.#context.trust.of(gateways);
    if (digest === undefined || !roots) return undefined;
    return sha256Hex(canonicalJson({ template: templateKey(template), roots }));
  }

  /** Brings what there is in line with the targets. */
  #arrange(): void {
    if (this.#abort.signal.aborted) return;
    const now = performance.now();
    const wanted = new Map(this.#targets.map((target) => [this.#keyOf(target.template), target]));
    const kept = new Map<string, number>();
    for (const entry of this.#entries.toReversed()) {
      const target = wanted.get(entry.key);
      if (target) entry.target = target;
      const count = kept.get(entry.key) ?? 0;
      if (target && count < target.size && expiryOf(entry) > now && !this.#isCold(entry.key)) kept.set(entry.key, count + 1);
      else this.#drop(entry);
    }
    for (const [key, target] of wanted) {
      if (key === undefined || (this.#troubles.get(key)?.until ?? 0) > now) continue;
      for (let count = kept.get(key) ?? 0; count < target.size && this.#starting < STARTS; count++) this.#start(key, target);
    }
    this.#wakeAt(now);
  }

  #isCold(key: string): boolean {
    return this.#troubles.get(key)?.until === Infinity;
  }

  /** The next time something is due by itself: an age, the end of a back-off. */
  #wakeAt(now: number): void {
    const ages = this.#entries.map(expiryOf);
    const waits = [...this.#troubles.values()].map(({ until }) => until).filter((until) => until > now && until < Infinity);
    clearTimeout(this.#timer);
    const next = Math.min(...ages, ...waits);
    if (next < Infinity) this.#timer = setTimeout(() => this.#arrange(), Math.min(Math.max(next - now, 0) + 1, 2 ** 31 - 1));
  }

  #start(key: string, target: WarmTarget): void {
    const { signal } = this.#abort;
    const parked = new ParkedSandbox(this.#context, target.template, { number: this.#nextNumber(), id: randomUUID() });
    const entry: Entry = { key, target, parked };
    this.#entries.push(entry);
    this.#starting++;
    void parked.failed.then((failure) => this.#fail(entry, failure));
    const started = (async () => {
      await this.#load.low(STAND_BACK_MS, signal);
      if (this.#entries.includes(entry)) await parked.start();
    })().catch((error: unknown) => this.#context.log.error('a warm sandbox could not be started', { err: error }));
    void started.then(() => {
      this.#starting--;
      if (parked.readySince !== undefined) this.#troubles.delete(key);
      this.#changed();
      this.#arrange();
    });
  }

  #fail(entry: Entry, { reason, message }: ParkFailure): void {
    const failures = (this.#troubles.get(entry.key)?.failures ?? 0) + 1;
    const until = reason === 'StartsBeforeEvent' ? Infinity : performance.now() + backoffMs(failures - 1, BACKOFF);
    this.#troubles.set(entry.key, { reason, message, failures, until });
    const { namespace, agent } = entry.target.template;
    if (!this.#abort.signal.aborted) this.#context.log.warn('a warm sandbox is given up', { agent: `${namespace}/${agent}`, reason, message });
    if (this.#entries.includes(entry)) this.#drop(entry);
    this.#changed();
    this.#arrange();
  }

  #drop(entry: Entry): void {
    this.#entries = this.#entries.filter((other) => other !== entry);
    const gone = entry.parked[Symbol.asyncDispose]().catch((error: unknown) => this.#context.log.error('cannot clean up after a warm sandbox', { err: error }));
    this.#ending.add(gone);
    void gone.finally(() => this.#ending.delete(gone));
    this.#changed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    for (const entry of this.#entries) this.#drop(entry);
    await Promise.all(this.#ending);
  }
}

/** `performance.now()` at which an entry is too old; never while it is not ready. */
const expiryOf = ({ parked, target }: Entry): number => (parked.readySince ?? Infinity) + target.idleTtlMs;
