import { isAlias, isMap, isNode, isScalar, isSeq, type Document, type LineCounter, type Node, type Pair } from 'yaml';

/** Where the fields of a document are written. */

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Place extends Position {
  /** Whether the field itself is written; otherwise the position is that of its nearest parent. */
  readonly written: boolean;
}

/** `<<` is a symbol once it is read as the sign for a merge. */
const keyOf = ({ key }: Pair): string => (isScalar(key) ? (typeof key.value === 'symbol' ? '<<' : String(key.value)) : String(key));

/** Splits the first part of a path off: a list index, or the text of a name that a map may have. */
const bracket = (path: string): { inside: string; rest: string } | undefined => {
  const end = path.startsWith('[') ? path.indexOf(']') : -1;
  return end < 0 ? undefined : { inside: path.slice(1, end), rest: path.slice(end + 1) };
};

/** `name="x",port=1`, as server-side apply names an item of a list by its keys. */
const isItem = (item: unknown, keys: string): boolean =>
  isMap(item) && keys.split(',').every((term) => term === `${term.split('=')[0]}=${JSON.stringify(item.get(term.split('=')[0]!))}`);

export class Positions {
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #root: Node | null;

  /** `root` is the node that paths start from. */
  constructor(document: Document.Parsed, lines: LineCounter, root: Node | null) {
    this.#document = document;
    this.#lines = lines;
    this.#root = root;
  }

  at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: line || 1, column: col || 1 };
  }

  /**
   * Where a field path (`spec.rules[0].matches`, `data[tls.crt]`, `.spec.env[name="A"].value`) is written: its scalar value, or
   * (`key`, and for lists and maps) its name.
   */
  of(path: string, key = false): Place {
    const { node, start, written } = this.#find(path);
    const value = this.#resolved(node);
    return { ...this.at(written && !key && isScalar(value) && !isAlias(node) ? (value.range?.[0] ?? start) : start), written };
  }

  /** The text of a value that is written without quotes and therefore is no text: `yes`, `0644`, `~`. */
  unquoted(path: string): string | undefined {
    const { node, written } = this.#find(path);
    return written && isScalar(node) && node.type === 'PLAIN' && typeof node.value !== 'string' ? node.source : undefined;
  }

  /** The node of a field, or of its nearest parent that is written, and where it begins. */
  #find(path: string): { node: unknown; start: number; written: boolean } {
    let node: unknown = this.#root;
    let start = this.#root?.range?.[0] ?? 0;
    let rest = path.replace(/^\./, '');
    while (rest !== '') {
      const step = this.#step(node, rest);
      if (!step) return { node, start, written: false };
      ({ node, start, rest } = step);
    }
    return { node, start, written: true };
  }

  #resolved(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #step(from: unknown, path: string): { node: unknown; start: number; rest: string } | undefined {
    const node = this.#resolved(from);
    const part = bracket(path);
    if (isSeq(node)) {
      if (!part) return undefined;
      const { inside, rest } = part;
      const item: unknown = /^\d+$/.test(inside)
        ? node.items[Number(inside)]
        : node.items.find((candidate) => (inside.startsWith('=') ? isScalar(candidate) && `=${JSON.stringify(candidate.value)}` === inside : isItem(candidate, inside)));
      return isNode(item) ? { node: item, start: item.range?.[0] ?? 0, rest: rest.replace(/^\./, '') } : undefined;
    }
    if (!isMap(node)) return undefined;
    const pair = this.#pair(node.items, path, part?.inside);
    if (!pair) return undefined;
    const length = part && keyOf(pair) === part.inside ? part.inside.length + 2 : keyOf(pair).length;
    return { node: pair.value, start: (pair.key as Node | null)?.range?.[0] ?? 0, rest: path.slice(length).replace(/^\./, '') };
  }

  /** The field a path begins with; names may have dots, so the longest one that fits. Fields merged in with `<<` count. */
  #pair(items: readonly Pair[], path: string, inside: string | undefined): Pair | undefined {
    const fits = items.filter((pair) => {
      const name = keyOf(pair);
      return name === inside || path === name || (path.startsWith(name) && /[.[]/.test(path[name.length]!));
    });
    const longest = fits.toSorted((a, b) => keyOf(b).length - keyOf(a).length)[0];
    if (longest) return longest;
    for (const merged of items.filter((pair) => keyOf(pair) === '<<')) {
      const sources = isSeq(merged.value) ? merged.value.items : [merged.value];
      for (const source of sources.map((candidate) => this.#resolved(candidate))) {
        const found = isMap(source) ? this.#pair(source.items, path, inside) : undefined;
        if (found) return found;
      }
    }
    return undefined;
  }
}
