import { below } from './json-path.ts';
import { get, isObject, type JsonObject } from './json.ts';

/**
 * Metadata of a request, by the types its fields have in Go, whose decoder speaks before any schema does: null is as good as
 * absent, and so is what is empty. Source: k8s.io/apimachinery, meta/v1 ObjectMeta.
 */

/** A value has another type than its field. The message is that of Go's decoder. */
export class WrongType extends Error {
  /** `metadata.labels.app` */
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

type Type =
  | 'string'
  | 'int64'
  | 'bool'
  | 'time'
  | 'map'
  | { readonly list: Type | 'object'; readonly go: string }
  | { readonly fields: Fields; readonly go: string };
interface Field {
  readonly type: Type;
  /** As Go calls it, where that is not the usual name. */
  readonly go?: string;
}
type Fields = Readonly<Record<string, Field>>;

const text: Field = { type: 'string' };
const uid: Field = { type: 'string', go: 'types.UID' };
const OWNER: Fields = { apiVersion: text, kind: text, name: text, uid, controller: { type: 'bool' }, blockOwnerDeletion: { type: 'bool' } };
const META: Fields = {
  name: text,
  generateName: text,
  namespace: text,
  selfLink: text,
  resourceVersion: text,
  uid,
  generation: { type: 'int64' },
  deletionGracePeriodSeconds: { type: 'int64' },
  creationTimestamp: { type: 'time' },
  deletionTimestamp: { type: 'time' },
  labels: { type: 'map' },
  annotations: { type: 'map' },
  finalizers: { type: { list: 'string', go: '[]string' } },
  ownerReferences: { type: { list: { fields: OWNER, go: 'v1.OwnerReference' }, go: '[]v1.OwnerReference' } },
  managedFields: { type: { list: 'object', go: '[]v1.ManagedFieldsEntry' } },
};

const GO_TYPES: Readonly<Record<string, string>> = { time: 'string', map: 'map[string]string', object: 'v1.ManagedFieldsEntry' };

/** What a value is called by Go's decoder. */
const described = (value: unknown, type: string): string => {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number' && type === 'int64') return `number ${value}`;
  return typeof value;
};

/** Where a value is, and what Go calls its field. */
interface Place {
  readonly field: string;
  readonly go: string;
}

const refuse = (value: unknown, { field, go }: Place, type: string): never => {
  throw new WrongType(field, `json: cannot unmarshal ${described(value, type)} into Go struct field ${go} of type ${type}`);
};

const decodeTime = (value: string, { field }: Place): string => {
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(value) && !Number.isNaN(Date.parse(value))) return value;
  throw new WrongType(field, `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(value)} as "2006"`);
};

const decodeValue = ({ type, go }: Field, value: unknown, place: Place): unknown => {
  if (typeof type === 'object') {
    if ('fields' in type)
      return isObject(value) ? decodeFields(type.fields, value, { field: place.field, go: 'OwnerReference.ownerReferences' }) : refuse(value, place, type.go);
    const { list } = type;
    if (!Array.isArray(value)) return refuse(value, place, type.go);
    return value.map((item: unknown) =>
      list === 'object' ? (isObject(item) ? item : refuse(item, place, GO_TYPES[list]!)) : decodeValue({ type: list }, item, place),
    );
  }
  const called = go ?? GO_TYPES[type] ?? type;
  if (type === 'map') {
    if (!isObject(value)) return refuse(value, place, called);
    return Object.fromEntries(
      Object.entries(value).map(([key, child]) => [key, child === null ? '' : decodeValue(text, child, { ...place, field: below(place.field, key) })]),
    );
  }
  if (type === 'int64') return Number.isSafeInteger(value) ? value : refuse(value, place, called);
  if (type === 'bool') return typeof value === 'boolean' ? value : refuse(value, place, called);
  if (typeof value !== 'string') return refuse(value, place, called);
  return type === 'time' ? decodeTime(value, place) : value;
};

const isEmpty = (value: unknown): boolean =>
  value === '' || (Array.isArray(value) && value.length === 0) || (isObject(value) && Object.keys(value).length === 0);

/** What the types do not know is kept, for the schema to judge. */
const decodeFields = (fields: Fields, value: JsonObject, place: Place): JsonObject => {
  const out: [string, unknown][] = [];
  for (const [name, child] of Object.entries(value)) {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (!field) out.push([name, child]);
    else if (child !== null) out.push([name, decodeValue(field, child, { field: below(place.field, name), go: `${place.go}.${name}` })]);
  }
  return Object.fromEntries(out);
};

/** The metadata of `object`, without what is null or empty. Throws WrongType. */
export const decodeMetadata = (object: unknown): JsonObject => {
  const metadata = get(object, 'metadata') ?? {};
  if (!isObject(metadata)) throw new WrongType('metadata', `json: cannot unmarshal ${described(metadata, '')} into Go value of type v1.ObjectMeta`);
  return Object.fromEntries(Object.entries(decodeFields(META, metadata, { field: 'metadata', go: 'ObjectMeta' })).filter(([, value]) => !isEmpty(value)));
};
