import type { DeltaResponse, Encoded } from '#wire/xds';
import type { TypeUrl, VersionedResource } from './snapshot.ts';

export interface SentResource {
  readonly name: string;
  readonly version: string;
  readonly body: Encoded;
  /** Envoy forgets the resource after this time. */
  readonly ttlMs?: number;
  /** Of a cluster: the name of its endpoints. */
  readonly service?: string;
}

type Resources = ReadonlyMap<string, VersionedResource>;

/**
 * One resource type on one delta stream: what Envoy asked for, what it was sent, what it took and what it refused.
 * Source: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#incremental-xds
 */
export class Subscription {
  readonly #type: TypeUrl;
  readonly #wildcard: boolean;
  /** Names that are made when Envoy asks for them; they are no part of what is wanted by the snapshot. */
  readonly #onDemand: (name: string) => boolean;
  readonly #send: (response: DeltaResponse) => void;
  /** Hears of every resource that was sent. */
  readonly #pushed: (resources: readonly SentResource[]) => void;
  readonly names = new Set<string>();
  /** Version of each resource Envoy has, or was sent. */
  readonly #sent = new Map<string, string>();
  readonly #acknowledged = new Map<string, string>();
  readonly #rejected = new Map<string, { readonly version: string; readonly message: string }>();
  readonly #pending = new Map<string, { readonly resources: readonly SentResource[]; readonly removed: readonly string[] }>();
  #nonce = 0;

  constructor(
    type: TypeUrl,
    wildcard: boolean,
    onDemand: (name: string) => boolean,
    send: (response: DeltaResponse) => void,
    pushed: (resources: readonly SentResource[]) => void = () => {},
  ) {
    this.#type = type;
    this.#wildcard = wildcard;
    this.#onDemand = onDemand;
    this.#send = send;
    this.#pushed = pushed;
  }

  /** What Envoy has from an earlier stream. */
  resume(versions: Readonly<Record<string, string>>): void {
    for (const [name, version] of Object.entries(versions)) {
      this.#sent.set(name, version);
      this.#acknowledged.set(name, version);
    }
  }

  /** Takes an ACK, or with `error` a NACK; returns the names it is about. */
  answered(nonce: string, error: string | undefined): { readonly taken: readonly string[]; readonly rejected: readonly string[] } {
    const response = this.#pending.get(nonce);
    if (!response) return { taken: [], rejected: [] };
    this.#pending.delete(nonce);
    for (const { name, version } of response.resources) {
      if (error === undefined) {
        this.#acknowledged.set(name, version);
        this.#rejected.delete(name);
      } else this.#rejected.set(name, { version, message: error });
    }
    for (const name of response.removed) this.#acknowledged.delete(name);
    const names = response.resources.map(({ name }) => name);
    return error === undefined ? { taken: names, rejected: [] } : { taken: [], rejected: names };
  }

  /** Returns the names that are asked for now; a name asked for again is sent again, unless it was just resumed. */
  subscribe(add: readonly string[], remove: readonly string[]): readonly string[] {
    for (const name of remove) {
      this.names.delete(name);
      this.#forget(name);
    }
    const asked = add.filter((name) => name !== '*');
    for (const name of asked) {
      if (this.names.has(name)) this.#forget(name);
      this.names.add(name);
    }
    return asked;
  }

  #forget(name: string): void {
    this.#sent.delete(name);
    this.#acknowledged.delete(name);
    this.#rejected.delete(name);
  }

  /** Sends every wanted resource whose version Envoy lacks, and says of names asked for that they are not there. */
  sendChanged(wanted: Resources): void {
    const names = this.#wildcard ? [...wanted.keys()] : [...this.names].filter((name) => !this.#onDemand(name));
    const changed = names.flatMap((name) => {
      const resource = wanted.get(name);
      return resource && this.#sent.get(name) !== resource.version ? [{ name, ...resource }] : [];
    });
    // What was sent before and is not wanted any more stays until Envoy lets go of it: something may still refer to it.
    const absent = this.#wildcard ? [] : names.filter((name) => !wanted.has(name) && !this.#sent.has(name));
    for (const name of absent) this.#sent.set(name, '');
    // Envoy waits for a first answer to a wildcard, also for an empty one.
    if (changed.length > 0 || absent.length > 0 || (this.#wildcard && this.#nonce === 0 && wanted.size === 0)) this.push(changed, absent);
  }

  /** Whether Envoy has, or was sent, this version of a name. */
  has(name: string, version: string): boolean {
    return this.#sent.get(name) === version;
  }

  /** Removes what Envoy has under a wildcard and should not. */
  sendRemoved(wanted: Resources): void {
    const gone = [...this.#sent.keys()].filter((name) => !wanted.has(name) && !this.#onDemand(name));
    if (gone.length > 0) this.push([], gone);
  }

  push(resources: readonly SentResource[], removed: readonly string[]): void {
    const nonce = `${++this.#nonce}`;
    for (const { name, version } of resources) this.#sent.set(name, version);
    for (const name of removed) if (this.#sent.get(name) !== '') this.#sent.delete(name);
    this.#pending.set(nonce, { resources, removed });
    this.#send({
      typeUrl: this.#type,
      nonce,
      resources: resources.map(({ name, version, body, ttlMs }) => ({
        name,
        version,
        resource: body,
        ...(ttlMs === undefined ? {} : { ttl: { seconds: BigInt(Math.max(1, Math.floor(ttlMs / 1000))) } }),
      })),
      removedResources: [...removed],
    });
    this.#pushed(resources);
  }

  /** Envoy has taken or refused every wanted resource. */
  settled(wanted: Resources): boolean {
    return [...wanted].every(([name, { version }]) => this.#acknowledged.get(name) === version || this.#rejected.get(name)?.version === version);
  }

  /** Envoy has taken every wanted resource and, under a wildcard, nothing else is left. */
  complete(wanted: Resources): boolean {
    if (![...wanted].every(([name, { version }]) => this.#acknowledged.get(name) === version)) return false;
    return !this.#wildcard || [...this.#acknowledged.keys()].every((name) => wanted.has(name) || this.#onDemand(name));
  }

  /** Why Envoy refused something of what is wanted now. */
  rejection(wanted: Resources): string | undefined {
    for (const [name, { version }] of wanted) {
      const rejected = this.#rejected.get(name);
      if (rejected?.version === version) return `${name}: ${rejected.message}`;
    }
    return undefined;
  }
}
