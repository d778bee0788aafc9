import { watch, type FSWatcher } from 'node:fs';
import { AsyncQueue, messageOf, retry, type Logger } from '#lib';
import type { GatewayRoot, TrustState, WarmState, WarmTarget, WorkerDesired, WorkerReport } from '#model';
import type { Images } from '#sandbox';
import { connect, Desired } from '#wire';
import { RevisionStates, type TryStart } from './revision-states.ts';

const REPORT_EVERY_MS = 5_000;

/** Sandboxes started ahead of their runs: what to have, and what there is. */
export interface WarmPort {
  set(targets: readonly WarmTarget[]): void;
  readonly states: readonly WarmState[];
}

/**
 * The stream to controller-manager: what the worker should have comes down, what it has goes up, on every change and every
 * 5 s. While controller-manager is away the last desired state stays in force.
 */
export class DesiredLink implements AsyncDisposable {
  readonly #socket: string;
  readonly #who: { readonly worker: string; readonly pool: string };
  readonly #revisions: RevisionStates;
  readonly #active: () => number;
  readonly #warm: WarmPort;
  readonly #trust: () => readonly TrustState[];
  readonly #log: Logger;
  readonly #abort = new AbortController();
  readonly #watcher: FSWatcher;
  readonly #timer: NodeJS.Timeout;
  #desired: WorkerDesired = { revisions: [], gateways: [], warm: [] };
  #up: AsyncQueue<WorkerReport> | undefined;
  #refreshing: Promise<void> | undefined;
  #again = false;
  #draining = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: {
    socket: string;
    worker: string;
    pool: string;
    images: Images;
    store: string;
    tryStart: TryStart;
    active: () => number;
    warm: WarmPort;
    trust: () => readonly TrustState[];
    log: Logger;
  }) {
    this.#socket = options.socket;
    this.#who = { worker: options.worker, pool: options.pool };
    this.#revisions = new RevisionStates({ images: options.images, tryStart: options.tryStart, changed: () => this.report() });
    this.#active = options.active;
    this.#warm = options.warm;
    this.#trust = options.trust;
    this.#log = options.log;
    // An image built now makes a waiting revision ready now.
    this.#watcher = watch(options.store, (_, file) => file === 'index.json' && this.#refresh());
    this.#timer = setInterval(() => {
      this.#refresh();
      this.report();
    }, REPORT_EVERY_MS);
  }

  /** The root certificates of all gateways, as new sandboxes trust them. */
  get roots(): readonly GatewayRoot[] {
    return this.#desired.gateways;
  }

  /** Sends a report now. */
  report(): void {
    const images = this.#revisions.all;
    const [warm, trust] = [this.#warm.states, this.#trust()];
    this.#up?.push({ ...this.#who, maxExecutions: 0, activeExecutions: this.#active(), images, draining: this.#draining, warm, trust });
  }

  /** Says from here on that no new runs are taken; nothing is started ahead any more. */
  drain(): void {
    this.#draining = true;
    this.#warm.set([]);
    this.report();
  }

  start(): void {
    const { signal } = this.#abort;
    const onError = (error: unknown, n: number): void => (n === 0 ? this.#log.warn(`controller-manager is away: ${messageOf(error)}`) : undefined);
    this.#loop = (async () => {
      while (!signal.aborted) await retry(() => this.#follow(), { signal, onError });
    })().catch(() => {});
  }

  async #follow(): Promise<void> {
    const client = connect(Desired, this.#socket);
    this.#up = new AsyncQueue<WorkerReport>();
    this.report();
    try {
      const reports = mutable(this.#up);
      for await (const desired of client.worker(reports, { signal: this.#abort.signal })) {
        this.#desired = { gateways: desired.gateways, revisions: withTemplates(desired.revisions), warm: withTemplates(desired.warm) };
        this.#refresh();
        this.report(); // new sandboxes trust what came just now: a gateway may wait for it
      }
    } finally {
      this.#up?.end();
      this.#up = undefined;
      client.close();
    }
    throw new Error('the stream ended');
  }

  /** Brings what there is in line with what is wanted; one pass at a time, and another when something came up during it. */
  #refresh(): void {
    this.#again = true;
    this.#refreshing ??= this.#pass().finally(() => (this.#refreshing = undefined));
  }

  async #pass(): Promise<void> {
    while (this.#again && !this.#abort.signal.aborted) {
      this.#again = false;
      this.#warm.set(this.#draining ? [] : this.#desired.warm);
      await this.#revisions.refresh(this.#desired.revisions, this.#abort.signal);
      this.#warm.set(this.#draining ? [] : this.#desired.warm); // also when only an image has come
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watcher.close();
    clearInterval(this.#timer);
    this.#abort.abort();
    await Promise.all([this.#loop, this.#refreshing]);
  }
}

/** Parts of a message are optional on the wire. */
const withTemplates = <T extends { template?: unknown }>(messages: readonly T[]) =>
  messages.flatMap(({ template, ...rest }) => (template ? [{ ...rest, template: template as NonNullable<T['template']> }] : []));

/** Messages of the wire have mutable lists. */
async function* mutable(reports: AsyncIterable<WorkerReport>) {
  for await (const report of reports) {
    const trust = report.trust.map((state) => ({ ...state, roots: [...state.roots] }));
    yield { ...report, images: [...report.images], warm: [...report.warm], trust };
  }
}
