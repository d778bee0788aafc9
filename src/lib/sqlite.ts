import { DatabaseSync, type StatementSync } from 'node:sqlite';

/**
 * Opens (or makes) a database for a service that owns it alone: WAL, every commit durable (`synchronous=FULL`), migrations
 * applied in order inside one transaction. `migrations[n]` brings version n to n+1; never edit one that has been released.
 * Owners that share one file each give a `part`, under which their own version is counted.
 */
export const openDatabase = (path: string, migrations: readonly string[], part?: string): DatabaseSync => {
  const db = new DatabaseSync(path);
  // A checkpoint waits for the disk twice, whatever is in it: one for each 16 MiB of log instead of each 4.
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=2000; PRAGMA wal_autocheckpoint=4096;');
  const known = part === undefined ? fileVersion(db) : knownPart(db, part);
  // Nothing to do, nothing to write: a service starts on a full disk, too.
  if (known !== undefined && known >= migrations.length) return db;
  transaction(db, () => {
    const version = part === undefined ? fileVersion(db) : partVersion(db, part);
    for (const sql of migrations.slice(version)) db.exec(sql);
    const reached = Math.max(version, migrations.length);
    if (part === undefined) db.exec(`PRAGMA user_version = ${reached}`);
    else db.prepare('INSERT INTO schema_parts VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET version = excluded.version').run(part, reached);
  });
  return db;
};

const fileVersion = (db: DatabaseSync): number => (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;

const knownPart = (db: DatabaseSync, part: string): number | undefined =>
  db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'schema_parts'").get() && partVersion(db, part);

const partVersion = (db: DatabaseSync, part: string): number => {
  db.exec('CREATE TABLE IF NOT EXISTS schema_parts (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT');
  const row = db.prepare('SELECT version FROM schema_parts WHERE part = ?').get(part) as { version: number } | undefined;
  return row?.version ?? 0;
};

/** Prepared once: many transactions are so small that reading these two would be a good part of them. */
const prepared = new WeakMap<DatabaseSync, { readonly begin: StatementSync; readonly commit: StatementSync }>();
const statementsOf = (db: DatabaseSync) => {
  let statements = prepared.get(db);
  if (!statements) prepared.set(db, (statements = { begin: db.prepare('BEGIN IMMEDIATE'), commit: db.prepare('COMMIT') }));
  return statements;
};

/** Runs `work` in one transaction; a throw rolls it back. */
export const transaction = <T>(db: DatabaseSync, work: () => T): T => {
  const { begin, commit } = statementsOf(db);
  begin.run();
  try {
    const result = work();
    commit.run();
    return result;
  } catch (error) {
    // A full disk ends the transaction by itself (https://www.sqlite.org/lang_transaction.html, 3).
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
};

export type { DatabaseSync } from 'node:sqlite';
