import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, visit, type Alias, type Document, type Node } from 'yaml';
import { assertPlain, duplicateKeys, isObject, YAML_LIMITS, YAML_OPTIONS } from '#admission';
import { messageOf } from '#lib';
import { Positions, type Position } from './position.ts';

/** Manifests as they are written: objects, and what is wrong with their text. */

/** One thing that is wrong with a manifest. */
export interface ManifestProblem extends Position {
  readonly file: string;
  /** Kind and name of the object, as far as they are known. */
  readonly object: string;
  /** `spec.rules[0].matches`; empty when it is the document as a whole. */
  readonly field: string;
  readonly message: string;
}

export interface ManifestObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

/** One object of a file. */
export class Manifest {
  readonly file: string;
  /** As it was written; what is wrong with it is for who judges it. */
  readonly value: Readonly<Record<string, unknown>>;
  readonly #positions: Positions;

  constructor(file: string, value: Readonly<Record<string, unknown>>, positions: Positions) {
    this.file = file;
    this.value = value;
    this.#positions = positions;
  }

  /** With type and name, for manifests that have both. */
  get object(): ManifestObject {
    return this.value as unknown as ManifestObject;
  }

  /** The same manifest with other top-level fields. */
  with(fields: Readonly<Record<string, unknown>>): Manifest {
    return new Manifest(this.file, { ...this.value, ...fields }, this.#positions);
  }

  get subject(): string {
    const { kind, metadata } = this.value;
    const { name, generateName } = isObject(metadata) ? metadata : {};
    return [kind, name ?? generateName].filter((part) => typeof part === 'string' && part !== '').join(' ');
  }

  /** YAML takes `yes`, `0644` and `1.10` for something else than text. */
  #quotesHint(field: string, message: string): string {
    const source = /must be (?:of type string|text)/.test(message) ? this.#positions.unquoted(field) : undefined;
    if (!source || this.file.endsWith('.json')) return '';
    // A value of a Secret is never shown.
    return `; in YAML, text like this needs quotes${this.value['kind'] === 'Secret' ? '' : `: "${source}"`}`;
  }

  /** A problem with a field of it; `key` points at the field's name and not at its value. */
  problem(field: string, message: string, key = false): ManifestProblem {
    const { written: _, ...position } = this.#positions.of(field, key);
    return { file: this.file, ...position, object: this.subject, field: field.replace(/^\./, ''), message: message + this.#quotesHint(field, message) };
  }
}

export interface Manifests {
  readonly manifests: readonly Manifest[];
  readonly problems: readonly ManifestProblem[];
}

/** A manifest beyond this is refused by the API anyway. */
const MAX_BYTES = 10 * 1024 * 1024;

/** A parser that runs out of stack says it in its own words. */
const readable = (message: string): string => (/call stack|stack overflow/i.test(message) ? 'it is nested too deeply' : message);

/** What a parser says after it ran out of stack comes of that. */
const errorsOf = ({ errors }: Document.Parsed): { readonly at: number; readonly message: string }[] => {
  const told = errors.map(({ pos, message }) => ({ at: pos[0], message: readable(message) }));
  const deep = told.find(({ message }, index) => message !== errors[index]!.message);
  return deep ? [deep] : told;
};

const isEmpty = ({ contents }: Document): boolean => contents === null || (isScalar(contents) && contents.value === null);

const danglingAliases = (document: Document.Parsed): Alias[] => {
  const found: Alias[] = [];
  visit(document, {
    Alias(_, alias) {
      if (!alias.resolve(document)) found.push(alias);
    },
  });
  return found;
};

/** Without a type, a map is no manifest. */
const identity = (manifest: Manifest): ManifestProblem[] =>
  ['apiVersion', 'kind']
    .filter((field) => typeof manifest.value[field] !== 'string' || manifest.value[field] === '')
    .map((field) => manifest.problem(field, 'is missing or not text'));

/** Objects of a node: one, or those of a List. */
const objectsOf = (file: string, document: Document.Parsed, lines: LineCounter, node: Node | null, value: unknown, add: (problem: ManifestProblem) => void): Manifest[] => {
  const positions = new Positions(document, lines, node);
  if (!isObject(value)) {
    const { line, column } = positions.of('');
    add({ file, line, column, object: '', field: '', message: 'a manifest is a map with apiVersion, kind and metadata' });
    return [];
  }
  if (value['kind'] === 'List' && value['apiVersion'] === 'v1' && Array.isArray(value['items']) && isMap(node)) {
    const items = node.get('items');
    return isSeq(items)
      ? value['items'].flatMap((item: unknown, index) => objectsOf(file, document, lines, (items.items[index] ?? null) as Node | null, item, add))
      : [];
  }
  const manifest = new Manifest(file, value, positions);
  const problems = identity(manifest);
  problems.forEach(add);
  return problems.length > 0 ? [] : [manifest];
};

/** Reads every document of a text; `file` is its name in messages. */
export const parseManifests = (file: string, text: string): Manifests => {
  const problems: ManifestProblem[] = [];
  const whole = { file, object: '', field: '' };
  if (Buffer.byteLength(text) > MAX_BYTES) return { manifests: [], problems: [{ ...whole, line: 1, column: 1, message: `the file is larger than ${MAX_BYTES} bytes` }] };
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { ...YAML_OPTIONS, lineCounter: lines });
  const documents = Array.isArray(parsed) ? parsed : [];
  const manifests = documents.flatMap((document) => {
    const positions = new Positions(document, lines, document.contents);
    for (const { at, message } of errorsOf(document)) problems.push({ ...whole, ...positions.at(at), message });
    const dangling = danglingAliases(document);
    for (const { range, source } of dangling) problems.push({ ...whole, ...positions.at(range?.[0] ?? 0), message: `*${source} stands for nothing: no &${source} comes before it` });
    if (document.errors.length > 0 || dangling.length > 0 || isEmpty(document)) return []; // empty: nothing between two lines of ---
    for (const { path, offset } of duplicateKeys(document)) problems.push({ ...whole, ...positions.at(offset), field: path, message: 'is there twice' });
    try {
      const value: unknown = document.toJS(YAML_LIMITS);
      assertPlain(value);
      return objectsOf(file, document, lines, document.contents, value, (problem) => problems.push(problem));
    } catch (error) {
      problems.push({ ...whole, ...positions.of(''), message: readable(messageOf(error)) });
      return [];
    }
  });
  return { manifests, problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
};
