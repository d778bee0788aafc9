import type { JsonSchema, Kind } from '#api';

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
