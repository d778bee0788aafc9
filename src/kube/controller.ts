import type { KubeObject } from '#api';
import { canonicalJson, KeyedQueue, messageOf, type Logger, type Next } from '#lib';
import { isConflict } from './api-error.ts';
import { keyOf, type Informer } from './informer.ts';

/** What wakes a controller: changes of a kind, mapped to the keys that must be looked at again. */
export interface Source {
  readonly synced: Promise<void>;
  start(enqueue: (key: string) => void): () => void;
}

/** Whether what a user wrote changed: not for a change of status alone, which the writer of that status need not hear of. */
export const specChanged = (current: KubeObject | undefined, previous: KubeObject | undefined): boolean =>
  current?.metadata.generation === undefined ||
  current.metadata.generation !== previous?.metadata.generation ||
  current.metadata.uid !== previous.metadata.uid ||
  current.metadata.deletionTimestamp !== previous.metadata.deletionTimestamp;

/** Whether an object came or went: all that matters to those who refer to it by name. */
export const existenceChanged = (current: KubeObject | undefined, previous: KubeObject | undefined): boolean => !current || !previous;

/** Whether an object came, went or was labelled anew. */
export const labelsChanged = (current: KubeObject | undefined, previous: KubeObject | undefined): boolean =>
  !current || !previous || canonicalJson(current.metadata.labels ?? {}) !== canonicalJson(previous.metadata.labels ?? {});

/**
 * Every object of `informer`, now and whenever it changes; `keys` says what to reconcile, the object itself by default, and
 * `when` which changes count.
 */
export const watches = <T extends KubeObject>(
  informer: Informer<T>,
  keys: (object: T) => readonly string[] = (object) => [keyOf(object)],
  when: (current: T | undefined, previous: T | undefined) => boolean = () => true,
): Source => ({
  synced: informer.synced,
  start(enqueue) {
    for (const object of informer.list()) keys(object).forEach(enqueue);
    return informer.onChange((_, current, previous) => {
      if (!when(current, previous)) return;
      // Both, because an object that changed its reference matters to the old target and the new one. Each key once: the first
      // may start a run at once, and the second would ask for another.
      for (const key of new Set([previous, current].flatMap((object) => (object ? keys(object) : [])))) enqueue(key);
    });
  },
});

/** Keys from anything that is not a kind; `subscribe` calls back for each and answers how to stop. */
export const signals = (subscribe: (enqueue: (key: string) => void) => () => void): Source => ({ synced: Promise.resolve(), start: subscribe });

export interface ControllerOptions {
  readonly name: string;
  readonly log: Logger;
  readonly sources: readonly Source[];
  /** Further caches that `reconcile` reads and that do not wake it. */
  readonly needs?: readonly { readonly synced: Promise<void> }[];
  /** Level-triggered: brings the world of `key` from whatever it is to what it should be. A throw is retried with back-off. */
  reconcile(key: string, signal: AbortSignal): Promise<Next>;
  readonly concurrency?: number;
}

/** Runs `reconcile` for every key its sources name, after all caches are filled. A key never runs twice at a time. */
export const createController = ({ name, log: parent, sources, needs = [], reconcile, concurrency = 4 }: ControllerOptions): AsyncDisposable => {
  const log = parent.with({ controller: name });
  const queue = new KeyedQueue({
    handle: reconcile,
    concurrency,
    // Losing a race is ordinary: the newer state is on its way and the key runs again.
    onError: (key, error) => log[isConflict(error) ? 'debug' : 'warn'](`reconcile of ${key} failed, it will be retried: ${messageOf(error)}`),
  });
  const stops: (() => void)[] = [];
  let ended = false;
  void Promise.all([...sources, ...needs].map(({ synced }) => synced)).then(
    () => {
      if (!ended) for (const source of sources) stops.push(source.start((key) => queue.add(key)));
    },
    () => {},
  );
  return {
    async [Symbol.asyncDispose]() {
      ended = true;
      for (const stop of stops) stop();
      await queue[Symbol.asyncDispose]();
    },
  };
};
