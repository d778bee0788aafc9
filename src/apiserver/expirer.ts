import type { Kind } from '#api';
import type { Clock, Logger } from '#lib';
import { get } from '#admission';
import type { Objects } from './objects.ts';
import { resourceName } from './status.ts';
import type { StoredObject } from './store.ts';

const EVERY_MS = 60_000;

/** When an object was last written, by this server's own clock. */
const lastWrite = ({ metadata }: StoredObject): number => {
  const managed = Array.isArray(metadata['managedFields']) ? metadata['managedFields'].map((entry) => get(entry, 'time')) : [];
  return Math.max(...[metadata['creationTimestamp'], ...managed].map((time) => Date.parse(String(time))).filter((time) => !Number.isNaN(time)), 0);
};

/** Removes objects of kinds with a time to live (Events) once they have not been written for that long. */
export class Expirer {
  readonly #objects: Objects;
  readonly #kinds: readonly Kind[];
  readonly #clock: Clock;
  readonly #timer: NodeJS.Timeout;

  constructor(objects: Objects, kinds: readonly Kind[], clock: Clock, log: Logger) {
    this.#objects = objects;
    this.#kinds = kinds.filter(({ ttlSeconds }) => ttlSeconds !== undefined);
    this.#clock = clock;
    const expire = (): void => {
      try {
        this.expire();
      } catch (error) {
        log.error('expired objects cannot be removed', { err: error });
      }
    };
    expire();
    this.#timer = setInterval(expire, EVERY_MS).unref();
  }

  expire(): void {
    const { store } = this.#objects;
    for (const kind of this.#kinds) {
      const oldest = this.#clock.now() - kind.ttlSeconds! * 1000;
      const resource = resourceName(kind);
      const expired = store.list(resource).filter((object) => lastWrite(object) < oldest);
      if (expired.length === 0) continue;
      store.write(() => {
        for (const { metadata } of expired) store.remove({ resource, namespace: String(metadata['namespace'] ?? ''), name: metadata.name });
      });
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
