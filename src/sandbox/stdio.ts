/** What flows out of a sandbox: stdout as far as its reader has room, stderr as lines of the log. */

/** How many bytes the reader still has room for. A full reader holds the process back: its pipe is not read. */
export class CreditWindow {
  #credit: number;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(initial: number) {
    this.#credit = initial;
  }

  add(bytes: number): void {
    this.#credit += bytes;
    this.#wake?.();
  }

  /** Nobody waits for the rest any more. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** Up to `wanted` bytes of room, at least one; 0 once there is none and the window is closed. */
  async take(wanted: number): Promise<number> {
    while (this.#credit === 0 && !this.#closed) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    const taken = Math.min(wanted, this.#credit);
    this.#credit -= taken;
    return taken;
  }
}

/** Reads `stream` to its end and hands on what the window has room for; returns the bytes handed on. */
export const pumpOutput = async (stream: AsyncIterable<Buffer>, window: CreditWindow, output: (data: Uint8Array) => void): Promise<number> => {
  let sent = 0;
  for await (let chunk of stream) {
    while (chunk.length > 0) {
      const room = await window.take(chunk.length);
      if (room === 0) break; // closed: the rest is read and dropped, so that the process can end
      output(chunk.subarray(0, room));
      sent += room;
      chunk = chunk.subarray(room);
    }
  }
  return sent;
};

/**
 * Longest line, and lines and bytes a second, that one run can put into our log. Writing a log that nobody reads that fast blocks
 * the process, all runs of the worker with it.
 */
const MAX_LINE = 8192;
const MAX_LINES_PER_SECOND = 200;
const MAX_BYTES_PER_SECOND = 32 * 1024;

/** Reads a stream as lines, each at most 8 KiB; a flood is counted instead of written. */
export const pumpLines = async (
  stream: AsyncIterable<Buffer>,
  write: (line: string) => void,
  now: () => number = performance.now.bind(performance),
): Promise<void> => {
  const decoder = new TextDecoder();
  let rest = '';
  let second = -1;
  let lines = 0;
  let bytes = 0;
  let dropped = 0;
  const emit = (line: string): void => {
    const at = Math.floor(now() / 1000);
    if (at !== second) {
      if (dropped > 0) write(`(${dropped} lines of stderr were dropped)`);
      [second, lines, bytes, dropped] = [at, 0, 0, 0];
    }
    bytes += line.length;
    if (++lines > MAX_LINES_PER_SECOND || bytes > MAX_BYTES_PER_SECOND) dropped++;
    else if (line !== '') write(line);
  };
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop()!;
    for (const part of parts) for (let at = 0; at === 0 || at < part.length; at += MAX_LINE) emit(part.slice(at, at + MAX_LINE));
    while (rest.length > MAX_LINE) {
      emit(rest.slice(0, MAX_LINE));
      rest = rest.slice(MAX_LINE);
    }
  }
  if (rest !== '') emit(rest);
  if (dropped > 0) write(`(${dropped} lines of stderr were dropped)`);
};
