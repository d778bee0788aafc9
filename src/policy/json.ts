/** JSON read strictly, so that what was judged is what the provider reads. */

/** A number whose digits JavaScript would change; `JSON.stringify` writes it as it was. */
export interface RawNumber {
  readonly rawJSON: string;
}
export type Json = null | boolean | number | string | readonly Json[] | JsonObject | RawNumber;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

// ES2026, in Node 26 but not yet in TypeScript's library. https://tc39.es/proposal-json-parse-with-source/
const { isRawJSON, rawJSON } = JSON as unknown as { isRawJSON(value: unknown): value is RawNumber; rawJSON(text: string): RawNumber };

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && !isRawJSON(value);

/** A number as it was written, whose digits JavaScript would change. */
export const isRawNumber = (value: Json | undefined): value is RawNumber => isRawJSON(value);

/** Why a text is not JSON we judge: bad syntax, a key twice in an object, too deep, too many values or escapes. */
export class JsonRefused extends Error {
  readonly reason: 'InvalidJson' | 'DuplicateKey' | 'TooDeep' | 'TooComplex';
  constructor(reason: JsonRefused['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * What may stand in one text: everybody's requests wait while it is read, and small values take far more memory than text. It has room
 * for the 300,000 tokens that a request for embeddings can have, and for four million escapes, which are long in no honest prompt.
 */
const MAX_VALUES = 400_000;
const STEPS_OF_VALUE = 10;
/** An object or a list takes as much time and memory as so many more of the others. */
const STEPS_OF_GROUP = 30;
/** Fields of one object: one with very many is slow to read and to write. */
const MAX_FIELDS = 10_000;
const MAX_STEPS = MAX_VALUES * STEPS_OF_VALUE;

const SPACE = /[ \t\n\r]*/y;
// What ends a string, begins an escape in it, or may not stand in it. Strings are read from one of these to the next: a pattern for a
// whole string would take exponential time for one that is broken, or hold a step for each of its characters.
// oxlint-disable-next-line no-control-regex -- control characters are what it finds
const NOT_PLAIN = /["\\\u0000-\u001f]/g;
const ESCAPE = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS: readonly (readonly [string, Json])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

class Reader {
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;
  #steps = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  document(): Json {
    const value = this.#value(0);
    this.#space();
    if (this.#at < this.#text.length) this.#fail();
    return value;
  }

  #fail(): never {
    throw new JsonRefused('InvalidJson', `The body is not JSON: unexpected text at character ${this.#at}.`);
  }

  #step(count: number): void {
    this.#steps += count;
    if (this.#steps > MAX_STEPS) throw new JsonRefused('TooComplex', 'The body has too many values, or too many escapes in its strings.');
  }

  #space(): void {
    SPACE.lastIndex = this.#at;
    SPACE.test(this.#text);
    this.#at = SPACE.lastIndex;
  }

  /** Takes a token of the pattern, or nothing. */
  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.#text)) return undefined;
    const token = this.#text.slice(this.#at, pattern.lastIndex);
    this.#at = pattern.lastIndex;
    return token;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #value(depth: number): Json {
    if (depth > this.#maxDepth) throw new JsonRefused('TooDeep', `The body nests more than ${this.#maxDepth} levels deep.`);
    this.#step(STEPS_OF_VALUE);
    this.#space();
    const open = this.#text[this.#at];
    if (open === '{' || open === '[') {
      this.#step(STEPS_OF_GROUP);
      this.#at++;
      return open === '{' ? this.#object(depth) : this.#array(depth);
    }
    if (open === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    const digits = this.#take(NUMBER) ?? this.#fail();
    return String(Number(digits)) === digits ? Number(digits) : rawJSON(digits);
  }

  /** A string without escapes, the usual case, is a slice; the others are read by JavaScript, the syntax being checked. */
  #string(): string {
    const from = this.#at++;
    for (let plain = true; ; plain = false) {
      const end = this.#find(NOT_PLAIN);
      if (end === '"') return plain ? this.#text.slice(from + 1, this.#at - 1) : (JSON.parse(this.#text.slice(from, this.#at)) as string);
      if (end !== '\\' || this.#take(ESCAPE) === undefined) this.#fail();
      this.#step(1);
    }
  }

  /** Goes behind the next character of a class, and says which one it is. */
  #find(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.#text)) return undefined;
    this.#at = pattern.lastIndex;
    return this.#text[this.#at - 1];
  }

  #array(depth: number): Json {
    const items: Json[] = [];
    this.#space();
    if (this.#skip(']')) return items;
    do {
      items.push(this.#value(depth + 1));
      this.#space();
    } while (this.#skip(','));
    if (!this.#skip(']')) this.#fail();
    return items;
  }

  #object(depth: number): JsonObject {
    // Without prototype, so that `__proto__` is a key like any other.
    const fields = Object.create(null) as Record<string, Json>;
    this.#space();
    if (this.#skip('}')) return fields;
    let count = 0;
    do {
      if (++count > MAX_FIELDS) throw new JsonRefused('TooComplex', `The body has an object with more than ${MAX_FIELDS} fields.`);
      this.#space();
      if (this.#text[this.#at] !== '"') this.#fail();
      const key = this.#string();
      if (key in fields) throw new JsonRefused('DuplicateKey', `The body has the key ${JSON.stringify(key.slice(0, 100))} twice in one object.`);
      this.#space();
      if (!this.#skip(':')) this.#fail();
      fields[key] = this.#value(depth + 1);
      this.#space();
    } while (this.#skip(','));
    if (!this.#skip('}')) this.#fail();
    return fields;
  }
}

/** Parses JSON (RFC 8259) without duplicate keys; throws JsonRefused. `JSON.stringify` of the result keeps every digit. */
export const parseStrictJson = (text: string, maxDepth = 128): Json => new Reader(text, maxDepth).document();
