import type { JsonSchema, ManagedFieldsEntry } from '#api';
import { appliedFields, childrenOf, compareFields, FieldSet, printPath, valueAt, type Child, type Path } from './field-set.ts';
import { get, isObject, sameJson, type JsonObject, type MutableJson } from '#admission';
import { StatusError } from './status.ts';

/** Who manages which field: ownership after updates, and server-side apply. */

export interface Writer {
  readonly manager: string;
  readonly apiVersion: string;
  /** Empty, or `status`. */
  readonly subresource: string;
  /** RFC 3339, seconds. */
  readonly time: string;
}

interface Owner {
  readonly entry: ManagedFieldsEntry;
  readonly fields: FieldSet;
}

const readOwners = (object: JsonObject | undefined): Owner[] => {
  const entries = get(get(object, 'metadata'), 'managedFields');
  return Array.isArray(entries)
    ? (entries as ManagedFieldsEntry[]).filter(isObject).map((entry) => ({ entry, fields: FieldSet.fromFieldsV1(entry.fieldsV1) }))
    : [];
};

const sameWriter = ({ entry }: Owner, operation: ManagedFieldsEntry['operation'], writer: Writer): boolean =>
  entry.manager === writer.manager &&
  entry.operation === operation &&
  (entry.subresource ?? '') === writer.subresource &&
  entry.apiVersion === writer.apiVersion;

const entryOf = (operation: ManagedFieldsEntry['operation'], writer: Writer): ManagedFieldsEntry => ({
  manager: writer.manager,
  operation,
  apiVersion: writer.apiVersion,
  time: writer.time,
  fieldsType: 'FieldsV1',
  fieldsV1: {},
  ...(writer.subresource && { subresource: writer.subresource }),
});

const rank = ({ entry }: Owner): string => `${entry.operation} ${entry.time ?? ''} ${entry.manager} ${entry.subresource ?? ''}`;

const withOwners = (object: JsonObject, owners: readonly Owner[]): JsonObject => {
  const { managedFields: _, ...metadata } = object['metadata'] as MutableJson;
  const kept = owners.filter(({ fields }) => fields.size > 0).sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
  return {
    ...object,
    metadata: kept.length > 0 ? { ...metadata, managedFields: kept.map(({ entry, fields }) => ({ ...entry, fieldsV1: fields.toFieldsV1() })) } : metadata,
  };
};

/**
 * Owners an update starts from: those it was sent with, since a writer may hand fields over, else those there are. One empty
 * entry forgets them all, as in Kubernetes; what cannot be read changes nothing.
 */
const ownersFor = (before: JsonObject | undefined, after: JsonObject): Owner[] => {
  const given = get(get(after, 'metadata'), 'managedFields');
  if (!Array.isArray(given) || given.length === 0) return readOwners(before);
  if (given.length === 1 && isObject(given[0]) && Object.keys(given[0]).length === 0) return [];
  const readable = given.every((entry) => typeof get(entry, 'manager') === 'string' && isObject(get(entry, 'fieldsV1')));
  if (!readable) return readOwners(before);
  try {
    return readOwners(after);
  } catch {
    return readOwners(before);
  }
};

/** `after` with `managedFields` brought up to date: what the writer set or changed is now its own. */
export const trackUpdate = (schema: JsonSchema, before: JsonObject | undefined, after: JsonObject, writer: Writer): JsonObject => {
  const { changed, removed } = compareFields(schema, before, after);
  const gone = changed.union(removed);
  let mine: Owner | undefined;
  const others: Owner[] = [];
  for (const owner of ownersFor(before, after)) {
    if (sameWriter(owner, 'Update', writer)) mine = owner;
    else others.push({ ...owner, fields: owner.fields.without(gone) });
  }
  const fields = (mine?.fields ?? new FieldSet()).without(removed).union(changed);
  const moved = !mine || changed.size > 0 || !fields.equals(mine.fields);
  return withOwners(after, [...others, { entry: moved ? entryOf('Update', writer) : mine!.entry, fields }]);
};

/** Ownership after the server itself changed something (defaults, finalizers): nobody gains a field, removed ones are forgotten. */
export const keepOwners = (schema: JsonSchema, before: JsonObject | undefined, after: JsonObject): JsonObject => {
  const { removed } = compareFields(schema, before, after);
  return withOwners(
    after,
    readOwners(before).map((owner) => ({ ...owner, fields: owner.fields.without(removed) })),
  );
};

const printManager = ({ entry }: Owner): string => {
  const name = `${JSON.stringify(entry.manager)}${entry.subresource ? ` with subresource ${JSON.stringify(entry.subresource)}` : ''}`;
  return entry.operation === 'Update' ? `${name} using ${entry.apiVersion}` : name;
};

/** More conflicts than this are only counted. */
const MAX_CONFLICTS = 100;

