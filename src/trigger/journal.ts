import { AsyncQueue, messageOf, openDatabase, systemClock, transaction, type Clock, type DatabaseSync, type Logger } from '#lib';
import { isTerminal, NEXT_PHASES, type Invocation, type InvocationFilter, type Phase } from '#model';

const MIGRATIONS = [
  `CREATE TABLE invocations (
     seq INTEGER PRIMARY KEY,
     id TEXT NOT NULL UNIQUE,
     namespace TEXT NOT NULL,
     agent TEXT NOT NULL,
     finished INTEGER NOT NULL,
     created_at REAL NOT NULL,
     deadline REAL NOT NULL,
     record TEXT NOT NULL
   ) STRICT;
   CREATE INDEX invocations_by_agent ON invocations (namespace, agent, seq);
   CREATE INDEX invocations_unfinished ON invocations (seq) WHERE finished = 0;`,
];

/** Kept: the newest ones, and none older than a week. */
const KEEP_COUNT = 10_000;
const KEEP_MS = 7 * 86_400_000;
const PRUNE_EVERY = 500;
/** Changes nobody waits for are written together within this time; a failed write is tried again after RETRY_MS. */
const LAZY_MS = 20;
const RETRY_MS = 1_000;
const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 10_000;

interface Entry {
  readonly invocation: Invocation;
  /** When the time of the run is up; 0 before it is dispatched. */
  readonly deadline: number;
}

/** What a move may add to an invocation. Who, what and when it was triggered never changes. */
export type Change = Partial<
  Pick<
    Invocation,
    | 'reason'
    | 'message'
    | 'revision'
    | 'worker'
    | 'dispatchedAt'
    | 'startedAt'
    | 'finishedAt'
    | 'firstByteMs'
    | 'exitCode'
    | 'outputBytes'
    | 'queuedMs'
    | 'conditions'
  >
>;

/**
 * Every invocation and how far it got, durable in SQLite. Reads see every change at once; `committed` resolves when all earlier
 * changes are on disk. Changes of the same moment share one commit, and watchers hear of a change only after its commit.
 */
export class Journal implements AsyncDisposable {
  readonly #db: DatabaseSync;
  readonly #log: Logger;
  readonly #clock: Clock;
  /** Not finished, or not on disk yet. */
  readonly #live = new Map<string, Entry>();
  readonly #dirty = new Set<string>();
  #changes: Invocation[] = [];
  #waiters: PromiseWithResolvers<void>[] = [];
  #timer: { readonly at: number; readonly stop: () => void } | undefined;
  readonly #watchers = new Set<{ readonly filter: InvocationFilter; readonly queue: AsyncQueue<Invocation> }>();
  #inserts = 0;

  constructor(path: string, options: { log: Logger; clock?: Clock }) {
    this.#db = openDatabase(path, MIGRATIONS, 'journal');
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#prune();
    for (const row of this.#db.prepare('SELECT record, deadline FROM invocations WHERE finished = 0').all()) {
      const invocation = recordOf(row);
      this.#live.set(invocation.id, { invocation, deadline: row['deadline'] as number });
    }
  }

