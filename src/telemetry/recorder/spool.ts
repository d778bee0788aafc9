import { mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode, type Logger } from '#lib';

/** The active segment is sealed at this size. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** A wholly shipped active segment is sealed, and so removed, from this size on; a smaller one is shipped again after a restart. */
const RETIRE_BYTES = 256 * 1024;
const READ_BYTES = 1024 * 1024;
const NEWLINE = 10;

interface Segment {
  readonly sequence: number;
  readonly path: string;
  /** Bytes that are safely in the file. */
  size: number;
}

export interface Batch<Rec> {
  readonly records: readonly Rec[];
  /** The store has them. */
  done(): void;
}

/**
 * Records on their way to the store: JSON lines in numbered segment files, synced before `append` returns. Shipping starts
 * with the oldest segment; one is removed when all of it is shipped. Where shipping stands is not kept: after a restart
 * at most a few segments' records go out again, and the store knows them by their id. One process uses a directory.
 */
export class Spool<Rec extends object> {
  readonly #dir: string;
  readonly #limit: number;
  readonly #log: Logger;
  readonly #segments: Segment[];
  #active: { readonly segment: Segment; readonly file: FileHandle } | undefined;
  #nextSequence: number;
  /** Shipped bytes of the oldest segment. */
  #shipped = 0;
  #wake = Promise.withResolvers<void>();
  #progress = Promise.withResolvers<void>();
  /** Records dropped unshipped, because the spool or the disk was full. */
  dropped = 0;

  private constructor(dir: string, limit: number, log: Logger, segments: Segment[]) {
    this.#dir = dir;
    this.#limit = limit;
    this.#log = log;
    this.#segments = segments;
    this.#nextSequence = (segments.at(-1)?.sequence ?? 0) + 1;
  }

  /** Opens the spool in `dir`; `limit` is in bytes. What a killed process left is shipped first. */
  static async open<Rec extends object>(options: { readonly dir: string; readonly limit: number; readonly log: Logger }): Promise<Spool<Rec>> {
    await mkdir(options.dir, { recursive: true, mode: 0o700 });
    const names = (await readdir(options.dir)).filter((name) => /^\d{16}\.jsonl$/.test(name)).toSorted();
    const segments = await Promise.all(
      names.map(async (name) => {
        const path = join(options.dir, name);
        return { sequence: Number.parseInt(name, 10), path, size: (await stat(path)).size };
      }),
    );
    return new Spool<Rec>(options.dir, options.limit, options.log, segments);
  }

  get bytes(): number {
    return this.#segments.reduce((sum, { size }) => sum + size, 0);
  }

  /** Resolves when there may be more to ship than before. */
  appended(): Promise<void> {
    return this.#wake.promise;
  }

  /** Writes records durably. A full spool, or a full disk, gives up its oldest segments first; throws when that is not enough. */
  async append(records: readonly Rec[]): Promise<void> {
    if (records.length === 0) return;
    if (this.#active && this.#active.segment === this.#segments[0] && this.#shipped >= RETIRE_BYTES && this.#shipped === this.#active.segment.size) {
      await this.#seal();
    }
    const data = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    while (this.bytes + data.length > this.#limit && this.#segments.length > 0) await this.#dropOldest('it reached its limit');
    for (;;) {
      try {
        await this.#write(data);
        break;
      } catch (error) {
        await this.#seal(); // whatever part was written ends here; readers skip a line without an end
        if (!['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCode(error) ?? '') || this.#segments.every(({ size }) => size === 0)) throw error;
        await this.#dropOldest('the disk is full');
      }
    }
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async #write(data: Buffer): Promise<void> {
    this.#active ??= await this.#openSegment();
    const { segment, file } = this.#active;
    for (let at = 0; at < data.length;) at += (await file.write(data, at, data.length - at)).bytesWritten;
    await file.datasync();
    segment.size += data.length;
    if (segment.size >= Math.min(SEGMENT_BYTES, this.#limit / 8)) await this.#seal();
  }

  async #openSegment(): Promise<{ segment: Segment; file: FileHandle }> {
    const sequence = this.#nextSequence++;
    const path = join(this.#dir, `${String(sequence).padStart(16, '0')}.jsonl`);
    const file = await open(path, 'ax', 0o600);
    const dir = await open(this.#dir, 'r');
    await dir.sync().finally(() => dir.close());
    const segment = { sequence, path, size: 0 };
    this.#segments.push(segment);
    return { segment, file };
  }

  async #seal(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    await active?.file.close();
  }

  async #dropOldest(why: string): Promise<void> {
    const oldest = this.#segments[0]!;
    const content = await readFile(oldest.path).catch(() => Buffer.alloc(0));
    if (this.#segments[0] !== oldest) return; // shipped meanwhile
    const records = content.subarray(this.#shipped).reduce((sum, byte) => sum + (byte === NEWLINE ? 1 : 0), 0);
    if (this.#active?.segment === oldest) await this.#seal();
    await this.#remove(oldest);
    this.dropped += records;
    this.#log.error(`the record spool dropped its oldest records: ${why}`, { records, dropped: this.dropped });
  }

  async #remove(segment: Segment): Promise<void> {
    if (this.#segments[0] !== segment) return;
    this.#segments.shift();
    this.#shipped = 0;
    await rm(segment.path, { force: true });
  }

  /** The oldest records not yet shipped, or undefined. One batch at a time: `done` (or not) before the next. */
  async next(max: number): Promise<Batch<Rec> | undefined> {
    for (let segment; (segment = this.#segments[0]);) {
      const from = this.#shipped;
      const size = segment.size;
      const { records, end } = await readRecords<Rec>(segment.path, from, size, max);
      if (this.#segments[0] !== segment) continue; // dropped meanwhile
      if (records.length > 0) return { records, done: () => this.#done(segment, end) };
      if (end > from) this.#done(segment, end);
      else if (size < segment.size) continue; // appended meanwhile
      else if (segment === this.#active?.segment) return undefined;
      else {
        // A killed writer leaves part of a record; it was never acknowledged, so its line is read again.
        if (end < size) this.#log.warn('the end of a spool segment is not a whole record', { path: segment.path, bytes: size - end });
        await this.#remove(segment);
      }
    }
    return undefined;
  }

  /** Resolves when everything appended so far has been shipped. */
  async shipped(): Promise<void> {
    while (this.bytes > this.#shipped) await this.#progress.promise;
  }

  #done(segment: Segment, end: number): void {
    if (this.#segments[0] === segment) this.#shipped = end;
    this.#progress.resolve();
    this.#progress = Promise.withResolvers();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#seal();
  }
}

/** Complete lines between two offsets; lines that are no JSON (damaged on disk) are passed over. */
const readRecords = async <Rec>(path: string, from: number, to: number, max: number): Promise<{ records: Rec[]; end: number }> => {
  const records: Rec[] = [];
  const buffer = await readPart(path, from, Math.min(READ_BYTES, to - from));
  let start = 0;
  for (let end; records.length < max && (end = buffer.indexOf(NEWLINE, start)) >= 0; start = end + 1) {
    try {
      records.push(JSON.parse(buffer.toString('utf8', start, end)) as Rec);
    } catch {
      // nothing of it can be shipped
    }
  }
  return { records, end: from + start };
};

const readPart = async (path: string, from: number, length: number): Promise<Buffer> => {
  if (length <= 0) return Buffer.alloc(0);
  const file = await open(path, 'r').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined; // removed meanwhile
    throw error;
  });
  if (!file) return Buffer.alloc(0);
  try {
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, (await file.read(buffer, 0, length, from)).bytesRead);
  } finally {
    await file.close();
  }
};
