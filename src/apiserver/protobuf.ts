import { DecodeError, type MutableJson } from '#admission';

/**
 * Request bodies in Kubernetes' protobuf form, which kubectl and typed Go clients send for built-in kinds and do not repeat as
 * JSON. Only read, never written: everybody accepts JSON answers. Field numbers are those of the `generated.proto` files of
 * https://github.com/kubernetes/api and https://github.com/kubernetes/apimachinery.
 */

type Scalar = 'string' | 'bytes' | 'int' | 'bool' | 'time' | 'microtime' | 'json';
interface Field {
  readonly name: string;
  /** A map has an entry message of two fields. */
  readonly as: Scalar | Message | { readonly map: 'string' | 'bytes' };
  readonly repeated?: true;
}
type Message = { readonly fields: Readonly<Record<number, Field>> };

const message = (fields: Readonly<Record<number, readonly [name: string, as: Field['as'], repeated?: 'repeated']>>): Message => ({
  fields: Object.fromEntries(Object.entries(fields).map(([number, [name, as, repeated]]) => [number, { name, as, ...(repeated && { repeated: true }) }])),
});

const OWNER = message({
  1: ['kind', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['controller', 'bool'],
  7: ['blockOwnerDeletion', 'bool'],
});
const MANAGED = message({
  1: ['manager', 'string'],
  2: ['operation', 'string'],
  3: ['apiVersion', 'string'],
  4: ['time', 'time'],
  6: ['fieldsType', 'string'],
  7: ['fieldsV1', 'json'],
  8: ['subresource', 'string'],
});
const METADATA = message({
  1: ['name', 'string'],
  2: ['generateName', 'string'],
  3: ['namespace', 'string'],
  5: ['uid', 'string'],
  6: ['resourceVersion', 'string'],
  7: ['generation', 'int'],
  8: ['creationTimestamp', 'time'],
  9: ['deletionTimestamp', 'time'],
  10: ['deletionGracePeriodSeconds', 'int'],
  11: ['labels', { map: 'string' }],
  12: ['annotations', { map: 'string' }],
  13: ['ownerReferences', OWNER, 'repeated'],
  14: ['finalizers', 'string', 'repeated'],
  17: ['managedFields', MANAGED, 'repeated'],
});
const REFERENCE = message({
  1: ['kind', 'string'],
  2: ['namespace', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['resourceVersion', 'string'],
  7: ['fieldPath', 'string'],
});

const MESSAGES: Readonly<Record<string, Message>> = {
  'v1 Namespace': message({
    1: ['metadata', METADATA],
    2: ['spec', message({ 1: ['finalizers', 'string', 'repeated'] })],
    3: ['status', message({ 1: ['phase', 'string'] })],
  }),
  'v1 Secret': message({
    1: ['metadata', METADATA],
    2: ['data', { map: 'bytes' }],
    3: ['type', 'string'],
    4: ['stringData', { map: 'string' }],
    5: ['immutable', 'bool'],
  }),
  'v1 ConfigMap': message({ 1: ['metadata', METADATA], 2: ['data', { map: 'string' }], 3: ['binaryData', { map: 'bytes' }], 4: ['immutable', 'bool'] }),
  'v1 Event': message({
    1: ['metadata', METADATA],
    2: ['involvedObject', REFERENCE],
    3: ['reason', 'string'],
    4: ['message', 'string'],
    5: ['source', message({ 1: ['component', 'string'], 2: ['host', 'string'] })],
    6: ['firstTimestamp', 'time'],
    7: ['lastTimestamp', 'time'],
    8: ['count', 'int'],
    9: ['type', 'string'],
    10: ['eventTime', 'microtime'],
    11: ['series', message({ 1: ['count', 'int'], 2: ['lastObservedTime', 'microtime'] })],
    12: ['action', 'string'],
    13: ['related', REFERENCE],
    14: ['reportingComponent', 'string'],
    15: ['reportingInstance', 'string'],
  }),
  'coordination.k8s.io/v1 Lease': message({
    1: ['metadata', METADATA],
    2: [
      'spec',
      message({
        1: ['holderIdentity', 'string'],
        2: ['leaseDurationSeconds', 'int'],
        3: ['acquireTime', 'microtime'],
        4: ['renewTime', 'microtime'],
        5: ['leaseTransitions', 'int'],
      }),
    ],
  }),
  'authorization.k8s.io/v1 SelfSubjectAccessReview': message({
    1: ['metadata', METADATA],
    2: [
      'spec',
      message({
        1: [
          'resourceAttributes',
          message({
            1: ['namespace', 'string'],
            2: ['verb', 'string'],
            3: ['group', 'string'],
            4: ['version', 'string'],
            5: ['resource', 'string'],
            6: ['subresource', 'string'],
            7: ['name', 'string'],
          }),
        ],
        2: ['nonResourceAttributes', message({ 1: ['path', 'string'], 2: ['verb', 'string'] })],
      }),
    ],
  }),
  'authorization.k8s.io/v1 SelfSubjectRulesReview': message({ 1: ['metadata', METADATA], 2: ['spec', message({ 1: ['namespace', 'string'] })] }),
  'authentication.k8s.io/v1 SelfSubjectReview': message({ 1: ['metadata', METADATA] }),
  'v1 DeleteOptions': message({
    1: ['gracePeriodSeconds', 'int'],
    2: ['preconditions', message({ 1: ['uid', 'string'], 2: ['resourceVersion', 'string'] })],
    3: ['orphanDependents', 'bool'],
    4: ['propagationPolicy', 'string'],
    5: ['dryRun', 'string', 'repeated'],
  }),
};

const ENVELOPE = message({ 1: ['type', message({ 1: ['apiVersion', 'string'], 2: ['kind', 'string'] })], 2: ['raw', 'bytes'] });
/** `k8s` and a zero byte. */
const MAGIC = Buffer.from([0x6b, 0x38, 0x73, 0x00]);

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new DecodeError('a protobuf message ends too early');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw new DecodeError('a protobuf number is too long');
  }

  chunk(): Uint8Array {
    const length = Number(this.varint());
    if (length < 0 || this.#at + length > this.#bytes.length) throw new DecodeError('a protobuf message ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  skip(wire: number): void {
    if (wire === 0) this.varint();
    else if (wire === 1) this.#at += 8;
    else if (wire === 2) this.chunk();
    else if (wire === 5) this.#at += 4;
    else throw new DecodeError(`protobuf wire type ${wire} is not known`);
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
const text = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new DecodeError('a protobuf string is not UTF-8');
  }
};

/** Go writes a time that is not set as an empty message. */
const timeOf = (bytes: Uint8Array, micro: boolean): string | undefined => {
  const { seconds = 0, nanos = 0 } = decodeMessage(message({ 1: ['seconds', 'int'], 2: ['nanos', 'int'] }), bytes) as { seconds?: number; nanos?: number };
  if (seconds === 0 && nanos === 0) return undefined;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw new DecodeError('a time is out of range');
  const whole = date.toISOString().slice(0, 19);
  return micro ? `${whole}.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z` : `${whole}Z`;
};

const jsonOf = (bytes: Uint8Array): unknown => {
  const { raw } = decodeMessage(message({ 1: ['raw', 'bytes'] }), bytes) as { raw?: string };
  try {
    return JSON.parse(Buffer.from(raw ?? '', 'base64').toString());
  } catch {
    throw new DecodeError('fieldsV1 is not JSON');
  }
};

const valueOf = (as: Scalar | Message, bytes: Uint8Array): unknown => {
  if (typeof as === 'object') return decodeMessage(as, bytes);
  if (as === 'bytes') return Buffer.from(bytes).toString('base64');
  if (as === 'time' || as === 'microtime') return timeOf(bytes, as === 'microtime');
  if (as === 'json') return jsonOf(bytes);
  return text(bytes);
};

const put = (out: MutableJson, { name, as, repeated }: Field, bytes: Uint8Array): void => {
  if (typeof as === 'object' && 'map' in as) {
    const entry = decodeMessage(message({ 1: ['key', 'string'], 2: ['value', as.map] }), bytes) as { key?: string; value?: string };
    const key = entry.key ?? '';
    if (key === '__proto__') throw new DecodeError('a field must not be named "__proto__"');
    ((out[name] ??= {}) as MutableJson)[key] = entry.value ?? '';
    return;
  }
  const value = valueOf(as, bytes);
  if (repeated) ((out[name] ??= []) as unknown[]).push(value);
  // Go writes every string, also the empty ones that JSON leaves out.
  else if (value !== undefined && value !== '') out[name] = value;
};

const decodeMessage = ({ fields }: Message, bytes: Uint8Array): MutableJson => {
  const reader = new Reader(bytes);
  const out: MutableJson = {};
  while (!reader.done) {
    const tag = Number(reader.varint());
    const [number, wire] = [tag >> 3, tag & 7];
    const field = fields[number];
    if (!field) reader.skip(wire);
    else if (wire === 2) put(out, field, reader.chunk());
    else if (wire === 0 && (field.as === 'int' || field.as === 'bool')) {
      const value = reader.varint();
      out[field.name] = field.as === 'bool' ? value !== 0n : Number(value);
    } else throw new DecodeError(`protobuf field ${number} has the wrong wire type`);
  }
  return out;
};

/** Media type of such a body. */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

/** A body as the JSON it stands for. Throws DecodeError, also for a kind that is not built in. */
export const decodeProtobuf = (body: Uint8Array): MutableJson => {
  if (!Buffer.from(body.subarray(0, 4)).equals(MAGIC)) throw new DecodeError('it does not begin as a protobuf object does');
  const { type = {}, raw = '' } = decodeMessage(ENVELOPE, body.subarray(4)) as { type?: { apiVersion?: string; kind?: string }; raw?: string };
  const { apiVersion = '', kind = '' } = type;
  const known = MESSAGES[`${apiVersion} ${kind}`];
  if (!known || !Object.hasOwn(MESSAGES, `${apiVersion} ${kind}`)) throw new DecodeError(`${kind} of ${apiVersion} has no protobuf form here; send JSON`);
  return { apiVersion, kind, ...decodeMessage(known, Buffer.from(raw, 'base64')) };
};
