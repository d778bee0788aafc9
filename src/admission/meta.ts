import type { FieldError, JsonSchema, Kind } from '#api';
import { isObject, type JsonObject } from './json.ts';

/** What every object has: type and metadata. */

const text: JsonSchema = { type: 'string' };
const texts: JsonSchema = { type: 'object', additionalProperties: text };

const OWNER_REFERENCE: JsonSchema = {
  type: 'object',
  description: 'The object this one depends on; when it goes, this one goes.',
  properties: { apiVersion: text, kind: text, name: text, uid: text, controller: { type: 'boolean' }, blockOwnerDeletion: { type: 'boolean' } },
  required: ['apiVersion', 'kind', 'name', 'uid'],
  'x-kubernetes-map-type': 'atomic',
};

/** Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/ */
export const OBJECT_META: JsonSchema = {
  type: 'object',
  description: 'Metadata that every object has.',
  properties: {
    name: { type: 'string', description: 'Name, unique within a namespace.' },
    generateName: { type: 'string', description: 'Prefix of a name the server makes.' },
    namespace: { type: 'string', description: 'Namespace within which the name is unique.' },
    labels: { ...texts, description: 'Keys and values to select objects by.' },
    annotations: { ...texts, description: 'Keys and values for tools.' },
    finalizers: { type: 'array', description: 'What must be done before the object goes.', items: text, 'x-kubernetes-list-type': 'set' },
    ownerReferences: {
      type: 'array',
      description: 'Objects this one depends on.',
      items: OWNER_REFERENCE,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['uid'],
    },
    uid: { type: 'string', description: 'Unique over all objects and times. Read-only.' },
    resourceVersion: { type: 'string', description: 'Version of the object. Read-only.' },
    generation: { type: 'integer', format: 'int64', description: 'Counts changes of the desired state. Read-only.' },
    creationTimestamp: { type: 'string', format: 'date-time', description: 'When it was made. Read-only.' },
    deletionTimestamp: { type: 'string', format: 'date-time', description: 'When deletion was asked for. Read-only.' },
    deletionGracePeriodSeconds: { type: 'integer', format: 'int64', description: 'Read-only.' },
    selfLink: { type: 'string', description: 'Not used.' },
    managedFields: {
      type: 'array',
      description: 'Who manages which field.',
      items: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      'x-kubernetes-list-type': 'atomic',
    },
  },
};

const schemas = new WeakMap<Kind, JsonSchema>();

/** Schema of the whole object, with type and metadata. */
export const objectSchema = (kind: Kind): JsonSchema => {
  let schema = schemas.get(kind);
  if (!schema) {
    schema = {
      ...kind.schema,
      properties: {
        apiVersion: { type: 'string', description: 'Group and version of the kind.' },
        kind: { type: 'string', description: 'The kind.' },
        metadata: OBJECT_META,
        ...kind.schema.properties,
      },
    };
    schemas.set(kind, schema);
  }
  return schema;
};

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;
const MAX_ANNOTATIONS = 256 * 1024;

const invalidValue = (field: string, value: unknown, why: string): FieldError => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
});

/** `prefix/name` or `name`, as keys of labels and annotations are. */
const isQualifiedName = (key: string): boolean => {
  const [first, second, more] = key.split('/');
  const name = second ?? first!;
  if (more !== undefined || name.length > 63 || !NAME_PART.test(name)) return false;
  return second === undefined || (first!.length <= 253 && SUBDOMAIN.test(first!));
};

const checkName = (kind: Kind, name: string): FieldError[] => {
  if (kind.kind === 'Namespace') {
    return name.length <= 63 && DNS_LABEL.test(name)
      ? []
      : [
          invalidValue(
            'metadata.name',
            name,
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', start and end with one, and have at most 63 of them",
          ),
        ];
  }
  return name.length <= 253 && SUBDOMAIN.test(name)
    ? []
    : [
        invalidValue(
          'metadata.name',
          name,
          "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        ),
      ];
};

/** What the schema of metadata cannot say. `metadata` has passed its schema. */
export const checkMetadata = (kind: Kind, metadata: JsonObject): FieldError[] => {
  const labels = isObject(metadata['labels']) ? metadata['labels'] : {};
  const annotations = isObject(metadata['annotations']) ? metadata['annotations'] : {};
  const keyError = "must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix and '/'";
  const errors = checkName(kind, String(metadata['name'] ?? ''));
  for (const [key, value] of Object.entries(labels)) {
    if (!isQualifiedName(key)) errors.push(invalidValue('metadata.labels', key, `name part ${keyError}`));
    if (String(value).length > 63 || !LABEL_VALUE.test(String(value))) {
      errors.push(invalidValue('metadata.labels', value, "a valid label must be empty or consist of at most 63 alphanumeric characters, '-', '_' or '.'"));
    }
  }
  for (const key of Object.keys(annotations)) {
    if (!isQualifiedName(key.toLowerCase())) errors.push(invalidValue('metadata.annotations', key, `name part ${keyError}`));
  }
  if (Buffer.byteLength(JSON.stringify(annotations)) > MAX_ANNOTATIONS) {
    errors.push({ field: 'metadata.annotations', reason: 'FieldValueTooLong', message: `Too long: may not be more than ${MAX_ANNOTATIONS} bytes` });
  }
  const controllers = Array.isArray(metadata['ownerReferences'])
    ? metadata['ownerReferences'].filter((owner) => isObject(owner) && owner['controller'] === true)
    : [];
  if (controllers.length > 1) errors.push(invalidValue('metadata.ownerReferences', controllers.length, 'only one reference can have controller set to true'));
  return errors;
};
