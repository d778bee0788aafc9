import type { Logger } from '#lib';
import type { DeltaDiscoveryRequest, DeltaResponse } from '#wire/xds';
import type { Leaf } from '../leaves.ts';
import type { Endpoints, Upstreams } from '../upstreams.ts';
import { isVerdictName } from '../verdicts/key.ts';
import type { Rejudged, Verdicts } from '../verdicts/verdicts.ts';
import { encodeLeaf, TYPE, type Snapshot, type TypeUrl, type VersionedResource } from './snapshot.ts';
import { Subscription, type SentResource } from './subscription.ts';

/** What a stream answers Envoy's own questions from. */
export interface StreamSources {
  leaf(name: string): Promise<{ leaf: Leaf; ttlMs: number } | undefined>;
  isCurrent(name: string, version: string): boolean;
  readonly verdicts: Pick<Verdicts, 'ask' | 'resume'>;
  readonly upstreams: Pick<Upstreams, 'subscribe'>;
  /** What a service leads to turned forbidden, or may be dialled again: changes what was decided on it. */
  readonly turned: (service: string) => void;
  readonly log: Logger;
}

/** Secrets of the snapshot; any other is a leaf. SNI names never contain a colon. */
const OURS = /^(?:cred|ca):/;

/** Names that are made when Envoy asks for them. */
const ON_DEMAND: Readonly<Partial<Record<TypeUrl, (name: string) => boolean>>> = {
  [TYPE.cluster]: isVerdictName,
  [TYPE.endpoint]: () => true,
  [TYPE.secret]: (name) => !OURS.test(name),
};

interface Change {
  readonly waiting: Set<string>;
  readonly done: () => void;
}

/** One delta ADS stream. */
export class NodeStream {
  readonly #types = new Map<TypeUrl, Subscription>();
  readonly #send: (response: DeltaResponse) => void;
  readonly #sources: StreamSources;
  readonly #endpoints = new Map<string, Disposable>();
  /** Endpoints as they were told last, by service. */
  readonly #told = new Map<string, VersionedResource>();
  /** Changes of verdicts that Envoy has not taken in full. */
  readonly #changes = new Set<Change>();
  #closed = false;

  constructor(send: (response: DeltaResponse) => void, sources: StreamSources) {
    this.#send = send;
    this.#sources = sources;
  }

