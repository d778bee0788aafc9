import type { FieldError, Kind } from '#api';
import { get, isObject, type JsonObject } from './json.ts';

/** What names, labels, annotations, finalizers and owners may be; messages are those of kube-apiserver. Source: k8s.io/apimachinery, validation. */

const SUBDOMAIN = '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*';
const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const NAME_PART = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const VALUE = '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?';
const whole = (pattern: string): RegExp => new RegExp(`^${pattern}$`);
const [IS_SUBDOMAIN, IS_LABEL, IS_NAME_PART, IS_VALUE] = [whole(SUBDOMAIN), whole(LABEL), whole(NAME_PART), whole(VALUE)];
const MAX_ANNOTATIONS = 256 * 1024;

const ENDS = 'and must start and end with an alphanumeric character';
const SUBDOMAIN_TEXT = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ${ENDS} (e.g. 'example.com', regex used for validation is '${SUBDOMAIN}')`;
const LABEL_TEXT = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', ${ENDS} (e.g. 'my-name',  or '123-abc', regex used for validation is '${LABEL}')`;
const NAME_PART_TEXT = `must consist of alphanumeric characters, '-', '_' or '.', ${ENDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${NAME_PART}')`;
const VALUE_TEXT = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', ${ENDS} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '${VALUE}')`;

const limited = (text: string, max: number, shape: RegExp, what: string, unit = 'bytes'): string[] => [
  ...(Buffer.byteLength(text) > max ? [`must be no more than ${max} ${unit}`] : []),
  ...(shape.test(text) ? [] : [what]),
];
const subdomainErrors = (text: string): string[] => limited(text, 253, IS_SUBDOMAIN, SUBDOMAIN_TEXT, 'characters');
const nameErrors = (kind: Kind, name: string): string[] =>
  kind.kind === 'Namespace' ? limited(name, 63, IS_LABEL, LABEL_TEXT, 'characters') : subdomainErrors(name);

/** `prefix/name` or `name`, as keys of labels and annotations are. */
export const qualifiedNameErrors = (key: string): string[] => {
  const parts = key.split('/');
  if (parts.length > 2) return [`a valid label key ${NAME_PART_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  const name = parts.at(-1)!;
  const prefix = parts.length === 2 ? parts[0]! : undefined;
  return [
    ...(prefix === '' ? ['prefix part must be non-empty'] : prefix === undefined ? [] : subdomainErrors(prefix).map((why) => `prefix part ${why}`)),
    ...(name === '' ? ['name part must be non-empty'] : []),
    ...limited(name, 63, IS_NAME_PART, NAME_PART_TEXT).map((why) => `name part ${why}`),
  ];
};

/** What is wrong with the value of a label, at most one thing. */
export const labelValueErrors = (value: string): string[] => limited(value, 63, IS_VALUE, VALUE_TEXT).slice(0, 1);

const invalidValue = (field: string, value: unknown, why: string): FieldError => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
});

/** A name is put after the prefix, so that it may end in a hyphen. */
const generateNameErrors = (kind: Kind, prefix: string): string[] =>
  prefix === '' ? [] : nameErrors(kind, prefix.length > 1 && prefix.endsWith('-') ? `${prefix.slice(0, -2)}a` : prefix);

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const mapOf = (value: unknown): JsonObject => (isObject(value) ? value : {});

const OWNERS = 'metadata.ownerReferences';

const checkOwner = (owner: unknown): FieldError[] => {
  const text = (name: string): string => String(get(owner, name) ?? '');
  const version = text('apiVersion').split('/').length > 2 ? '' : text('apiVersion').split('/').at(-1);
  const empty = ['kind', 'name', 'uid'].filter((name) => text(name) === '');
  return [
    ...(version === '' ? [invalidValue(`${OWNERS}.apiVersion`, text('apiVersion'), 'version must not be empty')] : []),
    ...empty.map((name) => invalidValue(`${OWNERS}.${name}`, '', 'must not be empty')),
    ...(text('apiVersion') === 'v1' && text('kind') === 'Event' ? [invalidValue(OWNERS, owner, '/v1, Kind=Event is disallowed from being an owner')] : []),
  ];
};

const checkOwners = (owners: readonly unknown[]): FieldError[] => {
  const controllers = owners.filter((owner) => get(owner, 'controller') === true).map((owner) => `${String(get(owner, 'kind'))}/${String(get(owner, 'name'))}`);
  const why = `Only one reference can have Controller set to true. Found "true" in references for ${controllers[0]} and ${controllers[1]}`;
  return [...owners.flatMap(checkOwner), ...(controllers.length > 1 ? [invalidValue(OWNERS, owners, why)] : [])];
};

const checkAnnotations = (annotations: JsonObject): FieldError[] => {
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(value)), 0);
  return [
    ...Object.keys(annotations).flatMap((key) => qualifiedNameErrors(key.toLowerCase()).map((why) => invalidValue('metadata.annotations', key, why))),
    ...(size > MAX_ANNOTATIONS
      ? [{ field: 'metadata.annotations', reason: 'FieldValueTooLong' as const, message: `Too long: may not be more than ${MAX_ANNOTATIONS} bytes` }]
      : []),
  ];
};

/** What is wrong with metadata whose fields have the right types. */
export const checkMetadata = (kind: Kind, metadata: JsonObject): FieldError[] => [
  ...generateNameErrors(kind, String(metadata['generateName'] ?? '')).map((why) => invalidValue('metadata.generateName', metadata['generateName'], why)),
  ...nameErrors(kind, String(metadata['name'] ?? '')).map((why) => invalidValue('metadata.name', metadata['name'], why)),
  ...Object.entries(mapOf(metadata['labels'])).flatMap(([key, value]) => [
    ...qualifiedNameErrors(key).map((why) => invalidValue('metadata.labels', key, why)),
    ...labelValueErrors(String(value)).map((why) => invalidValue('metadata.labels', value, why)),
  ]),
  ...checkAnnotations(mapOf(metadata['annotations'])),
  ...checkOwners(listOf(metadata['ownerReferences'])),
  ...listOf(metadata['finalizers']).flatMap((name) => qualifiedNameErrors(String(name)).map((why) => invalidValue('metadata.finalizers', name, why))),
];
