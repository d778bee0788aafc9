import type { EgressDesired, EgressReport, WorkerDesired, WorkerReport, WorkersWanted } from './desired.ts';
import type { ExchangeRecord } from './exchange.ts';
import type { LogRecord, StoredLog } from './log.ts';
import type { Invocation } from './run.ts';

/** Ports between stages. Implementations live in the stage that owns the service; `cmd` joins them over `wire`. */

/** Who calls, as the API server authenticated it. */
export interface Principal {
  readonly name: string;
  readonly groups: readonly string[];
}

/** A request to run an agent once, by whatever trigger. */
export interface InvokeRequest {
  readonly namespace: string;
  readonly agent: string;
  /** Lower-case header names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** `HTTP` for the ingress, `CLI` for the runtime API; a caller cannot choose it. */
  readonly trigger: 'HTTP' | 'Cron' | 'CLI';
  readonly source: string;
}

/** The answer to a trigger: a head, then the body in pieces. A body that ends with an error must not look complete. */
export interface InvokeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface InvocationFilter {
  readonly namespace?: string;
  readonly agent?: string;
  readonly id?: string;
  readonly limit?: number;
}

/** Dispatcher as the runtime API sees it. */
export interface Runs {
  invoke(request: InvokeRequest, signal: AbortSignal): Promise<InvokeAnswer>;
  get(namespace: string, id: string): Promise<Invocation | undefined>;
  /** Newest first. */
  list(filter: InvocationFilter): Promise<readonly Invocation[]>;
  /** Current ones first, then every change. */
  watch(filter: InvocationFilter, signal: AbortSignal): AsyncIterable<Invocation>;
}

export type BudgetUnit = 'tokens' | 'microdollars';
/** How long a counter counts: a UTC day, or one run. */
export type BudgetWindow = 'day' | 'execution';

/** What a request wants of one counter. */
export interface BudgetEntry {
  /** `budget/<namespace>/<route>/<gateway>`, or `shared/<namespace>/<name>`; with unit and window it names a counter. */
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  /** 0 refuses everything. */
  readonly cap: number;
  /** A bound of what the request can use, in whole units. */
  readonly amount: number;
}

export interface ReserveRequest {
  /** Decision id: reserving the same id twice is one reservation. */
  readonly id: string;
  /** Invocation id of the run: whose counters entries with window `execution` mean. */
  readonly execution: string;
  /** Taken together or not at all. */
  readonly entries: readonly BudgetEntry[];
  /** A reservation not settled by then (ms since the epoch) counts as spent. */
  readonly deadline: number;
}

export interface ReserveAnswer {
  readonly granted: boolean;
  /** Index of the entry that refused; -1 when granted. */
  readonly entry: number;
  /** Of that entry's counter. */
  readonly used: number;
  readonly reserved: number;
  /** When its day ends, ms since the epoch; 0 for an execution, which has no such moment. */
  readonly resetAt: number;
}

/** What a request used, in whole units; of each entry the one of its unit counts. */
export interface Settlement {
  readonly id: string;
  readonly tokens: number;
  readonly microdollars: number;
}

export interface LedgerPort {
  reserve(request: ReserveRequest): Promise<ReserveAnswer>;
  /** Replaces a reservation by what was used; idempotent by id. An unknown id is an error-free no-op. */
  settle(settlement: Settlement): Promise<void>;
}

/** A counter as it stands. */
export interface BudgetCounter {
  readonly key: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  /** Invocation id; empty for a day. */
  readonly execution: string;
  /** The newest cap a request was held against. */
  readonly cap: number;
  readonly used: number;
  readonly reserved: number;
  /** As in ReserveAnswer. */
  readonly resetAt: number;
}

export interface ExchangeQuery {
  readonly namespace: string;
  readonly invocation?: string;
  readonly agent?: string;
  /** Milliseconds since the epoch, exclusive. */
  readonly since?: number;
  readonly verdict?: ExchangeRecord['verdict'];
  /** Any of these; empty = all. */
  readonly protocols?: readonly string[];
  /** Pattern of the host, or of the address where there is no host: `*` is any text, `?` one character. */
  readonly host?: string;
  /** At most this many, the newest; 1,000 by default and at most 10,000. */
  readonly limit?: number;
}

/** Which log records: the newest `limit`, or with `since` or `after` the first `limit` that follow it. */
export interface LogQuery {
  readonly namespace: string;
  readonly agent: string;
  readonly invocation?: string;
  /** None = all. */
  readonly components: readonly string[];
  readonly iostream?: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, exclusive. */
  readonly since?: string;
  /** Position of the last record seen, exclusive. */
  readonly after?: number;
  /** 1 to 1,000. */
  readonly limit: number;
  /** Wait this long for a record to come when there is none, in milliseconds. */
  readonly waitMs?: number;
}

export interface StorePort {
  /** Idempotent by record id within a day. */
  insertExchanges(records: readonly ExchangeRecord[]): Promise<void>;
  /** Oldest first. */
  exchanges(query: ExchangeQuery): Promise<readonly ExchangeRecord[]>;
  /** Idempotent by record id. */
  insertLogs(records: readonly LogRecord[]): Promise<void>;
  /** Oldest first; after a position in the order of positions. */
  logs(query: LogQuery, signal?: AbortSignal): Promise<readonly StoredLog[]>;
}

/** Desired state as controllers publish it and hear back; `cmd/controller-manager` joins it to the wire. */
export interface DesiredPort {
  setWorkers(wanted: WorkersWanted): void;
  /** By pool. */
  setWorkerDesired(pool: string, desired: WorkerDesired): void;
  /** By worker: each egress has its own intermediates. */
  setEgressDesired(worker: string, desired: EgressDesired): void;
  /** Called with every report; undefined = that worker's or egress's stream ended. */
  onWorker(listener: (worker: string, report: WorkerReport | undefined) => void): void;
  onEgress(listener: (worker: string, report: EgressReport | undefined) => void): void;
}

/** One sandbox's address, and whose it is. */
export interface Parking {
  /** IPv4 address of the sandbox. */
  readonly address: string;
  /** The block of its agent, CIDR. */
  readonly block: string;
  readonly namespace: string;
  readonly agent: string;
  /** `namespace/name`, in list order. */
  readonly gateways: readonly string[];
}

/** One sandbox's address and the run it belongs to. */
export interface Binding extends Parking {
  readonly invocation: string;
  readonly traceId: string;
  readonly spanId: string;
}

/** Why a claim was not granted; `refused` is empty when it was, or a reason such as `GatewayNotReady`. */
export interface ClaimAnswer {
  readonly refused: string;
  readonly message: string;
}

/** `egress` as its worker sees it. A call fails while `egress` is away; `bind` and `release` may be repeated. */
export interface ClaimsPort {
  /** Answered when the binding is on disk and its gateways are in force. */
  bind(binding: Binding, signal: AbortSignal): Promise<ClaimAnswer>;
  release(binding: Pick<Binding, 'address' | 'invocation'>): Promise<void>;
  /**
   * The address is a sandbox's that has no run yet: everything it asks for is refused and recorded (`NotClaimed`). First
   * comes the answer; another one comes when the sandbox tried all the same (`StartsBeforeEvent`). When `binding` resolves
   * it is bound, and the next answer is to that. What is not bound is given up when the signal aborts; the end of the
   * stream before that means that `egress` does not know it any more.
   */
  park(parking: Parking, binding: Promise<Binding>, signal: AbortSignal): AsyncIterable<ClaimAnswer>;
}
