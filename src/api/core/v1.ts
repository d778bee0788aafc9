import { AGE, type FieldError, type Kind, type KubeObject } from '../kind.ts';
import { bool, json, map, string } from '../schema.ts';

/** The core kinds people need beside ours. */

export interface Secret extends KubeObject {
  readonly type?: string;
  readonly immutable?: boolean;
  /** Values in base64. */
  readonly data?: Readonly<Record<string, string>>;
  /** Write-only: plain text, merged into `data` by the server. */
  readonly stringData?: Readonly<Record<string, string>>;
}

export interface ConfigMap extends KubeObject {
  readonly immutable?: boolean;
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

export interface Namespace extends KubeObject {
  readonly spec?: { readonly finalizers?: readonly string[] };
  readonly status?: { readonly phase?: 'Active' | 'Terminating' };
}

const core = { group: '', version: 'v1', native: true } as const;
const KEY = /^[-._a-zA-Z0-9]{1,253}$/;
const MAX_BYTES = 1024 * 1024;

const invalid = (field: string, value: string, why: string): FieldError => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
});

const KEY_TEXT =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

const checkKeys = (field: string, entries: Readonly<Record<string, string>> = {}): FieldError[] =>
  Object.keys(entries)
    .filter((key) => !KEY.test(key))
    .map((key) => invalid(`${field}[${key}]`, key, KEY_TEXT));

const checkTwice = ({ data = {}, binaryData = {} }: ConfigMap): FieldError[] =>
  Object.keys(data)
    .filter((key) => Object.hasOwn(binaryData, key))
    .map((key) => invalid(`data[${key}]`, key, 'duplicate of key present in binaryData'));

const checkBase64 = (field: string, entries: Readonly<Record<string, string>> = {}): FieldError[] =>
  Object.entries(entries)
    // The value itself is never in the message: it is a secret.
    .filter(([, value]) => Buffer.from(value, 'base64').toString('base64') !== value.replace(/[\r\n]/g, ''))
    .map(([key]) => ({ field: `${field}[${key}]`, reason: 'FieldValueInvalid' as const, message: 'Invalid value: must be base64' }));

const checkSize = (field: string, object: Secret | ConfigMap): FieldError[] =>
  Buffer.byteLength(JSON.stringify(object.data ?? {})) > MAX_BYTES * 1.4
    ? [{ field, reason: 'FieldValueTooLong', message: `Too long: may not be more than ${MAX_BYTES} bytes` }]
    : [];

const same = (a: Readonly<Record<string, string>> = {}, b: Readonly<Record<string, string>> = {}): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => Object.hasOwn(b, key) && b[key] === value);

const checkImmutable = <T extends Secret | ConfigMap>(object: T, old?: T): FieldError[] => {
  if (!old?.immutable) return [];
  const forbid = (field: string): FieldError => ({
    field,
    reason: 'FieldValueForbidden',
    message: 'Forbidden: field is immutable when `immutable` is set',
  });
  const [binary, oldBinary] = [object as ConfigMap, old as ConfigMap].map(({ binaryData }) => binaryData);
  return [
    ...(object.immutable ? [] : [forbid('immutable')]),
    ...(same(object.data, old.data) ? [] : [forbid('data')]),
    ...(same(binary, oldBinary) ? [] : [forbid('binaryData')]),
  ];
};

const checkType = (object: Secret, old?: Secret): FieldError[] =>
  old && object.type !== old.type ? [invalid('type', object.type ?? '', 'field is immutable')] : [];

export const secrets: Kind<Secret> = {
  ...core,
  kind: 'Secret',
  plural: 'secrets',
  singular: 'secret',
  shortNames: [],
  namespaced: true,
  description: 'Values that must not be seen.',
  schema: {
    type: 'object',
    description: 'Values that must not be seen.',
    properties: {
      type: string('What the values are for.', { default: 'Opaque' }),
      immutable: bool('Whether data may change.'),
      data: map('Values in base64.', string('', { format: 'byte' })),
      stringData: map('Values as plain text; write-only.', string('')),
    },
  },
  columns: [
    { name: 'Type', type: 'string', path: '.type' },
    { name: 'Data', type: 'integer', path: '.data', value: (object) => Object.keys((object as Secret).data ?? {}).length },
    AGE,
  ],
  subresources: {},
  admission: (object, old) => [
    ...checkKeys('data', object.data),
    ...checkBase64('data', object.data),
    ...checkSize('data', object),
    ...checkType(object, old),
    ...checkImmutable(object, old),
  ],
  normalise: ({ stringData, ...secret }) =>
    stringData
      ? {
          ...secret,
          data: { ...secret.data, ...Object.fromEntries(Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value).toString('base64')])) },
        }
      : secret,
};

export const configMaps: Kind<ConfigMap> = {
  ...core,
  kind: 'ConfigMap',
  plural: 'configmaps',
  singular: 'configmap',
  shortNames: ['cm'],
  namespaced: true,
  description: 'Configuration data.',
  schema: {
    type: 'object',
    description: 'Configuration data.',
    properties: {
      immutable: bool('Whether data may change.'),
      data: map('Values as text.', string('')),
      binaryData: map('Values in base64.', string('', { format: 'byte' })),
    },
  },
  columns: [{ name: 'Data', type: 'integer', path: '.data', value: (object) => Object.keys((object as ConfigMap).data ?? {}).length }, AGE],
  subresources: {},
  admission: (object, old) => [
    ...checkKeys('data', object.data),
    ...checkKeys('binaryData', object.binaryData),
    ...checkTwice(object),
    ...checkBase64('binaryData', object.binaryData),
    ...checkSize('data', object),
    ...checkImmutable(object, old),
  ],
};

export const namespaces: Kind<Namespace> = {
  ...core,
  kind: 'Namespace',
  plural: 'namespaces',
  singular: 'namespace',
  shortNames: ['ns'],
  namespaced: false,
  description: 'A scope for names.',
  schema: { type: 'object', description: 'A scope for names.', properties: { spec: json('Finalizers.'), status: json('Phase.') } },
  columns: [{ name: 'Status', type: 'string', path: '.status.phase' }, AGE],
  subresources: {},
  normalise: (namespace) => ({
    ...namespace,
    spec: { finalizers: ['kubernetes'] },
    status: { phase: namespace.metadata.deletionTimestamp ? 'Terminating' : 'Active' },
  }),
};
