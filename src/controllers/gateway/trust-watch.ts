import { splitKey } from '#kube';
import { fingerprintOf, type Clock } from '#lib';
import type { TrustState, WorkerReport } from '#model';
import type { EgressReports, WorkerReports } from '../reports.ts';

/**
 * A worker that does not report may be one whose stream is being made again (that takes 2 s at most); after this long it is gone,
 * with its sandboxes. Just after the start nobody has reported, and any worker may be there.
 */
export const LOST_MS = 20_000;

/** What a gateway waits for before it goes on with a change of its root. */
export interface Waiting {
  /** Sandboxes that lack the root. */
  readonly sandboxes: number;
  /** Who is behind, or not known: `worker 0`. */
  readonly who: readonly string[];
}

interface Departed {
  readonly report: WorkerReport;
  readonly at: number;
}

const lacks = ({ roots }: TrustState, root: string): boolean => !roots.includes(root);

/** Reports of workers and egresses -> who trusts, and who signs under, a root of a gateway. */
export class TrustWatch implements Disposable {
  readonly #workers: WorkerReports;
  readonly #egresses: EgressReports;
  readonly #clock: Clock;
  readonly #started: number;
  readonly #departed = new Map<string, Departed>();
  readonly #stop: () => void;

  constructor({ workers, egresses, clock }: { workers: WorkerReports; egresses: EgressReports; clock: Clock }) {
    this.#workers = workers;
    this.#egresses = egresses;
    this.#clock = clock;
    this.#started = clock.monotonic();
    this.#stop = workers.onChange((worker, current, previous) => {
      if (current) this.#departed.delete(worker);
      else if (previous) this.#departed.set(worker, { report: previous, at: clock.monotonic() });
    });
  }

  /** Who keeps `root` from being trusted by every sandbox of the gateway (`namespace/name`), also by those that are made next. */
  untrusting(gateway: string, rootPem: string): Waiting {
    const root = fingerprintOf(rootPem);
    const { namespace } = splitKey(gateway);
    let sandboxes = 0;
    const who = this.#known(namespace).flatMap(({ worker, report }) => {
      const states = report.trust.filter((state) => state.gateway === gateway);
      const older = states.filter((state) => lacks(state, root)).reduce((sum, state) => sum + state.sandboxes, 0);
      sandboxes += older;
      const ready = states.some((state) => state.current && !lacks(state, root));
      return ready && older === 0 ? [] : [`worker ${worker}`];
    });
    return { sandboxes, who: [...who, ...this.#unknown()] };
  }

  /** Whose egress may still sign under another root. */
  unsigning(gateway: string, rootPem: string): Waiting {
    const root = fingerprintOf(rootPem);
    const { namespace } = splitKey(gateway);
    const who = this.#known(namespace).flatMap(({ worker }) => {
      const state = this.#egresses.get(worker)?.gateways.find((candidate) => candidate.gateway === gateway);
      return state?.root === root ? [] : [`worker ${worker}`];
    });
    return { sandboxes: 0, who: [...who, ...this.#unknown()] };
  }

  /** Workers of a namespace: those that report, and those that did a moment ago. */
  #known(namespace: string): readonly { readonly worker: string; readonly report: WorkerReport }[] {
    const since = this.#clock.monotonic() - LOST_MS;
    for (const [worker, { at }] of this.#departed) if (at <= since) this.#departed.delete(worker);
    const departed = [...this.#departed].map(([worker, { report }]) => ({ worker, report }));
    return [...this.#workers.all(), ...departed].filter(({ report }) => splitKey(report.pool).namespace === namespace);
  }

  #unknown(): readonly string[] {
    return this.#clock.monotonic() - this.#started < LOST_MS ? ['workers that have not reported since controller-manager was started'] : [];
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}
