import type { KubeObject } from '#api';
import { backoffMs, messageOf, sleep, type Logger } from '#lib';
import { isExpired } from './api-error.ts';
import type { Client } from './client.ts';
import type { ResourceKind } from './paths.ts';

/** `namespace/name`, or the name alone for kinds without namespace. */
export const keyOf = ({ metadata }: KubeObject): string => (metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name);

/** The two halves of a key. */
export const splitKey = (key: string): { namespace: string; name: string } => {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, Math.max(slash, 0)), name: key.slice(slash + 1) };
};

/** `current` is undefined when the object is gone, `previous` when it is new. */
export type ChangeListener<T> = (key: string, current: T | undefined, previous: T | undefined) => void;

/** A local copy of all objects of a kind that follows the server. Objects are shared: never change one. */
export interface Informer<T extends KubeObject = KubeObject> extends AsyncDisposable {
  readonly kind: ResourceKind<T>;
  /** Resolves when the first list is in the store; rejects when the informer is ended before. */
  readonly synced: Promise<void>;
  get(namespace: string, name: string): T | undefined;
  list(namespace?: string): readonly T[];
  /** Objects for which index `name` has `value`. */
  index(name: string, value: string): readonly T[];
  /** Called synchronously after the store changed; what is there already is not reported. The answer stops it. */
  onChange(listener: ChangeListener<T>): () => void;
}

export interface InformerOptions<T> {
  readonly signal?: AbortSignal;
  readonly log: Logger;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Index name -> the values an object is found under. */
  readonly indexes?: Readonly<Record<string, (object: T) => readonly string[]>>;
}

/** Objects by key, with indexes kept on every change. */
class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #functions: Readonly<Record<string, (object: T) => readonly string[]>>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();

  constructor(functions: Readonly<Record<string, (object: T) => readonly string[]>>) {
    this.#functions = { namespace: ({ metadata }) => [metadata.namespace ?? ''], ...functions };
    for (const name of Object.keys(this.#functions)) this.#indexes.set(name, new Map());
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  keys(): string[] {
    return [...this.#objects.keys()];
  }

  all(): T[] {
    return [...this.#objects.values()];
  }

  set(key: string, object: T | undefined): void {
    const old = this.#objects.get(key);
    for (const [name, values] of Object.entries(this.#functions)) {
      const index = this.#indexes.get(name)!;
      for (const value of old ? values(old) : []) {
        index.get(value)?.delete(key);
        if (index.get(value)?.size === 0) index.delete(value);
      }
      for (const value of object ? values(object) : []) index.set(value, (index.get(value) ?? new Set()).add(key));
    }
    if (object) this.#objects.set(key, object);
    else this.#objects.delete(key);
  }

  index(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (!index) throw new Error(`there is no index ${name}`);
    return [...(index.get(value) ?? [])].map((key) => this.#objects.get(key)!);
  }
}

/**
 * Starts following a kind: list, then watch from its version; reconnect from the last version seen, list again when that is
 * too old (410), back off (50 ms to 5 s) while the server is away. The store keeps its content meanwhile.
 */
export const createInformer = <T extends KubeObject>(client: Client, kind: ResourceKind<T>, options: InformerOptions<T>): Informer<T> => {
  const abort = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal;
  const log = options.log.with({ kind: kind.kind });
  const store = new Store<T>(options.indexes ?? {});
  const listeners = new Set<ChangeListener<T>>();
  const synced = Promise.withResolvers<void>();
  synced.promise.catch(() => {});
  const scope = {
    signal,
    ...(options.namespace !== undefined && { namespace: options.namespace }),
    ...(options.labelSelector !== undefined && { labelSelector: options.labelSelector }),
    ...(options.fieldSelector !== undefined && { fieldSelector: options.fieldSelector }),
  };

  /** Stores a change and answers what to tell; undefined when it is no news. */
  const put = (key: string, object: T | undefined): (() => void) | undefined => {
    const previous = store.get(key);
    const same = object && previous?.metadata.resourceVersion === object.metadata.resourceVersion && previous?.metadata.uid === object.metadata.uid;
    if (same || (!object && !previous)) return undefined;
    store.set(key, object);
    return () => {
      for (const listener of listeners) listener(key, object, previous);
    };
  };

  const relist = async (): Promise<string> => {
    const { items, metadata } = await client.list(kind, scope);
    const present = new Map(items.map((item) => [keyOf(item), item]));
    const gone = store.keys().filter((key) => !present.has(key));
    // Everything is stored before anybody is told: a half-replaced store must not be acted on.
    const news = [...[...present].map(([key, item]) => put(key, item)), ...gone.map((key) => put(key, undefined))];
    for (const tell of news) tell?.();
    synced.resolve();
    return metadata.resourceVersion ?? '';
  };

  const follow = async (): Promise<void> => {
    let version: string | undefined;
    for (let failures = 0; !signal.aborted;) {
      const since = performance.now();
      try {
        version ??= await relist();
        for await (const { type, object } of client.watch(kind, { ...scope, resourceVersion: version })) {
          failures = 0;
          version = object.metadata.resourceVersion ?? version;
          if (type !== 'BOOKMARK') put(keyOf(object), type === 'DELETED' ? undefined : object)?.();
        }
        // A server that ends watches at once must not be asked in a tight loop.
        if (performance.now() - since < 1_000) await sleep(backoffMs(failures++), signal);
      } catch (error) {
        if (signal.aborted) break;
        if (isExpired(error)) version = undefined;
        else log.debug('watch interrupted', { cause: messageOf(error) });
        await sleep(backoffMs(failures++, { firstMs: 50, maxMs: 5_000, factor: 2 }), signal).catch(() => {});
      }
    }
    synced.reject(new Error('the informer was ended before its first list'));
  };
  const loop = follow().catch(() => {});

  return {
    kind,
    synced: synced.promise,
    get: (namespace, name) => store.get(namespace ? `${namespace}/${name}` : name),
    list: (namespace) => (namespace === undefined ? store.all() : store.index('namespace', namespace)),
    index: (name, value) => store.index(name, value),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async [Symbol.asyncDispose]() {
      abort.abort(new Error('the informer ended'));
      await loop;
    },
  };
};
