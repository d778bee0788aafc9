import { closeSync, fdatasync, fdatasyncSync, fstatSync, openSync, readdirSync, renameSync, writeSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { systemCode } from './errors.ts';

/** Size at which a record file is put aside. */
export const ROTATE_BYTES = 64 * 1024 * 1024;
/** Files put aside that are kept; readers have that long to catch up. */
const KEEP = 4;
/** What a power cut may take: lines written this long before it, and the time of one sync. */
const SYNC_MS = 200;

/** Puts a record file aside as `<path>.<time>`, where its readers find it (see Tail), and drops the oldest of those. */
export const putAside = async (path: string, now: number): Promise<void> => {
  await rename(path, asideOf(path, now));
  await dropOld(path);
};

/** Times in the names of the files put aside, the latest first. */
const asides = (path: string): number[] => {
  const prefix = `${basename(path)}.`;
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((a, b) => b - a);
};

/** Later than every other, also when the clock was set back: the newest must not be taken for the oldest. */
const asideOf = (path: string, now: number): string => `${path}.${Math.max(now, (asides(path)[0] ?? 0) + 1)}`;

const dropOld = async (path: string): Promise<void> => {
  for (const time of asides(path).slice(KEEP)) await rm(`${path}.${time}`, { force: true });
};

export const sizeOf = async (path: string): Promise<number> => {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
};

export interface RecordFileOptions<Line> {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly carry?: () => readonly Line[];
  readonly rotateBytes?: number;
  /** False for lines that a power cut may take: nothing here waits for the disk. */
  readonly sync?: boolean;
}

/**
 * A file of JSON lines, for the group of its directory to read. When `append` resolves, the line is with the kernel: no end of this process, or of any other, takes it
 * back. Lines are on disk a moment later, so a power cut can take the last ones; a sync for each would cost every request more
 * than all the rest of its way. A file that has grown to `rotateBytes` is put aside, and the new one begins with `carry()`.
 */
export class RecordFile<Line> implements AsyncDisposable {
  readonly #path: string;
  readonly #carry: () => readonly Line[];
  readonly #rotateBytes: number;
  readonly #now: () => number;
  readonly #synced: boolean;
  #file: number | undefined;
  #size = 0;
  #syncing: NodeJS.Timeout | undefined;
  #failure: Error | undefined;
  #dropping: Promise<void> | undefined;

  constructor(path: string, options: RecordFileOptions<Line>) {
    this.#path = path;
    this.#now = options.now;
    this.#carry = options.carry ?? (() => []);
    this.#rotateBytes = options.rotateBytes ?? ROTATE_BYTES;
    this.#synced = options.sync ?? true;
  }

  /** Fails when the lines cannot be written, or one before it could not be brought to disk; the next one tries anew. */
  async append(...lines: readonly Line[]): Promise<void> {
    try {
      if (this.#failure) throw this.#failure;
      if (this.#file === undefined) this.#open();
      if (this.#size > this.#rotateBytes) this.#rotate();
      this.#add(lines.map(textOf).join(''));
    } catch (error) {
      this.#failure = undefined;
      this.#close();
      throw error;
    }
    if (this.#synced) this.#syncing ??= setTimeout(() => this.#sync(), SYNC_MS).unref();
  }

  #rotate(): void {
    if (this.#synced) fdatasyncSync(this.#file!);
    this.#close();
    renameSync(this.#path, asideOf(this.#path, this.#now()));
    this.#dropping = dropOld(this.#path).catch(() => {}); // tried again with the next one
    this.#open();
    this.#add(this.#carry().map(textOf).join(''));
  }

  #add(text: string): void {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.byteLength;) at += writeSync(this.#file!, bytes, at);
    this.#size += bytes.byteLength;
  }

  #open(): void {
    this.#file = openSync(this.#path, 'a', 0o640);
    this.#size = fstatSync(this.#file).size;
    // A crash in the middle of a line must not swallow the next one; readers skip empty lines.
    if (this.#size > 0) this.#add('\n');
  }

  #close(): void {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) closeSync(file);
  }

  #sync(): void {
    this.#syncing = undefined;
    const file = this.#file;
    if (file === undefined) return;
    fdatasync(file, (error) => {
      if (error && file === this.#file) this.#failure = error;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#syncing);
    if (this.#synced && this.#file !== undefined) fdatasyncSync(this.#file);
    this.#close();
    await this.#dropping;
  }
}

const textOf = (line: unknown): string => `${JSON.stringify(line)}\n`;
