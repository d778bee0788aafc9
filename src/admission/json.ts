import { parseDocument } from 'yaml';
import { messageOf } from '#lib';
import { below } from './json-path.ts';
import { isExact } from './numbers.ts';
import { duplicateKeys, YAML_LIMITS, YAML_OPTIONS } from './yaml.ts';

/** JSON as the server handles it: plain data that came in through `decode` or was made here. */
export type JsonObject = { readonly [name: string]: unknown };
export type MutableJson = { [name: string]: unknown };

export const isObject = (value: unknown): value is JsonObject => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Own property of an object that came from outside. */
export const get = (object: unknown, name: string): unknown => (isObject(object) && Object.hasOwn(object, name) ? object[name] : undefined);

export interface Decoded {
  readonly value: unknown;
  /** Paths of keys that were given twice: `spec.workerPoolRef`. */
  readonly duplicates: readonly string[];
}

/** What is wrong with a body that is not JSON (or YAML). */
export class DecodeError extends Error {}

const MAX_DEPTH = 256;

/** Refuses what would make later code unsafe, whatever parser it came from. Throws DecodeError. */
export const assertPlain = (value: unknown, depth = 0): void => {
  if (depth > MAX_DEPTH) throw new DecodeError(`nested more than ${MAX_DEPTH} levels deep`);
  if (typeof value === 'number' && !Number.isFinite(value)) throw new DecodeError('a number is out of range');
  if (Array.isArray(value)) for (const item of value) assertPlain(item, depth + 1);
  else if (isObject(value)) {
    for (const [name, child] of Object.entries(value)) {
      if (name === '__proto__') throw new DecodeError('a field must not be named "__proto__"');
      assertPlain(child, depth + 1);
    }
  } else if (typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol') throw new DecodeError(`a ${typeof value} is not JSON`);
};

/** A JSON reader that, unlike JSON.parse, knows which keys came twice (the last one wins) and bounds nesting. RFC 8259. */
class JsonReader {
  readonly duplicates: string[] = [];
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): unknown {
    const value = this.#value('', 0);
    this.#space();
    if (this.#at < this.#text.length) throw this.#problem('text after the end of the document');
    return value;
  }

  #problem(what: string): DecodeError {
    const before = this.#text.slice(0, this.#at);
    return new DecodeError(`${what} at line ${before.split('\n').length}, column ${this.#at - before.lastIndexOf('\n')}`);
  }

  #space(): void {
    for (; ; this.#at++) {
      const c = this.#text.charCodeAt(this.#at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
    }
  }

  #value(path: string, depth: number): unknown {
    if (depth > MAX_DEPTH) throw this.#problem(`nested more than ${MAX_DEPTH} levels deep`);
    this.#space();
    const c = this.#text[this.#at];
    if (c === '{') return this.#object(path, depth);
    if (c === '[') return this.#array(path, depth);
    if (c === '"') return this.#string();
    return this.#scalar();
  }

  #object(path: string, depth: number): JsonObject {
    const out: MutableJson = {};
    this.#at++;
    this.#space();
    if (this.#take('}')) return out;
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') throw this.#problem('expected a field name');
      const name = this.#string();
      if (name === '__proto__') throw this.#problem('a field must not be named "__proto__"');
      if (Object.hasOwn(out, name)) this.duplicates.push(below(path, name));
      this.#space();
      if (!this.#take(':')) throw this.#problem("expected ':'");
      out[name] = this.#value(below(path, name), depth + 1);
      this.#space();
      if (this.#take('}')) return out;
      if (!this.#take(',')) throw this.#problem("expected ',' or '}'");
    }
  }

  #array(path: string, depth: number): unknown[] {
    const out: unknown[] = [];
    this.#at++;
    this.#space();
    if (this.#take(']')) return out;
    for (;;) {
      out.push(this.#value(`${path}[${out.length}]`, depth + 1));
      this.#space();
      if (this.#take(']')) return out;
      if (!this.#take(',')) throw this.#problem("expected ',' or ']'");
    }
  }

  #take(c: string): boolean {
    if (this.#text[this.#at] !== c) return false;
    this.#at++;
    return true;
  }

  #string(): string {
    let end = this.#at + 1;
    for (; ; end++) {
      const c = this.#text.charCodeAt(end);
      if (c === 0x22) break;
      if (c === 0x5c) end++;
      if (end >= this.#text.length) throw this.#problem('a string does not end');
    }
    const literal = this.#text.slice(this.#at, end + 1);
    try {
      const value = JSON.parse(literal) as string;
      this.#at = end + 1;
      return value;
    } catch {
      throw this.#problem('a string has an invalid character or escape');
    }
  }

  #scalar(): unknown {
    const scalar = /(?:true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/y;
    scalar.lastIndex = this.#at;
    const literal = scalar.exec(this.#text)?.[0];
    if (literal === undefined) throw this.#problem(this.#at >= this.#text.length ? 'unexpected end' : 'invalid character');
    const value: unknown = /^-?0\d/.test(literal) ? undefined : JSON.parse(literal);
    if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) throw this.#problem('a number is not valid');
    if (!isExact(literal)) throw this.#problem('a whole number has more digits than can be kept');
    this.#at += literal.length;
    return value;
  }
}

/** The most characters of YAML: reading it takes seconds a megabyte. Clients send JSON, kubectl as well. */
const MAX_YAML = 512 * 1024;

const decodeYaml = (text: string): Decoded => {
  if (text.length > MAX_YAML) throw new DecodeError(`more than ${MAX_YAML} characters of YAML: send this as JSON`);
  try {
    const document = parseDocument(text, YAML_OPTIONS);
    const problem = document.errors[0];
    if (problem) throw new DecodeError(problem.message);
    const value: unknown = document.toJS(YAML_LIMITS);
    assertPlain(value);
    return { value, duplicates: duplicateKeys(document).map(({ path }) => path) };
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    // A RangeError of deep recursion ends here too.
    throw new DecodeError(messageOf(error));
  }
};

/** Decodes a request body. Throws DecodeError. */
export const decode = (body: Uint8Array, format: 'json' | 'yaml'): Decoded => {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw new DecodeError('not UTF-8');
  }
  if (format === 'yaml' && !/^\s*\{/.test(text)) return decodeYaml(text);
  const reader = new JsonReader(text);
  return { value: reader.document(), duplicates: reader.duplicates };
};

/** Deep equality of JSON, ignoring the order of fields. */
export const sameJson = (a: unknown, b: unknown): boolean => {
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, index) => sameJson(item, b[index]));
  if (!isObject(a) || !isObject(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && sameJson(a[name], b[name]));
};

/** JSON merge patch (RFC 7386). */
export const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isObject(patch)) return patch;
  const out: MutableJson = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete out[name];
    else out[name] = mergePatch(out[name], value);
  }
  return out;
};
