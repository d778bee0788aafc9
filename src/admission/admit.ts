import type { FieldError, Kind, KubeObject } from '#api';
import { checkRules } from './cel.ts';
import { isObject, sameJson, type JsonObject, type MutableJson } from './json.ts';
import { checkMetadata, objectSchema } from './meta.ts';
import { validate, withDefaults } from './structural.ts';

/** Whether an object may be stored, and as what. */

export const metadataOf = (object: JsonObject): JsonObject => (isObject(object['metadata']) ? object['metadata'] : {});

/** `object` with these fields of metadata; those that are undefined or null are left out. */
export const withMetadata = (object: JsonObject, changes: JsonObject): JsonObject => ({
  ...object,
  metadata: Object.fromEntries(Object.entries({ ...metadataOf(object), ...changes }).filter(([, value]) => value !== undefined && value !== null)),
});

/** Everything but type, metadata and status: what `generation` counts changes of. */
export const desired = (kind: Kind, object: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(object).filter(
      ([name]) => name !== 'apiVersion' && name !== 'kind' && name !== 'metadata' && !(name === 'status' && kind.subresources.status),
    ),
  );

interface Birth {
  readonly name: string;
  readonly uid: string;
  /** RFC 3339. */
  readonly time: string;
}

/** What a new object begins with, whatever was sent: an identity of its own, and no status. */
export const newborn = (kind: Kind, incoming: JsonObject, { name, uid, time }: Birth): JsonObject =>
  withMetadata(kind.subresources.status ? Object.fromEntries(Object.entries(incoming).filter(([field]) => field !== 'status')) : incoming, {
    name,
    uid,
    creationTimestamp: time,
    generation: kind.native ? undefined : 1,
    deletionTimestamp: undefined,
    deletionGracePeriodSeconds: undefined,
    resourceVersion: undefined,
  });

const UNCHECKED: FieldError = {
  field: '<nil>',
  reason: 'FieldValueInvalid',
  message: 'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
};

const violations = (kind: Kind, object: JsonObject, old: JsonObject | undefined): readonly FieldError[] => {
  const schema = objectSchema(kind);
  const structural = validate(schema, object);
  const metadata = structural.some(({ field }) => field.startsWith('metadata')) ? [] : checkMetadata(kind, metadataOf(object));
  if (structural.length > 0) return [...structural, ...metadata, ...(kind.native ? [] : [UNCHECKED])];
  const unchanged = old !== undefined && sameJson(desired(kind, object), desired(kind, old));
  const admitted = unchanged ? [] : (kind.admission?.(object as unknown as KubeObject, old as unknown as KubeObject | undefined) ?? []);
  return [...metadata, ...checkRules(schema, object, old), ...admitted];
};

/** Empty lists and maps of metadata are as good as absent, and are left out. */
const withoutEmptyMetadata = (object: JsonObject): JsonObject => {
  const empty = Object.entries(metadataOf(object)).filter(([, value]) => value !== null && typeof value === 'object' && Object.keys(value).length === 0);
  return empty.length > 0 ? withMetadata(object, Object.fromEntries(empty.map(([name]) => [name, undefined]))) : object;
};

export interface Admitted {
  /** Normalised and with defaults. */
  readonly object: MutableJson;
  /** Every rule it breaks; it may be stored when there is none. */
  readonly errors: readonly FieldError[];
}

/** Normalises, defaults and validates a pruned object; `old` is what it replaces, if anything. */
export const admit = (kind: Kind, object: JsonObject, old: JsonObject | undefined): Admitted => {
  const schema = objectSchema(kind);
  const shaped = validate(schema, object);
  const normalised = shaped.length === 0 && kind.normalise ? (kind.normalise(object as unknown as KubeObject) as unknown as JsonObject) : object;
  const complete = withDefaults(schema, withoutEmptyMetadata(normalised)) as MutableJson;
  return { object: complete, errors: violations(kind, complete, old) };
};
