import { isAlias, isMap, isScalar, isSeq, type Document, type ParsedNode, type ParseOptions, type ScalarTag, type Tags } from 'yaml';
import { below } from './json-path.ts';
import { isExact } from './numbers.ts';

/** YAML as Kubernetes reads it: YAML 1.1 without times of day, dates and the rarer collections, which it leaves as they are written. */

const yaml = (name: string): string => `tag:yaml.org,2002:${name}`;
const LEFT_ALONE: ReadonlySet<string> = new Set(['timestamp', 'set', 'omap', 'pairs', 'binary'].map(yaml));

const octal: ScalarTag = { tag: yaml('int'), default: true, format: 'OCT', test: /^[-+]?0o[0-7]+$/, resolve: (text) => Number(text.replace('+', '')) };
/** `!!binary`: the text whose bytes are written in base64. */
const binary: ScalarTag = { tag: yaml('binary'), default: false, resolve: (text) => Buffer.from(text, 'base64').toString('utf8') };

/** The same tag, for whole numbers that are kept digit by digit. */
const exact = (tag: Tags[number]): Tags[number] => {
  if (typeof tag === 'string' || tag.tag !== yaml('int') || !('resolve' in tag) || 'collection' in tag) return tag;
  const { resolve } = tag as ScalarTag;
  return {
    ...(tag as ScalarTag),
    resolve: (text: string, onError: (message: string) => void, options: ParseOptions) => {
      if (!isExact(text.replaceAll('_', ''))) onError('a whole number has more digits than can be kept');
      return resolve(text, onError, options);
    },
  };
};

/** Options of `parseDocument` and `parseAllDocuments`. Keys that come twice are for `duplicateKeys` to find. */
export const YAML_OPTIONS = {
  version: '1.1',
  schema: 'yaml-1.1',
  merge: true,
  uniqueKeys: false,
  logLevel: 'error',
  prettyErrors: false,
  customTags: (tags: Tags): Tags => [
    octal,
    binary,
    ...tags.filter((tag) => typeof tag === 'string' || !(LEFT_ALONE.has(tag.tag) || ('format' in tag && tag.format === 'TIME'))).map(exact),
  ],
} as const;

/** Aliases are expanded at most this often, so that a few lines cannot become gigabytes. */
export const YAML_LIMITS = { maxAliasCount: 100 } as const;

export interface DuplicateKey {
  /** `spec.workerPoolRef` */
  readonly path: string;
  /** Where the later one begins. */
  readonly offset: number;
}

/** Keys that a map has more than once; the last one wins. `<<`, which is read as a symbol, may come often. */
export const duplicateKeys = (document: Document.Parsed): DuplicateKey[] => {
  const found: DuplicateKey[] = [];
  const visit = (node: ParsedNode | null, path: string): void => {
    if (isSeq(node)) (node.items as ParsedNode[]).forEach((item, index) => visit(item, `${path}[${index}]`));
    if (!isMap(node) || isAlias(node)) return;
    const seen = new Set<string>();
    for (const { key, value } of node.items as { key: ParsedNode; value: ParsedNode | null }[]) {
      const name = isScalar(key) ? String(key.value) : String(key);
      if (seen.has(name) && name !== 'Symbol(<<)') found.push({ path: below(path, name), offset: key.range[0] });
      seen.add(name);
      visit(value, below(path, name));
    }
  };
  visit(document.contents, '');
  return found;
};
