import type { DesiredPort, EgressReport, WorkerReport } from '#model';
import type { Clock } from '#lib';

type Listener<R> = (worker: string, current: R | undefined, previous: R | undefined) => void;

/** The latest report of each connected worker (or egress). One whose stream ended is not here. */
export class Reports<R> {
  readonly #latest = new Map<string, { readonly report: R; readonly at: number }>();
  readonly #listeners = new Set<Listener<R>>();

  constructor(subscribe: (listener: (worker: string, report: R | undefined) => void) => void, clock: Clock) {
    subscribe((worker, report) => {
      const previous = this.#latest.get(worker)?.report;
      if (report === undefined) this.#latest.delete(worker);
      else this.#latest.set(worker, { report, at: clock.now() });
      for (const listener of this.#listeners) listener(worker, report, previous);
    });
  }

  get(worker: string): R | undefined {
    return this.#latest.get(worker)?.report;
  }

  /** By worker name, in order. `at` is when the report came, ms since the epoch. */
  all(): readonly { readonly worker: string; readonly report: R; readonly at: number }[] {
    return [...this.#latest].map(([worker, entry]) => ({ worker, ...entry })).sort((a, b) => a.worker.localeCompare(b.worker, 'en', { numeric: true }));
  }

  onChange(listener: Listener<R>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export type WorkerReports = Reports<WorkerReport>;
export type EgressReports = Reports<EgressReport>;

export const createReports = (desired: DesiredPort, clock: Clock): { workers: WorkerReports; egresses: EgressReports } => ({
  workers: new Reports<WorkerReport>((listener) => desired.onWorker(listener), clock),
  egresses: new Reports<EgressReport>((listener) => desired.onEgress(listener), clock),
});

/** Workers of a pool (`namespace/name`). */
export const workersOf = (workers: WorkerReports, pool: string) => workers.all().filter(({ report }) => report.pool === pool);