  /** Invocations without an end, with the deadline of their run. */
  unfinished(): readonly Entry[] {
    return [...this.#live.values()].filter(({ invocation }) => !isTerminal(invocation.phase));
  }

  get(id: string): Invocation | undefined {
    const live = this.#live.get(id);
    if (live) return live.invocation;
    const row = this.#db.prepare('SELECT record FROM invocations WHERE id = ?').get(id);
    return row && recordOf(row);
  }

  /** Newest first. */
  list(filter: InvocationFilter): readonly Invocation[] {
    this.#flush();
    const where: string[] = [];
    const values: (string | number)[] = [];
    for (const field of ['namespace', 'agent', 'id'] as const) {
      if (filter[field] === undefined) continue;
      where.push(`${field} = ?`);
      values.push(filter[field]);
    }
    const limit = Math.min(filter.limit ?? DEFAULT_LIMIT, MAX_LIMIT);
    const sql = `SELECT record FROM invocations ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''} ORDER BY seq DESC LIMIT ?`;
    return this.#db
      .prepare(sql)
      .all(...values, limit)
      .map(recordOf);
  }

  /** What has not ended and the newest of the others first, then every change. */
  async *watch(filter: InvocationFilter, signal: AbortSignal): AsyncGenerator<Invocation, void> {
    const newest = this.list(filter).toReversed();
    const listed = new Set(newest.map(({ id }) => id));
    const older = this.unfinished().filter(({ invocation }) => matches(filter, invocation) && !listed.has(invocation.id));
    const watcher = { filter, queue: new AsyncQueue<Invocation>() };
    const stop = (): void => watcher.queue.end();
    this.#watchers.add(watcher);
    signal.addEventListener('abort', stop, { once: true });
    try {
      if (signal.aborted) return;
      for (const { invocation } of older) yield invocation;
      yield* newest;
      for await (const invocation of watcher.queue) {
        if (signal.aborted) return;
        yield invocation;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#watchers.delete(watcher);
    }
  }

  /** Takes in a new invocation; its phase must be Pending and its id unknown. */
  insert(invocation: Invocation): void {
    if (invocation.phase !== 'Pending' || this.get(invocation.id)) throw new Error(`invocation ${invocation.id} cannot be inserted`);
    this.#put({ invocation, deadline: 0 });
    if (++this.#inserts % PRUNE_EVERY === 0) this.#prune();
  }

  /** Moves an invocation to its next phase; throws when that move is not legal. */
  move(id: string, phase: Phase, change: Change = {}, deadline?: number): Invocation {
    const entry = this.#live.get(id);
    if (!entry || !NEXT_PHASES[entry.invocation.phase].includes(phase)) {
      throw new Error(`invocation ${id} cannot move from ${this.get(id)?.phase ?? 'nothing'} to ${phase}`);
    }
    const invocation: Invocation = { ...entry.invocation, ...change, phase };
    this.#put({ invocation, deadline: deadline ?? entry.deadline });
    return invocation;
  }

  /** Says of a Pending invocation why it is still that. */
  note(id: string, note: Pick<Invocation, 'reason' | 'message'>): void {
    const entry = this.#live.get(id);
    if (entry?.invocation.phase !== 'Pending') throw new Error(`invocation ${id} is not Pending`);
    this.#put({ ...entry, invocation: { ...entry.invocation, ...note } });
  }

  /** Forgets an invocation that could not be written: it never was accepted. False when an earlier phase of it is on disk. */
  discard(id: string): boolean {
    if (this.#db.prepare('SELECT 1 FROM invocations WHERE id = ?').get(id)) return false;
    this.#live.delete(id);
    this.#dirty.delete(id);
    this.#changes = this.#changes.filter((invocation) => invocation.id !== id);
    return true;
  }

  /** Resolves when every change so far is on disk; rejects when the write failed (it is tried again all the same). */
  committed(): Promise<void> {
    if (this.#dirty.size === 0) return Promise.resolve();
    const waiter = Promise.withResolvers<void>();
    this.#waiters.push(waiter);
    this.#schedule(0);
    return waiter.promise;
  }

  #put(entry: Entry): void {
    this.#live.set(entry.invocation.id, entry);
    this.#dirty.add(entry.invocation.id);
    this.#changes.push(entry.invocation);
    this.#schedule(LAZY_MS);
  }

  #schedule(ms: number): void {
    const at = performance.now() + ms;
    if (this.#timer && this.#timer.at <= at) return;
    this.#timer?.stop();
    const run = (): void => {
      this.#timer = undefined;
      this.#flush();
    };
    if (ms === 0) {
      const handle = setImmediate(run);
      this.#timer = { at, stop: () => clearImmediate(handle) };
    } else {
      const handle = setTimeout(run, ms);
      this.#timer = { at, stop: () => clearTimeout(handle) };
    }
  }

  #flush(): void {
    if (this.#dirty.size === 0) return;
    const waiters = this.#waiters.splice(0);
    try {
      transaction(this.#db, () => {
        const upsert = this.#db.prepare(
          `INSERT INTO invocations (id, namespace, agent, finished, created_at, deadline, record) VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET finished = excluded.finished, deadline = excluded.deadline, record = excluded.record`,
        );
        for (const id of this.#dirty) {
          const { invocation, deadline } = this.#live.get(id)!;
          const { namespace, agent, createdAt, phase } = invocation;
          upsert.run(id, namespace, agent, Number(isTerminal(phase)), createdAt, deadline, JSON.stringify(invocation));
        }
      });
    } catch (error) {
      this.#log.error(`the journal cannot be written: ${messageOf(error)}`, { err: error });
      this.#schedule(RETRY_MS);
      for (const waiter of waiters) waiter.reject(error);
      return;
    }
    for (const id of this.#dirty) if (isTerminal(this.#live.get(id)!.invocation.phase)) this.#live.delete(id);
    this.#dirty.clear();
    for (const invocation of this.#changes.splice(0)) {
      for (const { filter, queue } of this.#watchers) if (matches(filter, invocation)) queue.push(invocation);
    }
    for (const waiter of waiters) waiter.resolve();
  }

  /** Journals that have grown too long are slower, nothing else. */
  #prune(): void {
    const sql = `DELETE FROM invocations WHERE finished = 1
      AND (created_at < ? OR seq <= (SELECT seq FROM invocations ORDER BY seq DESC LIMIT 1 OFFSET ?))`;
    try {
      this.#db.prepare(sql).run(this.#clock.now() - KEEP_MS, KEEP_COUNT);
    } catch (error) {
      this.#log.warn(`old invocations cannot be removed: ${messageOf(error)}`);
    }
  }

  /** Writes what is left and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush();
    this.#timer?.stop();
    for (const { queue } of this.#watchers) queue.end();
    this.#db.close();
  }
}

const recordOf = (row: Record<string, unknown>): Invocation => JSON.parse(row['record'] as string) as Invocation;

const matches = (filter: InvocationFilter, invocation: Invocation): boolean =>
  (['namespace', 'agent', 'id'] as const).every((field) => filter[field] === undefined || filter[field] === invocation[field]);