const applyConflict = (all: readonly { owner: Owner; path: Path }[]): StatusError => {
  const conflicts = all.slice(0, MAX_CONFLICTS);
  const managers = new Map<string, string[]>();
  for (const { owner, path } of conflicts) {
    const name = printManager(owner);
    managers.set(name, [...(managers.get(name) ?? []), printPath(path)]);
  }
  const [first] = conflicts;
  const message =
    conflicts.length === 1
      ? `Apply failed with 1 conflict: conflict with ${printManager(first!.owner)}: ${printPath(first!.path)}`
      : `Apply failed with ${all.length} conflicts: ${[...managers].map(([name, paths]) => `conflicts with ${name}:${paths.map((path) => `\n- ${path}`).join('')}`).join('\n')}`;
  return new StatusError(409, 'Conflict', message, {
    causes: conflicts.map(({ owner, path }) => ({ reason: 'FieldManagerConflict', message: `conflict with ${printManager(owner)}`, field: printPath(path) })),
  });
};

const rebuild = (like: unknown, children: readonly Child[]): unknown =>
  Array.isArray(like) ? children.map(({ value }) => value) : Object.fromEntries(children.map(({ segment, value }) => [segment.slice(2), value]));

/** The live value with the applied one laid over it. */
const merge = (schema: JsonSchema | undefined, live: unknown, applied: unknown): unknown => {
  const old = childrenOf(schema, live);
  const next = childrenOf(schema, applied);
  if (!old || !next || Array.isArray(live) !== Array.isArray(applied)) return applied;
  const appliedBySegment = new Map(next.map((child) => [child.segment, child]));
  const oldSegments = new Set(old.map(({ segment }) => segment));
  const merged = old.map((child) => {
    const over = appliedBySegment.get(child.segment);
    return over ? { ...child, value: merge(child.schema, child.value, over.value) } : child;
  });
  return rebuild(applied, [...merged, ...next.filter(({ segment }) => !oldSegments.has(segment))]);
};

/** `value` without the parts at `gone`. */
const removeFields = (schema: JsonSchema | undefined, value: unknown, gone: FieldSet, path: Path = []): unknown => {
  const children = childrenOf(schema, value);
  if (!children) return value;
  const kept = children
    .filter((child) => !gone.has([...path, child.segment]))
    .map((child) => ({ ...child, value: removeFields(child.schema, child.value, gone, [...path, child.segment]) }));
  return rebuild(value, kept);
};

/**
 * Server-side apply of `config` onto `live` (undefined: it does not exist yet). Returns the new object with `managedFields`.
 * Throws StatusError 409 when another manager owns a field with another value, unless `force`.
 */
export const apply = (schema: JsonSchema, live: JsonObject | undefined, config: JsonObject, writer: Writer, force: boolean): JsonObject => {
  const wanted = appliedFields(schema, config);
  const owners = readOwners(live);
  const mine = owners.find((owner) => sameWriter(owner, 'Apply', writer));
  let others = owners.filter((owner) => owner !== mine);

  const conflicts = others.flatMap((owner) =>
    wanted
      .paths()
      .filter((path) => owner.fields.has(path) && !sameLeaf(schema, live, config, path))
      .map((path) => ({ owner, path })),
  );
  if (conflicts.length > 0 && !force) throw applyConflict(conflicts);
  const taken = new FieldSet(conflicts.map(({ path }) => path));
  others = others.map((owner) => ({ ...owner, fields: owner.fields.without(taken) }));

  const merged = live ? (merge(schema, live, config) as JsonObject) : config;
  const abandoned = (mine?.fields ?? new FieldSet()).without(wanted);
  const claimed = others.reduce((set, owner) => set.union(owner.fields), wanted);
  const kept = claimed.withParents();
  const gone = new FieldSet(abandoned.paths().filter((path) => !kept.has(path)));
  const result = gone.size > 0 ? (removeFields(schema, merged, gone) as JsonObject) : merged;

  const unchanged = mine && mine.fields.equals(wanted) && live && sameJson(live, withOwners(result, owners));
  const entry = unchanged ? mine.entry : entryOf('Apply', writer);
  return withOwners(result, [...others, { entry, fields: wanted }]);
};

/** Whether live and applied have the same value at a leaf; inner nodes (items, map keys) never conflict. */
const sameLeaf = (schema: JsonSchema, live: unknown, config: unknown, path: Path): boolean => {
  const a = valueAt(schema, live, path);
  const b = valueAt(schema, config, path);
  return sameJson(a, b) || (a !== undefined && (isObject(a) || Array.isArray(a)) && typeof a === typeof b && !isAtomic(schema, path, a));
};

const isAtomic = (schema: JsonSchema, path: Path, value: unknown): boolean => {
  let node: JsonSchema | undefined = schema;
  for (const segment of path) {
    if (segment.startsWith('f:')) {
      const name = segment.slice(2);
      node = node?.properties && Object.hasOwn(node.properties, name) ? node.properties[name] : node?.additionalProperties;
    } else node = node?.items;
  }
  return childrenOf(node, value) === undefined;
};
