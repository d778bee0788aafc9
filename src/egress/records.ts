import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '#lib';

/** Size at which a record file is put aside. */
export const ROTATE_BYTES = 64 * 1024 * 1024;
/** Files put aside that are kept; readers have that long to catch up. */
const KEEP = 4;

/** Puts a record file aside as `<path>.<time>`, where its readers find it, and drops the oldest of those. */
export const putAside = async (path: string, now: number): Promise<void> => {
  await rename(path, `${path}.${now}`);
  const prefix = `${basename(path)}.`;
  const old = (await readdir(dirname(path)))
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .sort((a, b) => Number(b.slice(prefix.length)) - Number(a.slice(prefix.length)));
  for (const name of old.slice(KEEP)) await rm(join(dirname(path), name), { force: true });
};

export const sizeOf = async (path: string): Promise<number> => {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
};

interface Waiting {
  readonly text: string;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * A file of JSON lines. `append` resolves when the line is on disk; lines that wait together share one fsync. A file that has
 * grown to `rotateBytes` is put aside, and the new one begins with `carry()`.
 */
export class RecordFile<Line> implements AsyncDisposable {
  readonly #path: string;
  readonly #carry: () => readonly Line[];
  readonly #rotateBytes: number;
  readonly #now: () => number;
  #file: FileHandle | undefined;
  #size = 0;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;

  constructor(path: string, options: { now: () => number; carry?: () => readonly Line[]; rotateBytes?: number }) {
    this.#path = path;
    this.#now = options.now;
    this.#carry = options.carry ?? (() => []);
    this.#rotateBytes = options.rotateBytes ?? ROTATE_BYTES;
  }

  append(line: Line): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting.push({ text: `${JSON.stringify(line)}\n`, done, failed });
      this.#writing ??= this.#write();
    });
  }

  async #write(): Promise<void> {
    await Promise.resolve(); // so that `#writing` is set before this can end
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#put(batch.map(({ text }) => text).join(''));
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error);
        await this.#file?.close().catch(() => {});
        this.#file = undefined;
      }
    }
    // Right after the last look at the queue: an append that comes a tick later must start the next round.
    this.#writing = undefined;
  }

  async #put(text: string): Promise<void> {
    if (!this.#file) await this.#open();
    if (this.#size > this.#rotateBytes) {
      await this.#file!.close();
      this.#file = undefined;
      await putAside(this.#path, this.#now());
      await this.#open();
      await this.#add(
        this.#carry()
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(''),
      );
    }
    await this.#add(text);
  }

  async #add(text: string): Promise<void> {
    if (text === '') return;
    await this.#file!.appendFile(text);
    await this.#file!.datasync();
    this.#size += Buffer.byteLength(text);
  }

  async #open(): Promise<void> {
    this.#file = await open(this.#path, 'a', 0o600);
    this.#size = (await this.#file.stat()).size;
    // A crash in the middle of a line must not swallow the next one; readers skip empty lines.
    if (this.#size > 0) await this.#add('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file?.close();
  }
}
