import type { JsonSchema } from '#api';
import { get, isObject, sameJson, type JsonObject, type MutableJson } from '#admission';

/**
 * Sets of fields, as `managedFields` keeps them. A path is a list of segments: `f:name` (field), `k:{"name":"x"}` (item of a map
 * list), `v:"x"` (item of a set). Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and
 * https://github.com/kubernetes-sigs/structured-merge-diff (fieldpath)
 */
export type Path = readonly string[];

const keyOf = (path: Path): string => JSON.stringify(path);

export class FieldSet {
  readonly #paths: Map<string, Path>;

  constructor(paths: Iterable<Path> = []) {
    this.#paths = new Map(Array.from(paths, (path) => [keyOf(path), path]));
  }

  get size(): number {
    return this.#paths.size;
  }

  has(path: Path): boolean {
    return this.#paths.has(keyOf(path));
  }

  paths(): readonly Path[] {
    return [...this.#paths.values()];
  }

  union(other: FieldSet): FieldSet {
    return new FieldSet([...this.paths(), ...other.paths()]);
  }

  without(other: FieldSet): FieldSet {
    return new FieldSet(this.paths().filter((path) => !other.has(path)));
  }

  equals(other: FieldSet): boolean {
    return this.size === other.size && this.paths().every((path) => other.has(path));
  }

  /** These paths, and everything they are below of. */
  withParents(): FieldSet {
    return new FieldSet(this.paths().flatMap((path) => path.map((_, depth) => path.slice(0, depth + 1))));
  }

  /** The form of `fieldsV1`: a tree, where `.` says that an inner node itself is in the set. */
  toFieldsV1(): JsonObject {
    const root: MutableJson = {};
    const inner = new Set<string>();
    for (const path of this.paths()) for (let depth = 1; depth < path.length; depth++) inner.add(keyOf(path.slice(0, depth)));
    for (const path of this.paths()) {
      let node = root;
      for (const segment of path) node = (node[segment] ??= {}) as MutableJson;
      if (inner.has(keyOf(path))) node['.'] = {};
    }
    return root;
  }

  static fromFieldsV1(fields: unknown): FieldSet {
    const paths: Path[] = [];
    const visit = (node: unknown, path: Path): void => {
      if (!isObject(node)) return;
      const entries = Object.entries(node);
      if (path.length > 0 && (entries.length === 0 || Object.hasOwn(node, '.'))) paths.push(path);
      for (const [segment, child] of entries) if (segment !== '.') visit(child, [...path, segment]);
    };
    visit(fields, []);
    return new FieldSet(paths);
  }
}

/** A part of a value that can have an owner of its own. */
export interface Child {
  readonly segment: string;
  readonly schema: JsonSchema | undefined;
  readonly value: unknown;
  /** Whether the schema declares it as a field (in contrast to a key of a map or an item of a list). */
  readonly declared: boolean;
}

export const itemKey = (keys: readonly string[], item: unknown): string =>
  `k:${JSON.stringify(Object.fromEntries([...keys].sort().map((key) => [key, get(item, key)])))}`;

/** The parts of a value, or undefined when it is owned as a whole (scalars, atomic lists and maps). */
export const childrenOf = (schema: JsonSchema | undefined, value: unknown): readonly Child[] | undefined => {
  if (isObject(value)) {
    if (schema?.['x-kubernetes-map-type'] === 'atomic') return undefined;
    return Object.entries(value).map(([name, child]) => {
      const known = schema?.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
      return { segment: `f:${name}`, schema: known ?? schema?.additionalProperties, value: child, declared: known !== undefined };
    });
  }
  if (!Array.isArray(value)) return undefined;
  const keys = schema?.['x-kubernetes-list-map-keys'];
  if (schema?.['x-kubernetes-list-type'] === 'map' && keys) {
    return value.map((item) => ({ segment: itemKey(keys, item), schema: schema.items, value: item, declared: false }));
  }
  if (schema?.['x-kubernetes-list-type'] === 'set') {
    return value.map((item) => ({ segment: `v:${JSON.stringify(item)}`, schema: schema.items, value: item, declared: false }));
  }
  return undefined;
};

/** Fields that never have an owner: the identity of the object and what the server writes. */
const UNOWNED = new FieldSet([
  ['f:apiVersion'],
  ['f:kind'],
  ['f:metadata'],
  ...[
    'name',
    'namespace',
    'uid',
    'resourceVersion',
    'generation',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'selfLink',
    'managedFields',
  ].map((name) => ['f:metadata', `f:${name}`]),
]);

/** What an applied configuration claims: its leaves, and the keys and items it names. */
export const appliedFields = (schema: JsonSchema, value: unknown): FieldSet => {
  const paths: Path[] = [];
  const visit = (node: JsonSchema | undefined, current: unknown, path: Path): void => {
    const children = childrenOf(node, current);
    if (!children || (children.length === 0 && path.length > 0)) {
      paths.push(path);
      return;
    }
    for (const child of children) {
      const at = [...path, child.segment];
      if (UNOWNED.has(at) && child.segment !== 'f:metadata') continue;
      if (!child.declared && child.schema !== undefined && childrenOf(child.schema, child.value)?.length) paths.push(at);
      visit(child.schema, child.value, at);
    }
  };
  visit(schema, value, []);
  return new FieldSet(paths).without(UNOWNED);
};

export interface Comparison {
  /** Paths that are new, or whose value is another one. */
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

/** What happened between two versions of an object; either may be undefined. */
export const compareFields = (schema: JsonSchema, before: unknown, after: unknown): Comparison => {
  const changed: Path[] = [];
  const removed: Path[] = [];
  const all = (node: JsonSchema | undefined, value: unknown, path: Path, out: Path[]): void => {
    out.push(path);
    for (const child of childrenOf(node, value) ?? []) all(child.schema, child.value, [...path, child.segment], out);
  };
  const visit = (node: JsonSchema | undefined, a: unknown, b: unknown, path: Path): void => {
    const old = childrenOf(node, a);
    const next = childrenOf(node, b);
    if (!old || !next) {
      if (!sameJson(a, b)) {
        for (const child of old ?? []) all(child.schema, child.value, [...path, child.segment], removed);
        all(node, b, path, changed);
      }
      return;
    }
    const oldBySegment = new Map(old.map((child) => [child.segment, child]));
    const nextSegments = new Set(next.map(({ segment }) => segment));
    for (const child of next) {
      const at = [...path, child.segment];
      const same = oldBySegment.get(child.segment);
      if (same) visit(child.schema, same.value, child.value, at);
      else all(child.schema, child.value, at, changed);
    }
    for (const child of old) if (!nextSegments.has(child.segment)) all(child.schema, child.value, [...path, child.segment], removed);
  };
  visit(schema, before ?? {}, after ?? {}, []);
  return { changed: new FieldSet(changed.filter((path) => path.length > 0)).without(UNOWNED), removed: new FieldSet(removed).without(UNOWNED) };
};

const indexes = new WeakMap<readonly unknown[], ReadonlyMap<string, Child>>();

/** The items of a list by their segments; made once for a list, whose schema is always the same. */
const itemsOf = (schema: JsonSchema | undefined, list: readonly unknown[]): ReadonlyMap<string, Child> => {
  let known = indexes.get(list);
  if (!known) {
    known = new Map((childrenOf(schema, list) ?? []).map((child) => [child.segment, child]));
    indexes.set(list, known);
  }
  return known;
};

/** One part of a value, without looking at the others. */
const childAt = (schema: JsonSchema | undefined, value: unknown, segment: string): Pick<Child, 'schema' | 'value'> | undefined => {
  if (Array.isArray(value)) return itemsOf(schema, value).get(segment);
  const name = segment.slice(2);
  if (!isObject(value) || !segment.startsWith('f:') || !Object.hasOwn(value, name) || schema?.['x-kubernetes-map-type'] === 'atomic') return undefined;
  const known = schema?.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : schema?.additionalProperties;
  return { schema: known, value: value[name] };
};

/** The value at a path, or undefined. */
export const valueAt = (schema: JsonSchema, root: unknown, path: Path): unknown => {
  let at: Pick<Child, 'schema' | 'value'> | undefined = { schema, value: root };
  for (const segment of path) {
    at = childAt(at.schema, at.value, segment);
    if (!at) return undefined;
  }
  return at.value;
};

/** A path as people read it: `.spec.template.spec.env[name="A"].value`. */
export const printPath = (path: Path): string =>
  path
    .map((segment) => {
      const body = segment.slice(2);
      if (segment.startsWith('f:')) return `.${body}`;
      if (segment.startsWith('v:')) return `[=${body}]`;
      const keys = JSON.parse(body) as JsonObject;
      return `[${Object.entries(keys)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(',')}]`;
    })
    .join('');
