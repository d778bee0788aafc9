import { apiVersionOf } from '#api';
import { messageOf, type Logger } from '#lib';
import { get, isObject } from '#admission';
import type { Objects } from './objects.ts';
import { FOREGROUND, PERMANENT_NAMESPACES } from './objects.ts';
import type { Catalogue, Served } from './catalogue.ts';
import type { Change, Location } from './store.ts';
import { resourceName } from './status.ts';

/**
 * Deletes in the background what nobody holds any more: dependents whose owners are gone, and what is in a namespace that is
 * being deleted. Work is found again at start, so a crash in between loses nothing.
 * Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 */
export class Collector {
  readonly #objects: Objects;
  readonly #log: Logger;
  readonly #served: ReadonlyMap<string, Served>;
  readonly #queue = new Map<string, Location>();
  readonly #unsubscribe: () => void;
  #scheduled: NodeJS.Immediate | undefined;

  constructor(objects: Objects, catalogue: Catalogue, log: Logger) {
    this.#objects = objects;
    this.#log = log;
    const stored = catalogue.groupVersions.flatMap(({ resources }) => resources).filter((served) => served.stored);
    this.#served = new Map(stored.map((served) => [resourceName(served), served]));
    this.#unsubscribe = objects.store.subscribe((change) => this.#look(change));
    for (const at of objects.store.owned()) this.#add(at);
    for (const { metadata } of objects.store.list('namespaces')) this.#add({ resource: 'namespaces', namespace: '', name: metadata.name });
  }

  close(): void {
    this.#unsubscribe();
    if (this.#scheduled) clearImmediate(this.#scheduled);
  }

  #look({ type, resource, namespace, name, object }: Change): void {
    const metadata = object['metadata'];
    if (type === 'DELETED') {
      for (const dependent of this.#objects.store.dependents(String(get(metadata, 'uid')))) this.#add(dependent);
      for (const owner of this.#ownersOf(object, namespace)) this.#add(owner);
      if (namespace) this.#add({ resource: 'namespaces', namespace: '', name: namespace });
    } else if (get(metadata, 'ownerReferences') || get(metadata, 'deletionTimestamp') || resource === 'namespaces') this.#add({ resource, namespace, name });
  }

  /** Where the owners of an object are, if they are of a kind that is served: one of them may wait for it. */
  #ownersOf(object: object, namespace: string): Location[] {
    const owners = get(get(object, 'metadata'), 'ownerReferences');
    if (!Array.isArray(owners)) return [];
    return owners.flatMap((owner): Location[] => {
      const served = [...this.#served.values()].find(
        (candidate) => apiVersionOf(candidate) === get(owner, 'apiVersion') && candidate.kind === get(owner, 'kind'),
      );
      const name = get(owner, 'name');
      return served && typeof name === 'string' ? [{ resource: resourceName(served), namespace: served.namespaced ? namespace : '', name }] : [];
    });
  }

  #add(at: Location): void {
    this.#queue.set(`${at.resource}/${at.namespace}/${at.name}`, at);
    this.#scheduled ??= setImmediate(() => this.#run());
  }

  #run(): void {
    this.#scheduled = undefined;
    const batch = [...this.#queue.values()];
    this.#queue.clear();
    for (const at of batch) {
      try {
        if (at.resource === 'namespaces') this.#finishNamespace(at);
        else this.#collect(at);
      } catch (error) {
        this.#log.error(`collecting ${at.resource} ${at.namespace}/${at.name} failed`, { err: error, cause: messageOf(error) });
      }
    }
  }

  #delete(at: Location, propagationPolicy: 'Background' | 'Foreground' = 'Background'): void {
    const kind = this.#served.get(at.resource)?.stored;
    if (kind) this.#objects.delete({ kind, namespace: at.namespace, name: at.name, subresource: '' }, { propagationPolicy, dryRun: false });
  }

  /** An owner that waits: its dependents go first, and it follows when none is left that holds it. */
  #finishForeground(at: Location, uid: string): void {
    const { store } = this.#objects;
    for (const dependent of store.dependents(uid)) if (!store.get(dependent)?.metadata['deletionTimestamp']) this.#delete(dependent, 'Foreground');
    const holds = store.dependents(uid).some((dependent) => {
      const owners = (store.get(dependent)?.metadata['ownerReferences'] ?? []) as readonly { readonly uid: string; readonly blockOwnerDeletion?: boolean }[];
      return owners.some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true);
    });
    if (!holds) this.#objects.dependentsGone(at);
  }

  #collect(at: Location): void {
    const { store } = this.#objects;
    const object = store.get(at);
    if (!object) return;
    if (object.metadata['deletionTimestamp']) {
      const finalizers = object.metadata['finalizers'];
      if (Array.isArray(finalizers) && finalizers.includes(FOREGROUND)) this.#finishForeground(at, object.metadata.uid);
      return;
    }
    const owners = ((object.metadata['ownerReferences'] ?? []) as { readonly uid: string }[]).filter(isObject).map(({ uid }) => uid);
    const gone = owners.filter((uid) => !store.has(uid));
    if (gone.length === 0) return;
    if (gone.length === owners.length) this.#delete(at);
    else store.put(at, this.#objects.disowned(object, gone));
  }

  #finishNamespace(at: Location): void {
    const { store } = this.#objects;
    const namespace = store.get(at);
    if (!namespace?.metadata['deletionTimestamp'] || PERMANENT_NAMESPACES.includes(at.name)) return;
    const content = store.inNamespace(at.name);
    if (content.length > 0) for (const inside of content) this.#delete(inside);
    else store.remove(at);
  }
}
