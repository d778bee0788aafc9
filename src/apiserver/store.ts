import { closeSync, openSync } from 'node:fs';
import { openDatabase, transaction, type DatabaseSync } from '#lib';
import type { JsonObject } from '#admission';

/** Objects in SQLite: one writer, one resourceVersion that only grows, and a bounded log of changes for watches. */

const MIGRATIONS = [
  `CREATE TABLE objects (
     resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
     uid TEXT NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (resource, namespace, name)
   ) WITHOUT ROWID;
   CREATE TABLE owners (
     owner TEXT NOT NULL, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
     PRIMARY KEY (owner, resource, namespace, name)
   ) WITHOUT ROWID;
   CREATE INDEX owners_by_object ON owners (resource, namespace, name);
   CREATE TABLE changes (
     version INTEGER PRIMARY KEY AUTOINCREMENT,
     resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
     type TEXT NOT NULL, body TEXT NOT NULL, labels_before TEXT
   );`,
];

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** Where an object is: `resource` is `taskagents.clrk.apoxy.dev`; namespace is empty for cluster-wide kinds. */
export interface Location {
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
}

export interface Change extends Location {
  readonly version: number;
  readonly type: ChangeType;
  readonly object: JsonObject;
  /** Labels before the change, so that a watch by label can tell who left; undefined for ADDED. */
  readonly labelsBefore: JsonObject | undefined;
}

export interface StoredObject extends JsonObject {
  readonly metadata: JsonObject & { readonly name: string; readonly uid: string; readonly resourceVersion: string };
}

/** A page of a list: names after `after`, in order. */
export interface ListQuery {
  readonly namespace?: string;
  readonly name?: string;
  /** `namespace/name` of the last object of the page before. */
  readonly after?: { readonly namespace: string; readonly name: string };
  readonly limit?: number;
}

interface Row {
  readonly namespace: string;
  readonly name: string;
  readonly body: string;
}

const parse = (body: string): StoredObject => JSON.parse(body) as StoredObject;
const labelsOf = (object: StoredObject): JsonObject => (object.metadata['labels'] as JsonObject | undefined) ?? {};

export class Store {
  readonly #db: DatabaseSync;
  readonly #keep: number;
  readonly #listeners = new Set<(change: Change) => void>();
  /** Changes of the transaction that is open, told to listeners once it is durable. */
  #pending: Change[] | undefined;
  #version: number;
  #oldest: number;
  readonly #statements;

