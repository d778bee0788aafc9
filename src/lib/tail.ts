import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from './errors.ts';

/** Longest line that is read; longer ones are skipped and counted. Six times (JSON escapes) all request headers Envoy takes fit. */
export const MAX_LINE = 1024 * 1024;

/** A file whatever its name: inode numbers are given out again, so the time it was made belongs to it. */
interface FileId {
  readonly inode: number;
  /** Milliseconds since the epoch. */
  readonly born: number;
}

/** How far a file has been read: everything before `offset`. */
export interface Mark extends FileId {
  readonly offset: number;
  /** The offset is inside a line that is too long; what follows, up to its end, is skipped. */
  readonly skipping?: boolean;
}

export interface Line {
  readonly text: string;
  readonly inode: number;
  /** Of its first byte. */
  readonly offset: number;
}

/**
 * Reads the complete lines of a file that another process appends to. The file may come later, be truncated (then it is
 * read from its start) or be rotated, also several times while nobody read: files put aside (`<path>.<anything>`) are read
 * to their ends, the oldest first, before the one at the path.
 */
export class Tail {
  readonly path: string;
  #mark: Mark | undefined;
  #file: FileHandle | undefined;
  /** Lines that were too long. */
  oversized = 0;

  constructor(path: string, mark?: Mark) {
    this.path = path;
    this.#mark = mark;
  }

  get mark(): Mark | undefined {
    return this.#mark;
  }

  /** Up to about `maxBytes` of lines; `drained` = there were no more complete ones. */
  async read(maxBytes: number): Promise<{ readonly lines: readonly Line[]; readonly drained: boolean }> {
    const current = await idOf(this.path); // before reading: once a new file is there, the old one is complete
    if (!this.#file && !(await this.#open(current))) return { lines: [], drained: true };
    const mark = this.#mark!;
    const { size } = await this.#file!.stat();
    if (size < mark.offset) this.#mark = { inode: mark.inode, born: mark.born, offset: 0 }; // truncated
    // No more than there is: most reads find nothing, and a buffer for each would keep the garbage collector busy.
    const { lines, consumed } = await this.#lines(Math.min(size - this.#mark!.offset, Math.max(maxBytes, MAX_LINE + 1)));
    const rotated = current !== undefined && !isSame(current, this.#mark);
    if (consumed > 0 || !rotated) return { lines, drained: !rotated && (consumed === 0 || this.#mark!.offset >= size) };
    await this.#file!.close();
    this.#file = undefined;
    const { inode, born: made } = (await this.#following()) ?? current;
    this.#mark = { inode, born: made, offset: 0 };
    return { lines, drained: false };
  }

  /** One read of the file, cut into lines; a last line without its end stays for the next time. */
  async #lines(bytes: number): Promise<{ lines: readonly Line[]; consumed: number }> {
    if (bytes === 0) return { lines: [], consumed: 0 };
    const { inode, born, offset, skipping } = this.#mark!;
    const buffer = Buffer.allocUnsafe(bytes);
    const { bytesRead } = await this.#file!.read(buffer, 0, bytes, offset);
    const lines: Line[] = [];
    let start = 0;
    let skip = skipping ?? false;
    for (let end; (end = buffer.subarray(0, bytesRead).indexOf(10, start)) >= 0; start = end + 1) {
      if (!skip && end - start > MAX_LINE) this.oversized++;
      else if (!skip && end > start) lines.push({ text: buffer.toString('utf8', start, end), inode, offset: offset + start });
      skip = false;
    }
    if (bytesRead - start > MAX_LINE || (skip && bytesRead > start)) {
      if (!skip) this.oversized++;
      skip = true;
      start = bytesRead;
    }
    if (start > 0) this.#mark = { inode, born, offset: offset + start, ...(skip ? { skipping: true } : {}) };
    return { lines, consumed: start };
  }

  /** Opens the file the mark is about, wherever it is named now, else the one that came after it. */
  async #open(current: FileId | undefined): Promise<boolean> {
    const mark = this.#mark;
    const found = isSame(current, mark) ? undefined : ((mark && (await asides(this.path)).find((file) => isSame(file, mark))) ?? (await this.#following()));
    try {
      this.#file = await open(found?.path ?? this.path, 'r');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    }
    const { ino, birthtimeMs } = await this.#file.stat();
    const opened = { inode: ino, born: birthtimeMs };
    if (!isSame(opened, mark)) this.#mark = { ...opened, offset: 0 };
    return true;
  }

  /** The oldest file put aside that was made after the marked one (without a mark: the oldest), if there is one. */
  async #following(): Promise<(FileId & { readonly path: string }) | undefined> {
    const mark = this.#mark;
    const files = await asides(this.path);
    const at = files.findIndex((file) => isSame(file, mark));
    return at >= 0 ? files[at + 1] : files.find(({ born }) => !mark || born > mark.born);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
  }
}

const isSame = (a: FileId | undefined, b: FileId | undefined): boolean => a !== undefined && a.inode === b?.inode && a.born === b.born;

const idOf = async (path: string): Promise<FileId | undefined> => {
  try {
    const { ino, birthtimeMs } = await stat(path);
    return { inode: ino, born: birthtimeMs };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
};

/** The files beside `path` that are named `<path>.…`, oldest first; of the same tick of the clock (4 ms), by the number they end with. */
const asides = async (path: string): Promise<readonly (FileId & { readonly path: string })[]> => {
  const names = (await readdir(dirname(path)).catch(() => [])).filter((name) => name.startsWith(`${basename(path)}.`));
  const files = await Promise.all(
    names.map(async (name) => {
      const aside = join(dirname(path), name);
      const id = await idOf(aside);
      return id ? [{ ...id, path: aside }] : [];
    }),
  );
  const number = (file: { readonly path: string }): number => Number(/\d+$/.exec(file.path)?.[0] ?? 0);
  return files.flat().toSorted((a, b) => a.born - b.born || number(a) - number(b));
};
