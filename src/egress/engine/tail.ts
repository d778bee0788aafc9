import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readIfExists, systemCode, writeFileAtomic } from '#lib';

/** Where a reader is in a file: which file it was (a name can be given to another one) and how many bytes are done. */
interface Position {
  readonly inode: number;
  readonly born: number;
  readonly offset: number;
}

const CHUNK = 256 * 1024;
/** A line longer than this is not one of ours; it is skipped up to its end. */
const MAX_LINE = 1024 * 1024;
const NEWLINE = 0x0a;

const openIfExists = async (path: string): Promise<FileHandle | undefined> => {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
};

/** Complete lines of a file that grows, and may be renamed away or truncated; the position is kept on disk by `commit`. */
export class Tail implements AsyncDisposable {
  readonly #path: string;
  readonly #positionFile: string;
  #file: FileHandle | undefined;
  #position: Position | undefined;
  #next = 0;
  #loaded = false;

  constructor(path: string, positionFile: string) {
    this.#path = path;
    this.#positionFile = positionFile;
  }

  /**
   * The next complete lines, none when there are no more for now. They come again, also after a restart, until `commit`
   * was called. A file that was renamed away is read to its end before the new one of its name.
   */
  async read(): Promise<readonly string[]> {
    if (!(await this.#ensureOpen())) return [];
    const lines = await this.#readLines();
    if (lines.length > 0 || !(await this.#replaced())) return lines;
    const last = await this.#readLines(); // written after the look above and before the name went to another file
    if (last.length > 0) return last;
    await this.#file!.close();
    this.#file = undefined;
    this.#position = undefined;
    return this.read();
  }

  /** The lines of the last `read` are done, for good once this resolves. */
  async commit(): Promise<void> {
    if (!this.#position || this.#next === this.#position.offset) return;
    const position = { ...this.#position, offset: this.#next };
    await writeFileAtomic(this.#positionFile, JSON.stringify(position));
    this.#position = position;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  async #ensureOpen(): Promise<boolean> {
    if (this.#file) return true;
    const saved = this.#loaded ? undefined : await this.#load();
    this.#file = (saved && (await this.#find(saved))) ?? (await openIfExists(this.#path));
    if (!this.#file) return false;
    this.#loaded = true;
    const { ino, birthtimeMs, size } = await this.#file.stat();
    const same = saved?.inode === ino && saved.born === birthtimeMs && saved.offset <= size;
    this.#position = { inode: ino, born: birthtimeMs, offset: same ? saved.offset : 0 };
    return true;
  }

  async #load(): Promise<Position | undefined> {
    try {
      return JSON.parse((await readIfExists(this.#positionFile)) ?? 'null') ?? undefined;
    } catch {
      return undefined; // unreadable: from the start, since lines may be seen twice but not never
    }
  }

  /** The file that was being read when this process started, under its name or the one it was rotated to. */
  async #find({ inode, born }: Position): Promise<FileHandle | undefined> {
    const dir = dirname(this.#path);
    const names = await readdir(dir).catch(() => []);
    for (const name of names.filter((candidate) => candidate.startsWith(basename(this.#path)))) {
      const at = await stat(join(dir, name)).catch(() => undefined);
      if (at?.ino === inode && at.birthtimeMs === born) return openIfExists(join(dir, name));
    }
    return undefined;
  }

  /** Whether another file has the name now. */
  async #replaced(): Promise<boolean> {
    const now = await stat(this.#path).catch(() => undefined);
    return now !== undefined && (now.ino !== this.#position!.inode || now.birthtimeMs !== this.#position!.born);
  }

  async #readLines(): Promise<readonly string[]> {
    const { size } = await this.#file!.stat();
    if (size < this.#position!.offset) this.#position = { ...this.#position!, offset: 0 }; // truncated
    const { offset } = this.#position!;
    this.#next = offset;
    for (let length = CHUNK; ; length *= 2) {
      const { buffer, bytesRead } = await this.#file!.read(Buffer.allocUnsafe(Math.min(length, size - offset)), 0, undefined, offset);
      const data = buffer.subarray(0, bytesRead);
      const end = data.lastIndexOf(NEWLINE);
      if (end >= 0) {
        this.#next = offset + end + 1;
        return data.toString('utf8', 0, end).split('\n');
      }
      if (bytesRead < length) return [];
      if (length > MAX_LINE) {
        this.#next = offset + bytesRead;
        return ['']; // the rest of it will not parse either, and is skipped as well
      }
    }
  }
}