  /** `keep`: how many changes a watch can go back. */
  constructor(path: string, keep = 10_000) {
    // Secrets are in it, so nobody else may read it; SQLite gives its other files the same mode.
    closeSync(openSync(path, 'a', 0o600));
    this.#db = openDatabase(path, MIGRATIONS);
    this.#keep = keep;
    const prepare = (sql: string) => this.#db.prepare(sql);
    this.#statements = {
      get: prepare('SELECT body FROM objects WHERE resource = ? AND namespace = ? AND name = ?'),
      put: prepare(
        'INSERT INTO objects (resource, namespace, name, uid, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET uid = excluded.uid, body = excluded.body',
      ),
      remove: prepare('DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?'),
      change: prepare('INSERT INTO changes (version, resource, namespace, name, type, body, labels_before) VALUES (?, ?, ?, ?, ?, ?, ?)'),
      compact: prepare('DELETE FROM changes WHERE version <= ?'),
      since: prepare('SELECT * FROM changes WHERE version > ? AND resource = ? ORDER BY version'),
      disown: prepare('DELETE FROM owners WHERE resource = ? AND namespace = ? AND name = ?'),
      own: prepare('INSERT INTO owners (owner, resource, namespace, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING'),
      dependents: prepare('SELECT resource, namespace, name FROM owners WHERE owner = ?'),
      byUid: prepare('SELECT 1 FROM objects WHERE uid = ? LIMIT 1'),
      owned: prepare('SELECT DISTINCT resource, namespace, name FROM owners'),
      inNamespace: prepare('SELECT resource, namespace, name FROM objects WHERE namespace = ?'),
    };
    const { top } = prepare("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0) AS top").get() as { top: number };
    const { low } = prepare('SELECT coalesce(min(version) - 1, ?) AS low FROM changes').get(top) as { low: number };
    this.#version = top;
    this.#oldest = low;
  }

  /** The version of the last change. */
  get version(): number {
    return this.#version;
  }

  /** The oldest version a watch can start at. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Runs `work` in one durable transaction; listeners hear of its changes after it is committed, in order. */
  write<T>(work: () => T): T {
    if (this.#pending) return work();
    const before = this.#version;
    this.#pending = [];
    let changes: Change[];
    let result: T;
    try {
      result = transaction(this.#db, work);
      changes = this.#pending;
    } catch (error) {
      this.#version = before;
      throw error;
    } finally {
      this.#pending = undefined;
    }
    for (const change of changes) for (const listener of this.#listeners) listener(change);
    return result;
  }

  get(at: Location): StoredObject | undefined {
    const row = this.#statements.get.get(at.resource, at.namespace, at.name) as { body: string } | undefined;
    return row && parse(row.body);
  }

  /** Stores `object` under a new resourceVersion and returns it as stored. */
  put(at: Location, object: JsonObject): StoredObject {
    return this.write(() => {
      const old = this.get(at);
      const version = ++this.#version;
      const stored = { ...object, metadata: { ...(object['metadata'] as JsonObject), resourceVersion: String(version) } } as unknown as StoredObject;
      const body = JSON.stringify(stored);
      this.#statements.put.run(at.resource, at.namespace, at.name, stored.metadata.uid, body);
      this.#setOwners(at, stored);
      this.#record({ ...at, version, type: old ? 'MODIFIED' : 'ADDED', object: stored, labelsBefore: old && labelsOf(old) }, body);
      return stored;
    });
  }

  /** Removes an object; its last state (`state`, or what is stored), with the version of the removal, is what watches see. */
  remove(at: Location, state?: JsonObject): StoredObject | undefined {
    return this.write(() => {
      const old = this.get(at);
      if (!old) return undefined;
      const version = ++this.#version;
      const shown = (state ?? old) as StoredObject;
      const last = { ...shown, metadata: { ...shown.metadata, resourceVersion: String(version) } };
      this.#statements.remove.run(at.resource, at.namespace, at.name);
      this.#statements.disown.run(at.resource, at.namespace, at.name);
      this.#record({ ...at, version, type: 'DELETED', object: last, labelsBefore: labelsOf(old) }, JSON.stringify(last));
      return last;
    });
  }

  list(resource: string, { namespace, name, after, limit }: ListQuery = {}): StoredObject[] {
    const conditions: [string, ...string[]][] = [['resource = ?', resource]];
    if (namespace) conditions.push(['namespace = ?', namespace]);
    if (name) conditions.push(['name = ?', name]);
    if (after) conditions.push(['(namespace, name) > (?, ?)', after.namespace, after.name]);
    const where = conditions.map(([condition]) => condition).join(' AND ');
    const values = conditions.flatMap(([, ...operands]) => operands);
    const sql = `SELECT namespace, name, body FROM objects WHERE ${where} ORDER BY namespace, name${limit ? ' LIMIT ?' : ''}`;
    const rows = this.#db.prepare(sql).all(...values, ...(limit ? [limit] : [])) as unknown as Row[];
    return rows.map(({ body }) => parse(body));
  }

  /** Changes of a resource after `version`, or undefined when the log does not go back that far. */
  since(resource: string, version: number): Change[] | undefined {
    if (version < this.#oldest) return undefined;
    const rows = this.#statements.since.all(version, resource) as unknown as {
      version: number;
      namespace: string;
      name: string;
      type: ChangeType;
      body: string;
      labels_before: string | null;
    }[];
    return rows.map((row) => ({
      version: row.version,
      resource,
      namespace: row.namespace,
      name: row.name,
      type: row.type,
      object: parse(row.body),
      labelsBefore: row.labels_before === null ? undefined : (JSON.parse(row.labels_before) as JsonObject),
    }));
  }

  /** Objects that name `uid` as an owner. */
  dependents(uid: string): Location[] {
    return this.#statements.dependents.all(uid) as unknown as Location[];
  }

  /** Objects that have an owner. */
  owned(): Location[] {
    return this.#statements.owned.all() as unknown as Location[];
  }

  has(uid: string): boolean {
    return this.#statements.byUid.get(uid) !== undefined;
  }

  inNamespace(namespace: string): Location[] {
    return this.#statements.inNamespace.all(namespace) as unknown as Location[];
  }

  /** Calls `listener` with every change from now on; returns how to stop. */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#db.close();
  }

  #setOwners(at: Location, object: StoredObject): void {
    this.#statements.disown.run(at.resource, at.namespace, at.name);
    for (const { uid } of (object.metadata['ownerReferences'] as { uid: string }[] | undefined) ?? []) {
      this.#statements.own.run(uid, at.resource, at.namespace, at.name);
    }
  }

  #record(change: Change, body: string): void {
    const { version, resource, namespace, name, type, labelsBefore } = change;
    this.#statements.change.run(version, resource, namespace, name, type, body, labelsBefore ? JSON.stringify(labelsBefore) : null);
    // Compacting in steps keeps most writes to one row.
    if (version - this.#oldest > this.#keep * 1.1) {
      this.#oldest = version - this.#keep;
      this.#statements.compact.run(this.#oldest);
    }
    this.#pending!.push(change);
  }
}