  close(): void {
    this.#closed = true;
    for (const watching of this.#endpoints.values()) watching[Symbol.dispose]();
    this.#endpoints.clear();
    for (const { done } of this.#changes) done();
    this.#changes.clear();
  }

  handle(request: DeltaDiscoveryRequest): void {
    const type = request.typeUrl as TypeUrl;
    let subscription = this.#types.get(type);
    const isFirst = !subscription;
    if (!subscription) {
      const onDemand = ON_DEMAND[type] ?? (() => false);
      const pushed = type === TYPE.cluster ? (clusters: readonly SentResource[]) => this.#warm(clusters) : undefined;
      subscription = new Subscription(type, type === TYPE.cluster || type === TYPE.listener, onDemand, this.#send, pushed);
      this.#types.set(type, subscription);
      subscription.resume(request.initialResourceVersions);
    }
    const { taken, rejected } = subscription.answered(request.responseNonce, request.errorDetail?.message);
    const asked = subscription.subscribe(request.resourceNamesSubscribe, request.resourceNamesUnsubscribe);
    const resumed = new Map(Object.entries(request.initialResourceVersions));
    if (type === TYPE.secret) this.#secrets(subscription, asked, rejected, resumed, request.errorDetail?.message);
    else if (type === TYPE.endpoint) this.#endpointsOf(subscription, asked, request.resourceNamesUnsubscribe);
    else if (type === TYPE.cluster) {
      if (isFirst) this.#sources.verdicts.resume(asked.filter(isVerdictName));
      this.#verdicts(subscription, asked, resumed, [...taken, ...rejected]);
      this.#refused(subscription, rejected.filter(isVerdictName), request.errorDetail?.message);
    }
  }

  #secrets(subscription: Subscription, asked: readonly string[], rejected: readonly string[], resumed: ReadonlyMap<string, string>, error?: string): void {
    for (const name of rejected.filter((name) => !OURS.test(name))) {
      this.#sources.log.error('Envoy rejected a leaf', { name, error });
      subscription.push([], [name]); // else the name stays stuck in Envoy
    }
    for (const name of asked.filter((name) => !OURS.test(name))) {
      const version = resumed.get(name);
      if (version !== undefined && this.#sources.isCurrent(name, version)) continue;
      void this.#answerLeaf(subscription, name);
    }
  }

  /** Every question gets an answer: a leaf, or that there is none (which fails the handshake at once). */
  async #answerLeaf(subscription: Subscription, name: string): Promise<void> {
    const found = await this.#sources.leaf(name).catch((error: unknown) => {
      this.#sources.log.error('cannot make a leaf', { name, err: error });
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

  #endpointsOf(subscription: Subscription, asked: readonly string[], given: readonly string[]): void {
    for (const name of given) {
      this.#endpoints.get(name)?.[Symbol.dispose]();
      this.#endpoints.delete(name);
      this.#told.delete(name);
    }
    for (const name of asked) {
      this.#endpoints.get(name)?.[Symbol.dispose]();
      const tell = ({ version, body, turned }: Endpoints): void => {
        if (this.#closed) return;
        this.#told.set(name, { version, body });
        // Before the endpoints: whoever waits for them must find the reason why there are none.
        if (turned) this.#sources.turned(name);
        if (!subscription.has(name, version)) subscription.push([{ name, version, body }], []);
      };
      this.#endpoints.set(name, this.#sources.upstreams.subscribe(name, tell));
    }
  }

  /** A cluster that comes anew waits for endpoints, which Envoy does not ask for again when it has them. */
  #warm(clusters: readonly SentResource[]): void {
    const endpoints = this.#types.get(TYPE.endpoint);
    const due = [...new Set(clusters.flatMap(({ service }) => service ?? []))].flatMap((name) => {
      const told = this.#told.get(name);
      return told && endpoints?.names.has(name) ? [{ name, ...told }] : [];
    });
    if (due.length > 0) endpoints!.push(due, []);
  }

  #verdicts(subscription: Subscription, asked: readonly string[], resumed: ReadonlyMap<string, string>, answered: readonly string[]): void {
    for (const change of this.#changes) {
      for (const name of answered) change.waiting.delete(name);
      if (change.waiting.size > 0) continue;
      this.#changes.delete(change);
      change.done();
    }
    const answers = asked.filter(isVerdictName).map((name) => ({ name, resource: this.#sources.verdicts.ask(name) }));
    const found = answers.flatMap(({ name, resource }) => (resource && resource.version !== resumed.get(name) ? [{ name, ...resource }] : []));
    const absent = answers.flatMap(({ name, resource }) => (resource ? [] : [name]));
    if (found.length + absent.length > 0) subscription.push(found, absent);
  }

  /** A verdict that Envoy refuses must not leave the one before in force. */
  #refused(subscription: Subscription, names: readonly string[], error: string | undefined): void {
    if (names.length === 0) return;
    this.#sources.log.error('Envoy rejected verdicts', { names: names.slice(0, 8), error });
    subscription.push([], names);
  }

  /** Sends verdicts that are other ones now; resolves when Envoy has taken them. */
  async sendVerdicts(changed: Rejudged['changed']): Promise<void> {
    const clusters = this.#types.get(TYPE.cluster);
    const due = changed.filter(({ name }) => clusters?.names.has(name));
    if (!clusters || due.length === 0) return;
    clusters.push(
      due.map(({ name, resource }) => ({ name, ...resource })),
      [],
    );
    await new Promise<void>((done) => this.#changes.add({ waiting: new Set(due.map(({ name }) => name)), done }));
  }

  removeVerdicts(names: readonly string[]): void {
    if (names.length > 0) this.#types.get(TYPE.cluster)?.push([], names);
  }

  /** Sends what is due. Called after everything that may have made something due. */
  flush(snapshot: Snapshot): void {
    const { resources } = snapshot;
    const of = (type: TypeUrl): Subscription | undefined => this.#types.get(type);
    of(TYPE.cluster)?.sendChanged(resources[TYPE.cluster]);
    of(TYPE.secret)?.sendChanged(new Map([...snapshot.verdictSecrets, ...resources[TYPE.secret]]));
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

  progress({ resources, verdictSecrets }: Snapshot): { readonly complete: boolean; readonly error: string } {
    const secrets = this.#types.get(TYPE.secret);
    // Waited for only once a verdict has made Envoy ask for them.
    const asked = new Map([...verdictSecrets].filter(([name]) => secrets?.names.has(name)));
    const errors = [...Object.values(TYPE).map((type) => this.#types.get(type)?.rejection(resources[type])), secrets?.rejection(asked)].filter(
      (error) => error !== undefined,
    );
    const complete =
      this.#changes.size === 0 &&
      (asked.size === 0 || secrets!.complete(asked)) &&
      Object.values(TYPE).every((type) => resources[type].size === 0 || (this.#types.get(type)?.complete(resources[type]) ?? false));
    return { complete, error: errors.join('; ') };
  }
}
