import { DatabaseSync } from 'node:sqlite';

/**
 * Opens (or makes) a database for a service that owns it alone: WAL, every commit durable (`synchronous=FULL`), migrations
 * applied in order inside one transaction. `migrations[n]` brings version n to n+1; never edit one that has been released.
 */
export const openDatabase = (path: string, migrations: readonly string[]): DatabaseSync => {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=2000;');
  transaction(db, () => {
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
    for (const sql of migrations.slice(version)) db.exec(sql);
    db.exec(`PRAGMA user_version = ${Math.max(version, migrations.length)}`);
  });
  return db;
};

/** Runs `work` in one transaction; a throw rolls it back. */
export const transaction = <T>(db: DatabaseSync, work: () => T): T => {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    db.exec('ROLLBACK');
    throw error;
  }
};

export type { DatabaseSync } from 'node:sqlite';
