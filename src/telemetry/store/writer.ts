import type { Session } from 'chdb';
import type { Logger } from '#lib';
import type { Table } from '../ddl.ts';
import { columnsOf, rowOf } from './rows.ts';

/** Rows in one INSERT: everything that waits goes together, because each INSERT makes a part and syncs it. */
const MAX_ROWS = 10_000;

interface Waiting<Rec> {
  readonly records: readonly Rec[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What happens to a batch around its INSERT. */
export interface WriterHooks<Rec> {
  /** The records that are written, in their final form. */
  readonly prepare?: (records: readonly Rec[]) => Promise<readonly object[]>;
  readonly written?: (records: readonly Rec[]) => void;
  readonly failed?: (records: readonly Rec[]) => void;
}

/** Writes records into a table, one INSERT after the other. */
export class Writer<Rec extends object> {
  readonly #session: Session;
  readonly #table: Table;
  readonly #log: Logger;
  readonly #hooks: WriterHooks<Rec>;
  readonly #waiting: Waiting<Rec>[] = [];
  #writing: Promise<void> | undefined;

  constructor(session: Session, table: Table, log: Logger, hooks: WriterHooks<Rec> = {}) {
    this.#session = session;
    this.#table = table;
    this.#log = log;
    this.#hooks = hooks;
  }

  /** Resolves when the records are on disk. */
  insert(records: readonly Rec[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (records.length === 0) return resolve();
      this.#waiting.push({ records, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = takeBatch(this.#waiting);
      const records = batch.flatMap((entry) => entry.records);
      try {
        await this.#put((await this.#hooks.prepare?.(records)) ?? records);
        this.#hooks.written?.(records);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        this.#log.error('insert failed', { err: error, table: this.#table.name, rows: records.length });
        this.#hooks.failed?.(records);
        for (const { reject } of batch) reject(error);
      }
    }
    this.#writing = undefined;
  }

  async #put(records: readonly object[]): Promise<void> {
    if (records.length === 0) return;
    const toRow = rowOf(this.#table);
    await this.#session.insert({
      table: this.#table.name,
      columns: columnsOf(this.#table),
      values: Buffer.from(records.map((record) => JSON.stringify(toRow(record))).join('\n')),
      format: 'JSONEachRow',
      settings: { date_time_input_format: 'best_effort' },
    });
  }

  /** Resolves when everything that was accepted has been written, or refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }
}

/** At least one entry, then more while they fit into one INSERT. */
const takeBatch = <Rec>(waiting: Waiting<Rec>[]): readonly Waiting<Rec>[] => {
  let rows = waiting[0]!.records.length;
  let count = 1;
  while (count < waiting.length && rows + waiting[count]!.records.length <= MAX_ROWS) rows += waiting[count++]!.records.length;
  return waiting.splice(0, count);
};
