import { Latest } from '#lib';
import type { DesiredPort, EgressDesired, EgressReport, RunTemplate, WorkerDesired, WorkerReport, WorkersWanted } from '#model';
import type { Desired, Implementation } from '#wire';

type Listener<R> = (worker: string, report: R | undefined) => void;

/** Values by key, each made when first asked for. */
class LatestByKey<T> {
  readonly #cells = new Map<string, Latest<T>>();

  of(key: string): Latest<T> {
    const cell = this.#cells.get(key) ?? new Latest<T>();
    this.#cells.set(key, cell);
    return cell;
  }
}

/** Whose reports count: the newest stream of each worker. The end of an older one, noticed late, says nothing. */
class Streams<R extends { readonly worker: string }> {
  readonly #listeners: Listener<R>[] = [];
  readonly #newest = new Map<string, object>();

  listen(listener: Listener<R>): void {
    this.#listeners.push(listener);
  }

  report(stream: object, report: R): void {
    this.#newest.set(report.worker, stream);
    for (const listener of this.#listeners) listener(report.worker, report);
  }

  end(stream: object, worker: string): void {
    if (this.#newest.get(worker) !== stream) return;
    this.#newest.delete(worker);
    for (const listener of this.#listeners) listener(worker, undefined);
  }
}

/** One peer: its reports go to `streams`; what it should have comes from the cell its first report leads to. */
async function* serve<R extends { readonly worker: string }, D>(
  reports: AsyncIterable<R>,
  signal: AbortSignal,
  streams: Streams<R>,
  cellOf: (first: R) => Latest<D>,
): AsyncGenerator<D, void> {
  const stream = {};
  const ended = new AbortController();
  const first = Promise.withResolvers<R | undefined>();
  let worker: string | undefined;
  const reading = (async () => {
    try {
      for await (const report of reports) {
        // A stream speaks for the worker of its first report only.
        worker ??= report.worker;
        if (report.worker !== worker) break;
        streams.report(stream, report);
        first.resolve(report);
      }
    } finally {
      first.resolve(undefined);
      if (worker !== undefined) streams.end(stream, worker);
      ended.abort();
    }
  })();
  reading.catch(() => {});
  const hello = await first.promise;
  if (hello) yield* cellOf(hello).subscribe(AbortSignal.any([signal, ended.signal]));
}

/** Joins the port controllers publish to and service `Desired`: every value goes to whoever is connected, the newest to who comes later. */
export const createDesiredService = (): { port: DesiredPort; service: Implementation<typeof Desired> } => {
  const wanted = new Latest<WorkersWanted>();
  const byPool = new LatestByKey<WorkerDesired>();
  const byWorker = new LatestByKey<EgressDesired>();
  const workers = new Streams<WorkerReport>();
  const egresses = new Streams<EgressReport>();
  return {
    port: {
      setWorkers: (value) => wanted.set(value),
      setWorkerDesired: (pool, value) => byPool.of(pool).set(value),
      setEgressDesired: (worker, value) => byWorker.of(worker).set(value),
      onWorker: (listener) => workers.listen(listener),
      onEgress: (listener) => egresses.listen(listener),
    },
    service: {
      async *workers(_, { signal }) {
        for await (const { pools } of wanted.subscribe(signal)) yield { pools: [...pools] };
      },
      async *worker(reports, { signal }) {
        for await (const { revisions, gateways, warm } of serve(reports, signal, workers, ({ pool }) => byPool.of(pool)))
          yield {
            revisions: revisions.map((revision) => ({ ...revision, template: mutable(revision.template) })),
            gateways: gateways.map(({ gateway, rootPems }) => ({ gateway, rootPems: [...rootPems] })),
            warm: warm.map((target) => ({ ...target, template: mutable(target.template) })),
          };
      },
      async *egress(reports, { signal }) {
        for await (const { gateways } of serve(reports, signal, egresses, ({ worker }) => byWorker.of(worker)))
          yield { gateways: gateways.map((gateway) => ({ ...gateway, credentials: [...gateway.credentials] })) };
      },
    },
  };
};

/** Messages of the wire have mutable lists. */
const mutable = ({ command, args, env, gateways, ...template }: RunTemplate) => ({
  ...template,
  command: [...command],
  args: [...args],
  env: [...env],
  gateways: [...gateways],
});
