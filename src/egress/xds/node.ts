import type { Clock, Logger } from '#lib';
import type { DeltaDiscoveryRequest, DeltaResponse } from '#wire/xds';
import type { Leaf, Leaves } from '../leaves.ts';
import { encodeLeaf, TYPE, type Snapshot, type TypeUrl } from './snapshot.ts';
import { Subscription } from './subscription.ts';

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

const OURS = /^(?:cred|ca):/;

/**
 * What one gateway's Envoy gets: the snapshot, in an order that never refers to what is not there yet (clusters and their
 * secrets, then listener and routes, then removals), and leaves as it asks for them. A stream is one connection of Envoy.
 */
export class XdsNode {
  readonly #leaves: Leaves;
  readonly #admitted: (name: string) => boolean;
  readonly #onState: (state: NodeState) => void;
  readonly #clock: Clock;
  readonly #log: Logger;
  #snapshot: Snapshot | undefined;
  #stream: NodeStream | undefined;
  #state: NodeState = { revision: '', error: '' };

  constructor(options: { leaves: Leaves; admitted: (name: string) => boolean; onState: (state: NodeState) => void; clock: Clock; log: Logger }) {
    this.#leaves = options.leaves;
    this.#admitted = options.admitted;
    this.#onState = options.onState;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  get state(): NodeState {
    return this.#state;
  }

  set(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#stream?.flush(snapshot);
    this.#report();
  }

  /** Tells Envoy to forget the leaf of a name; its next handshake asks again. */
  evict(name: string): void {
    this.#stream?.removeLeaf(name);
  }

  /** A new stream of this node's Envoy; `send` queues a response on it. The newest stream counts. */
  connect(send: (response: DeltaResponse) => void): { handle(request: DeltaDiscoveryRequest): void; close(): void } {
    const stream = new NodeStream(send, {
      leaf: (name) => this.#leaf(name),
      isCurrent: (name, version) => this.#leaves.isCurrent(name, version),
      log: this.#log,
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
    const leaf = await this.#leaves.get(name);
    if (!leaf) return undefined;
    const left = leaf.notAfter - LEAF_MARGIN - this.#clock.now();
    return { leaf, ttlMs: this.#admitted(name) ? left : Math.min(left, DENIED_LEAF_TTL) };
  }

  #report(): void {
    const { revision = '' } = this.#snapshot ?? {};
    const { complete = false, error = '' } = this.#snapshot ? (this.#stream?.progress(this.#snapshot) ?? {}) : {};
    // While a newer snapshot is on its way the last one in force stays reported: it still decides.
    const next = { revision: complete ? revision : this.#stream ? this.#state.revision : '', error };
    if (next.revision === this.#state.revision && next.error === this.#state.error) return;
    this.#state = next;
    this.#onState(next);
  }
}

interface LeafSource {
  leaf(name: string): Promise<{ leaf: Leaf; ttlMs: number } | undefined>;
  isCurrent(name: string, version: string): boolean;
  readonly log: Logger;
}

/** One delta ADS stream. */
class NodeStream {
  readonly #types = new Map<TypeUrl, Subscription>();
  readonly #send: (response: DeltaResponse) => void;
  readonly #source: LeafSource;
  #closed = false;

  constructor(send: (response: DeltaResponse) => void, source: LeafSource) {
    this.#send = send;
    this.#source = source;
  }

  close(): void {
    this.#closed = true;
  }

  handle(request: DeltaDiscoveryRequest): void {
    const type = request.typeUrl as TypeUrl;
    let subscription = this.#types.get(type);
    if (!subscription) {
      subscription = new Subscription(type, type === TYPE.cluster || type === TYPE.listener, this.#send);
      this.#types.set(type, subscription);
      subscription.resume(request.initialResourceVersions);
    }
    const rejected = subscription.answered(request.responseNonce, request.errorDetail?.message);
    const asked = subscription.subscribe(request.resourceNamesSubscribe, request.resourceNamesUnsubscribe);
    if (type !== TYPE.secret) return;
    const resumed = Object.entries(request.initialResourceVersions);
    for (const name of rejected.filter((name) => !OURS.test(name))) {
      this.#source.log.error('Envoy rejected a leaf', { name, error: request.errorDetail?.message });
      subscription.push([], [name]); // else the name stays stuck in Envoy
    }
    for (const name of asked.filter((name) => !OURS.test(name))) {
      const version = resumed.find(([known]) => known === name)?.[1];
      if (version !== undefined && this.#source.isCurrent(name, version)) continue;
      void this.#answerLeaf(subscription, name);
    }
  }

  /** Every question gets an answer: a leaf, or that there is none (which fails the handshake at once). */
  async #answerLeaf(subscription: Subscription, name: string): Promise<void> {
    const found = await this.#source.leaf(name).catch((error: unknown) => {
      this.#source.log.error('cannot make a leaf', { name, err: error });
      return undefined;
    });
    if (this.#closed) return;
    if (!found) return subscription.push([], [name]);
    const { leaf, ttlMs } = found;
    subscription.push([{ name, version: leaf.version, body: encodeLeaf(name, leaf), ttlMs }], []);
  }

  removeLeaf(name: string): void {
    const secrets = this.#types.get(TYPE.secret);
    if (secrets?.names.has(name)) secrets.push([], [name]);
  }

  /** Sends what is due. Called after everything that may have made something due. */
  flush({ resources }: Snapshot): void {
    const of = (type: TypeUrl): Subscription | undefined => this.#types.get(type);
    of(TYPE.cluster)?.sendChanged(resources[TYPE.cluster]);
    of(TYPE.secret)?.sendChanged(resources[TYPE.secret], OURS);
    if (!this.#upstreamsReady(resources)) return;
    for (const type of [TYPE.listener, TYPE.route]) of(type)?.sendChanged(resources[type]);
    if (![TYPE.listener, TYPE.route].every((type) => of(type)?.settled(resources[type]))) return;
    for (const type of [TYPE.cluster, TYPE.listener]) of(type)?.sendRemoved(resources[type]);
  }

  /** Clusters and their secrets are answered. After a rejected cluster nobody asks for its secrets, so then they are not waited for. */
  #upstreamsReady(resources: Snapshot['resources']): boolean {
    const clusters = this.#types.get(TYPE.cluster);
    if (!clusters?.settled(resources[TYPE.cluster])) return false;
    if (clusters.rejection(resources[TYPE.cluster]) !== undefined || resources[TYPE.secret].size === 0) return true;
    return this.#types.get(TYPE.secret)?.settled(resources[TYPE.secret]) ?? false;
  }

  progress({ resources }: Snapshot): { readonly complete: boolean; readonly error: string } {
    const errors = Object.values(TYPE).flatMap((type) => this.#types.get(type)?.rejection(resources[type]) ?? []);
    const complete = Object.values(TYPE).every((type) => resources[type].size === 0 || (this.#types.get(type)?.complete(resources[type]) ?? false));
    return { complete, error: errors.join('; ') };
  }
}
