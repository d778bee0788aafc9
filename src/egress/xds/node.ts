import type { Clock, Logger } from '#lib';
import type { DeltaDiscoveryRequest, DeltaResponse } from '#wire/xds';
import type { Leaf, Leaves } from '../leaves.ts';
import type { Upstreams } from '../upstreams.ts';
import type { Rejudged, Verdicts } from '../verdicts/verdicts.ts';
import { NodeStream } from './stream.ts';
import type { Snapshot } from './snapshot.ts';

/** How far one Envoy is. */
export interface NodeState {
  /** Revision acknowledged in full by the Envoy that is connected now; empty when there is none. */
  readonly revision: string;
  /** Envoy's rejection of something of the wanted revision. */
  readonly error: string;
}

/** A leaf of a denied name leaves Envoy's memory after this time. */
const DENIED_LEAF_TTL = 3_600_000;
/** Envoy asks anew for a leaf this long before it ends. */
const LEAF_MARGIN = 2 * 3_600_000;
/** How long something waits for Envoy that can do without. */
const SETTLE_MS = 1_000;
/** How often verdicts of earlier hours are looked for. */
const EXPIRE_EVERY_MS = 60_000;

export interface XdsNodeOptions {
  readonly leaves: Leaves;
  readonly verdicts: Verdicts;
  readonly upstreams: Upstreams;
  readonly turned: (service: string) => void;
  /** Whether a route admits the name, so that its leaf stays. */
  readonly admitted: (name: string) => boolean;
  readonly onState: (state: NodeState) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What one gateway's Envoy gets: the snapshot, in an order that never refers to what is not there yet (clusters and their
 * secrets, then listener and routes, then removals), and leaves, verdicts and endpoints as it asks for them. A stream is one
 * connection of Envoy.
 */
export class XdsNode implements Disposable {
  readonly #options: XdsNodeOptions;
  readonly #timer: NodeJS.Timeout;
  #snapshot: Snapshot | undefined;
  #stream: NodeStream | undefined;
  #state: NodeState = { revision: '', error: '' };
  readonly #waiting = new Set<() => void>();

  constructor(options: XdsNodeOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#stream?.removeVerdicts(options.verdicts.expire()), EXPIRE_EVERY_MS).unref();
  }

  get state(): NodeState {
    return this.#state;
  }

  /** The revision Envoy should have; `change` comes before, with the verdicts that are other ones under it. */
  set(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#stream?.flush(snapshot);
    this.#report();
  }

  /** Resolves when Envoy has the verdicts that changed, or is not there. Until then no revision is in force: `progress`. */
  async change({ changed }: Pick<Rejudged, 'changed'>): Promise<void> {
    await this.#stream?.sendVerdicts(changed);
  }

  /** True when Envoy has all it should have, false when it does not after a while: it may be away, or refuse something. */
  async settled(waitMs = SETTLE_MS): Promise<boolean> {
    if (this.#complete()) return true;
    const waiting = Promise.withResolvers<void>();
    this.#waiting.add(waiting.resolve);
    const timer = setTimeout(waiting.resolve, waitMs);
    await waiting.promise;
    clearTimeout(timer);
    this.#waiting.delete(waiting.resolve);
    return this.#complete();
  }

  #complete(): boolean {
    return this.#snapshot !== undefined && (this.#stream?.progress(this.#snapshot).complete ?? false);
  }

  /** Tells Envoy to forget the leaf of a name; its next handshake asks again. */
  evict(name: string): void {
    this.#stream?.removeLeaf(name);
  }

  /** A new stream of this node's Envoy; `send` queues a response on it. The newest stream counts. */
  connect(send: (response: DeltaResponse) => void): { handle(request: DeltaDiscoveryRequest): void; close(): void } {
    const { leaves, verdicts, upstreams, turned, log } = this.#options;
    const stream = new NodeStream(send, {
      leaf: (name) => this.#leaf(name),
      isCurrent: (name, version) => leaves.isCurrent(name, version),
      verdicts,
      upstreams,
      turned,
      log,
    });
    this.#stream = stream;
    return {
      handle: (request) => {
        stream.handle(request);
        if (this.#stream !== stream) return;
        if (this.#snapshot) stream.flush(this.#snapshot);
        this.#report();
      },
      close: () => {
        stream.close();
        if (this.#stream !== stream) return;
        this.#stream = undefined;
        this.#report();
      },
    };
  }

  async #leaf(name: string): Promise<{ leaf: Leaf; ttlMs: number } | undefined> {
    const { leaves, admitted, clock } = this.#options;
    const leaf = await leaves.get(name);
    if (!leaf) return undefined;
    const left = leaf.notAfter - LEAF_MARGIN - clock.now();
    return { leaf, ttlMs: admitted(name) ? left : Math.min(left, DENIED_LEAF_TTL) };
  }

  #report(): void {
    const { revision = '' } = this.#snapshot ?? {};
    const { complete = false, error = '' } = this.#snapshot ? (this.#stream?.progress(this.#snapshot) ?? {}) : {};
    if (complete) for (const resolve of this.#waiting) resolve();
    // While a newer snapshot is on its way the last one in force stays reported: it still decides.
    const next = { revision: complete ? revision : this.#stream ? this.#state.revision : '', error };
    if (next.revision === this.#state.revision && next.error === this.#state.error) return;
    this.#state = next;
    this.#options.onState(next);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#stream?.close();
  }
}
