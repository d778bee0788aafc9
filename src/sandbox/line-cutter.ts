/** Longest line, in bytes; a longer one becomes several. */
export const MAX_LINE_BYTES = 8192;
const NEWLINE = 10;
const RETURN = 13;

/** What may be kept. `take` is asked before a line is kept; after a refusal `ready` says when it is worth asking again. */
export interface LineBudget {
  take(bytes: number): boolean;
  ready(): boolean;
}

export interface LineSink {
  line(text: string): void;
  /** So many bytes before the next line were not kept. */
  dropped(bytes: number): void;
}

/**
 * Cuts bytes into lines, whatever the bytes are and however they are cut: a character is never split between two lines,
 * bytes that are no UTF-8 become U+FFFD. Beyond the budget whole pieces are dropped without a look at them, up to the next
 * beginning of a line after there is room again; so a flood costs next to nothing.
 */
export class LineCutter {
  readonly #budget: LineBudget;
  readonly #sink: LineSink;
  /** The beginning of a line whose end has not come. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #dropped = 0;
  /** The last byte that was dropped ended a line. */
  #atStart = false;

  constructor(budget: LineBudget, sink: LineSink) {
    this.#budget = budget;
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let at = this.#dropped > 0 ? this.#resume(chunk) : 0;
    while (at < chunk.length) {
      const end = chunk.indexOf(NEWLINE, at);
      const room = MAX_LINE_BYTES - this.#restBytes;
      const whole = end >= 0 && end - at <= room;
      if (!whole && chunk.length - at <= room) return this.#keep(chunk.subarray(at));
      const to = whole ? end : at + room;
      this.#keep(chunk.subarray(at, to));
      at = whole ? end + 1 : to;
      if (!this.#flush(whole)) return this.#drop(chunk, chunk.length - at);
    }
  }

  /** No more comes: what is left is a line. */
  end(): void {
    if (this.#restBytes > 0) this.#flush(true);
    this.#tell();
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    // A copy, because a small rest would keep all of a large chunk.
    this.#rest.push(Buffer.from(part));
    this.#restBytes += part.length;
  }

  /** The line that is together, or a part of one that is too long; false when there is no room for it. */
  #flush(whole: boolean): boolean {
    const bytes = this.#restBytes;
    const all = Buffer.concat(this.#rest, bytes);
    this.#rest = [];
    this.#restBytes = 0;
    if (!this.#budget.take(bytes)) {
      this.#dropped += bytes + (whole ? 1 : 0);
      return false;
    }
    this.#tell();
    const line = whole ? all.subarray(0, all.at(-1) === RETURN ? -1 : bytes) : all.subarray(0, bytes - begun(all));
    this.#sink.line(line.toString('utf8'));
    if (!whole) this.#keep(all.subarray(line.length));
    return true;
  }

  /** The last `bytes` of a chunk are not kept. */
  #drop(chunk: Buffer, bytes: number): void {
    this.#dropped += bytes;
    this.#atStart = chunk.at(-1) === NEWLINE;
  }

  /** Where to go on in a chunk after something was dropped: at the next line, or not in this chunk. */
  #resume(chunk: Buffer): number {
    if (!this.#budget.ready()) {
      this.#drop(chunk, chunk.length);
      return chunk.length;
    }
    const next = this.#atStart ? 0 : chunk.indexOf(NEWLINE) + 1;
    this.#drop(chunk, next);
    if (next < chunk.length) this.#tell();
    return next;
  }

  #tell(): void {
    if (this.#dropped > 0) this.#sink.dropped(this.#dropped);
    this.#dropped = 0;
  }
}

/** Bytes at the end that begin a character whose rest is not there (RFC 3629), 0 to 3. */
const begun = (bytes: Buffer): number => {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes.at(-back)!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
};
