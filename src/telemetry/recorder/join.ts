import type { AccessLine, EgressLine, ExchangeRecord } from '#model';
import type { Bindings } from './bindings.ts';
import { recordOfAccess, recordOfEgress } from './record.ts';

/** How long a line waits for the binding of its address to be read. */
export const BINDING_WAIT_MS = 2_000;
/** How long a denial of the engine waits for Envoy's own line of it. */
export const REFUSED_WAIT_MS = 30_000;
/** Requests in flight that are remembered; beyond, the oldest are given up (see `overflow`). */
const MAX_PENDING = 50_000;

interface Waiting {
  readonly line: AccessLine | EgressLine;
  readonly since: number;
}

interface Death {
  readonly gateway: string;
  readonly time: number;
}

/** State that a restart continues from, as JSON. */
export interface JoinSnapshot {
  readonly waiting: readonly (AccessLine | EgressLine)[];
  readonly pending: readonly EgressLine[];
  readonly deaths: readonly Death[];
}

const isAccess = (line: AccessLine | EgressLine): line is AccessLine => 'chain' in line;
const keyOf = (line: AccessLine | EgressLine): readonly [string, number] => [line.source, isAccess(line) ? Date.parse(line.time) : line.time];

/**
 * A line of TLS that ended badly (a reset, a broken record) after it had carried a request and an answer, of which its chain
 * has a line of its own. Envoy gives both ends one form; of a handshake that fails nothing is read.
 */
export const endedLater = ({ chain, reason, requestBytes = 0, responseBytes = 0 }: AccessLine): boolean =>
  chain === 'refused' && reason === 'HandshakeFailed' && requestBytes > 0 && responseBytes > 0;

/**
 * Joins lines to runs: lines in, records out, no files and no clock (`now` is monotonic: a wait is a wait, whatever the time of day). The decision id is the key of a record. For a request
 * the engine saw there are two lines, the engine's (`admit`, `refused`) and Envoy's; Envoy's wins, and the engine's makes
 * the record only when Envoy's cannot come any more (its Envoy died) or does not come (`REFUSED_WAIT_MS`).
 *
 * The caller adds an engine's line before Envoy's line of the same id: the engine writes first.
 */
export class Join {
  readonly #worker: string;
  readonly #bindings: Bindings;
  #waiting: Waiting[] = [];
  /** Engine lines without Envoy's line yet, by decision id, oldest first. */
  readonly #pending = new Map<string, { readonly line: EgressLine; readonly since: number }>();
  #deaths: Death[] = [];
  #freshDeaths: Death[] = [];
  /** Admitted requests whose `GatewayDied` record is given up, because too many were in flight. */
  overflow = 0;

  constructor(worker: string, bindings: Bindings, snapshot: JoinSnapshot = { waiting: [], pending: [], deaths: [] }, now = 0) {
    this.#worker = worker;
    this.#bindings = bindings;
    this.#waiting = snapshot.waiting.map((line) => ({ line, since: now }));
    for (const line of snapshot.pending) this.#pending.set(line.id, { line, since: now });
    this.#freshDeaths = [...snapshot.deaths];
  }

  access(line: AccessLine, now: number): void {
    if (endedLater(line)) return;
    const engine = line.engine ?? this.#pending.get(line.id)?.line.engine; // metadata is lost when the request ends early
    this.#pending.delete(line.id);
    this.#waiting.push({ line: engine ? { ...line, engine } : line, since: now });
  }

  egress(line: EgressLine, now: number): void {
    if (line.event === 'gateway-died') this.#freshDeaths.push({ gateway: line.gateway, time: line.time });
    else if (line.event === 'dns' || line.event === 'refused-packet') this.#waiting.push({ line, since: now });
    else {
      this.#pending.set(line.id, { line, since: now });
      if (this.#pending.size > MAX_PENDING) this.#giveUpOldest(now);
    }
  }

  /**
   * The records that are certain now. `drained`: every access log was read to its end after the previous call, so that a
   * request a dead Envoy finished before it died has had its line added.
   */
  settle(now: number, drained: boolean): readonly ExchangeRecord[] {
    const records: ExchangeRecord[] = [];
    if (drained) {
      for (const death of this.#deaths) this.#close(death, now);
      this.#deaths = [];
    }
    this.#deaths.push(...this.#freshDeaths);
    this.#freshDeaths = [];
    for (const { line, since } of this.#pending.values()) {
      if (line.event === 'refused' && now - since >= REFUSED_WAIT_MS) this.#release(line, now);
    }
    this.#waiting = this.#waiting.filter(({ line, since }) => {
      const binding = this.#bindings.find(...keyOf(line));
      if (!binding && now - since < BINDING_WAIT_MS) return true;
      records.push(isAccess(line) ? recordOfAccess(line, binding, this.#worker) : recordOfEgress(line, binding, this.#worker));
      return false;
    });
    return records;
  }

  /** No line waits for its binding. */
  get joined(): boolean {
    return this.#waiting.length === 0;
  }

  snapshot(): JoinSnapshot {
    return {
      waiting: this.#waiting.map(({ line }) => line),
      pending: [...this.#pending.values()].map(({ line }) => line),
      deaths: [...this.#deaths, ...this.#freshDeaths],
    };
  }

  /** The Envoy of a gateway ended: what it was asked before and has not logged is closed. */
  #close(death: Death, now: number): void {
    for (const { line } of this.#pending.values()) {
      if (line.gateway === death.gateway && line.time <= death.time) this.#release(line, now);
    }
  }

  /** A pending engine line becomes a record: a denial as it is, an admitted request with an end nobody saw. */
  #release(line: EgressLine, now: number): void {
    this.#pending.delete(line.id);
    this.#waiting.push({ line: line.event === 'admit' ? { ...line, reason: 'GatewayDied' } : line, since: now });
  }

  #giveUpOldest(now: number): void {
    const [oldest] = this.#pending.values();
    if (oldest!.line.event === 'refused') return this.#release(oldest!.line, now);
    this.#pending.delete(oldest!.line.id);
    this.overflow++;
  }
}
