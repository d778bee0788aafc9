import { messageOf, type Logger } from '#lib';
import { get, isObject } from './json.ts';
import type { Objects } from './objects.ts';
import { PERMANENT_NAMESPACES } from './objects.ts';
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
      if (namespace) this.#add({ resource: 'namespaces', namespace: '', name: namespace });
    } else if (get(metadata, 'ownerReferences') || resource === 'namespaces') this.#add({ resource, namespace, name });
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

  #delete(at: Location): void {
    const kind = this.#served.get(at.resource)?.stored;
    if (kind) this.#objects.delete({ kind, namespace: at.namespace, name: at.name, subresource: '' }, { propagationPolicy: 'Background', dryRun: false });
  }

  #collect(at: Location): void {
    const { store } = this.#objects;
    const object = store.get(at);
    if (!object || object.metadata['deletionTimestamp']) return;
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
