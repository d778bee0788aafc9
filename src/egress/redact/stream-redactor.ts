/** Stands where a value was. */
export const MASK = '[redacted]';

const NONE = -1;
/** The text ends before it is clear. */
const PARTIAL = -2;

/** Length of a character in an encoded form: percent-encoded, escaped as in JSON, a space in a query; NONE or PARTIAL otherwise. */
const encodedLength = (text: string, at: number, want: number): number => {
  const is = text[at];
  const hex = want.toString(16).padStart(2, '0');
  if (is === '%') {
    const said = text.slice(at + 1, at + 3).toLowerCase();
    if (said.length < 2) return hex.startsWith(said) ? PARTIAL : NONE;
    return said === hex ? 3 : NONE;
  }
  if (is === '\\') {
    const said = text.slice(at + 1, at + 6).toLowerCase();
    if (said === `u00${hex}`) return 6;
    if (said.length < 5 && `u00${hex}`.startsWith(said)) return PARTIAL;
    return text.charCodeAt(at + 1) === want ? 2 : NONE;
  }
  return is === '+' && want === 32 ? 1 : NONE;
};

/** The end of a needle that stands at a place, each of its characters as it is or encoded; NONE or PARTIAL. */
const endOf = (text: string, from: number, needle: string, start = 0): number => {
  let at = from;
  for (let i = start; i < needle.length; i++) {
    if (at >= text.length) return PARTIAL;
    const want = needle.charCodeAt(i);
    const raw = text.charCodeAt(at) === want;
    const length = encodedLength(text, at, want);
    if (length === NONE) {
      if (!raw) return NONE;
      at++;
      continue;
    }
    // What looks encoded may stand for itself.
    const other = raw ? endOf(text, at + 1, needle, i + 1) : NONE;
    if (other >= 0 || length === PARTIAL) return other >= 0 ? other : PARTIAL;
    if (other === PARTIAL) return PARTIAL;
    at += length;
  }
  return at;
};

/**
 * Takes values out of a body as it passes, however it is cut into pieces: what could be the beginning of a value is held back until
 * it is clear, and nothing else is. Holds at most six bytes for each of the longest needle.
 */
export class StreamRedactor {
  readonly #needles: readonly string[];
  readonly #starts: RegExp;
  #held = '';
  /** A value was there. */
  found = false;

  constructor(needles: readonly string[]) {
    this.#needles = needles;
    const first = [...new Set(needles.map((needle) => needle[0]!))].map((char) => char.replace(/[\\\]^-]/, '\\$&')).join('');
    // Any of them may be written in an encoded form.
    this.#starts = new RegExp(`[${first}%\\\\+]`, 'g');
  }

  /** What may pass now. */
  push(piece: Uint8Array): Buffer {
    return this.#pass(this.#held + Buffer.from(piece).toString('latin1'), false);
  }

  /** The rest, when nothing more comes. */
  end(): Buffer {
    return this.#pass(this.#held, true);
  }

  #pass(text: string, last: boolean): Buffer {
    let passed = '';
    let from = 0;
    this.#held = '';
    for (let at = this.#next(text, 0); at >= 0; at = this.#next(text, at)) {
      const ends = this.#needles.map((needle) => endOf(text, at, needle));
      const end = Math.max(...ends);
      if (end >= 0) {
        this.found = true;
        passed += text.slice(from, at) + MASK;
        from = at = end;
      } else if (!last && ends.includes(PARTIAL)) {
        this.#held = text.slice(at);
        return Buffer.from(passed + text.slice(from, at), 'latin1');
      } else at++;
    }
    return Buffer.from(passed + text.slice(from), 'latin1');
  }

  #next(text: string, from: number): number {
    this.#starts.lastIndex = from;
    return this.#starts.exec(text)?.index ?? -1;
  }
}
