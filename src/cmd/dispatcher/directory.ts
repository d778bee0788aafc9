import { agentSandboxRevisions, taskAgents, workerPools, type KubeObject } from '#api';
import { messageOf, openDatabase, sleep, transaction, type DatabaseSync, type Logger } from '#lib';
import { createInformer, keyOf, type Client, type Informer, type ResourceKind } from '#kube';
import type { AgentDirectory, AgentView } from '#trigger';

const MIGRATIONS = [
  `CREATE TABLE cached_kinds (kind TEXT PRIMARY KEY) STRICT;
   CREATE TABLE cached_objects (kind TEXT NOT NULL REFERENCES cached_kinds, key TEXT NOT NULL, object TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT;`,
];

/** Changes are written to the cache together, within this time. */
const WRITE_AFTER_MS = 100;
/** How long a start waits for the API server when there is a cache to start from. */
const SYNC_WAIT_MS = 2_000;

/**
 * A kind as the API server has it, or, until it has answered for the first time, as it was last seen: the dispatcher starts and
 * goes on without the API server.
 */
class CachedKind<T extends KubeObject> implements AsyncDisposable {
  readonly #informer: Informer<T>;
  readonly #name: string;
  readonly #db: DatabaseSync;
  readonly #log: Logger;
  readonly #dirty = new Set<string>();
  readonly #last = new Map<string, T>();
  readonly #known: boolean;
  #synced = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(client: Client, kind: ResourceKind<T>, db: DatabaseSync, log: Logger, changed: () => void) {
    this.#name = kind.plural;
    this.#db = db;
    this.#log = log;
    this.#known = db.prepare('SELECT 1 FROM cached_kinds WHERE kind = ?').get(this.#name) !== undefined;
    for (const row of db.prepare('SELECT key, object FROM cached_objects WHERE kind = ?').all(this.#name)) {
      this.#last.set(row['key'] as string, JSON.parse(row['object'] as string) as T);
    }
    this.#informer = createInformer(client, kind, { log });
    this.#informer.onChange((key) => {
      if (this.#synced) this.#write(key);
      changed();
    });
  }

  /** Resolves when there is something to answer from: the server's objects, or for a known cache what it holds. */
  async ready(): Promise<void> {
    const synced = this.#informer.synced.then(() => {
      this.#synced = true;
      this.#replace();
      this.#last.clear();
    });
    if (!this.#known) return synced;
    await Promise.race([synced, sleep(SYNC_WAIT_MS)]);
    synced.catch(() => {});
    if (!this.#synced) this.#log.warn('the API server does not answer; starting from the cache', { kind: this.#name, objects: this.#last.size });
  }

  get(namespace: string, name: string): T | undefined {
    return this.#synced ? this.#informer.get(namespace, name) : this.#last.get(`${namespace}/${name}`);
  }

  /** The whole kind, after the first list. */
  #replace(): void {
    this.#save(() => {
      this.#db.prepare('INSERT OR IGNORE INTO cached_kinds VALUES (?)').run(this.#name);
      this.#db.prepare('DELETE FROM cached_objects WHERE kind = ?').run(this.#name);
      for (const object of this.#informer.list()) this.#store(keyOf(object), object);
    });
  }

  #write(key: string): void {
    this.#dirty.add(key);
    this.#timer ??= setTimeout(() => this.#flush(), WRITE_AFTER_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#save(() => {
      for (const key of this.#dirty) {
        const at = key.indexOf('/');
        const object = this.#informer.get(key.slice(0, at), key.slice(at + 1));
        if (object) this.#store(key, object);
        else this.#db.prepare('DELETE FROM cached_objects WHERE kind = ? AND key = ?').run(this.#name, key);
      }
    });
    this.#dirty.clear();
  }

  #store(key: string, object: T): void {
    this.#db.prepare('INSERT OR REPLACE INTO cached_objects VALUES (?, ?, ?)').run(this.#name, key, JSON.stringify(object));
  }

  /** A cache that cannot be written makes the next start slower, nothing else. */
  #save(work: () => void): void {
    try {
      transaction(this.#db, work);
    } catch (error) {
      this.#log.warn(`the cache cannot be written: ${messageOf(error)}`, { kind: this.#name });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#informer[Symbol.asyncDispose]();
    if (this.#timer) this.#flush();
  }
}

export interface Directory extends AgentDirectory, AsyncDisposable {
  /** Called after changes of anything in here; those of the same moment are one. */
  onChange(listener: () => void): void;
}

/** Agents, their revisions and pools, followed over `client` and kept in the database at `path`. Resolves when it can answer. */
export const openDirectory = async (path: string, client: Client, log: Logger): Promise<Directory> => {
  await using opened = new AsyncDisposableStack();
  const db = openDatabase(path, MIGRATIONS, 'agents');
  // What a power cut takes of a cache is read again; a sync for each status that changes would hold up runs.
  db.exec('PRAGMA synchronous=NORMAL');
  opened.defer(() => db.close());
  let listener: () => void = () => {};
  let due: NodeJS.Immediate | undefined;
  opened.defer(() => clearImmediate(due));
  const changed = (): void => {
    due ??= setImmediate(() => {
      due = undefined;
      listener();
    });
  };
  const agents = opened.use(new CachedKind(client, taskAgents, db, log, changed));
  const revisions = opened.use(new CachedKind(client, agentSandboxRevisions, db, log, changed));
  const pools = opened.use(new CachedKind(client, workerPools, db, log, changed));
  await Promise.all([agents.ready(), revisions.ready(), pools.ready()]);

  const get = (namespace: string, name: string): AgentView | undefined => {
    const agent = agents.get(namespace, name);
    if (!agent || agent.metadata.deletionTimestamp) return undefined;
    const revision = revisions.get(namespace, agent.spec.revisionName ?? agent.status?.latestReadyRevisionName ?? '');
    const pool = pools.get(namespace, agent.spec.workerPoolRef);
    return { agent, ...(revision && { revision }), ...(pool && { pool }) };
  };
  const all = opened.move();
  return { get, onChange: (to) => (listener = to), [Symbol.asyncDispose]: () => all.disposeAsync() };
};
