import type { FieldError, Kind, KubeObject } from '#api';
import { checkRules, hasRules } from './cel.ts';
import { checkMetadata } from './check-metadata.ts';
import { checkScale } from './check-scale.ts';
import { isObject, sameJson, type JsonObject, type MutableJson } from './json.ts';
import { objectSchema } from './meta.ts';
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

/** What keeps rules from being checked, because they rely on it. */
const BLOCKING: readonly FieldError['reason'][] = [
  'FieldValueNotSupported',
  'FieldValueRequired',
  'FieldValueTooLong',
  'FieldValueTooMany',
  'FieldValueTypeInvalid',
];
/** Said beside errors that keep rules from being checked. */
export const UNCHECKED: FieldError = {
  field: '<nil>',
  reason: 'FieldValueInvalid',
  message: 'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
};

const wrongKind = (kind: Kind, object: JsonObject): readonly FieldError[] =>
  object['kind'] === kind.kind
    ? []
    : [{ field: 'kind', reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(object['kind'])}: must be ${kind.kind}` }];

const violations = (kind: Kind, object: JsonObject, old: JsonObject | undefined, statusOnly: boolean): readonly FieldError[] => {
  const schema = objectSchema(kind);
  const structural = statusOnly
    ? validate(kind.schema.properties?.['status'] ?? {}, object['status'] ?? {}, { path: 'status', shown: '', old: old?.['status'] })
    : validate(kind.schema, object, { old });
  const found = [...wrongKind(kind, object), ...checkMetadata(kind, metadataOf(object)), ...structural, ...checkScale(kind, object)];
  if (found.some(({ reason }) => BLOCKING.includes(reason))) return [...found, ...(hasRules(schema) ? [UNCHECKED] : [])];
  const broken = [...found, ...checkRules(schema, object, old)];
  // What code of ours judges, it may take for valid.
  if (found.length > 0 || (old !== undefined && sameJson(desired(kind, object), desired(kind, old)))) return broken;
  return [...broken, ...(kind.admission?.(object as unknown as KubeObject, old as unknown as KubeObject | undefined) ?? [])];
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

/**
 * Normalises, defaults and validates a pruned object; `old` is what it replaces, if anything. `statusOnly`: as the status
 * endpoint does, which judges the status and calls its fields by their names in it.
 */
export const admit = (kind: Kind, object: JsonObject, old: JsonObject | undefined, statusOnly = false): Admitted => {
  const schema = objectSchema(kind);
  const normalises = kind.normalise !== undefined && validate(schema, object).length === 0;
  const normalised = normalises ? (kind.normalise!(object as unknown as KubeObject) as unknown as JsonObject) : object;
  const complete = withDefaults(schema, withoutEmptyMetadata(normalised)) as MutableJson;
  return { object: complete, errors: violations(kind, complete, old, statusOnly) };
};
