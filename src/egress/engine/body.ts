import {
  billingOf,
  type Billing,
  type BodyFacts,
  type Bodies,
  type BodyKind,
  type JsonObject,
  type Misread,
  type Operation,
  type RequestTarget,
} from '#policy';
import { boundaryOf, readForm, writeForm } from './multipart.ts';
import { checkContentType, checkIdentity, readJson, Refusal, type RequestHead } from './request.ts';

/** A body that was read: what it says, how large it is, and what is forwarded for it. */
export interface ReadBody {
  readonly facts: BodyFacts | Misread;
  /** Bytes of what the provider will read as input. */
  readonly bytes: number;
  /** How it wants to be served, as far as that has a price. */
  billing(): Billing;
  /** What is forwarded, with the output capped; undefined when the request has no body. */
  forwarded(outputLimit?: number): Forwarded | undefined;
}

export interface Forwarded {
  readonly bytes: Uint8Array;
  /** When it is not the one that came. */
  readonly contentType?: string;
}

/** One way of reading bodies and of writing them. */
interface Codec<Kind extends BodyKind> {
  /** Refuses, before the body is there, what could be read as something else than it is judged as. */
  check(head: RequestHead): void;
  decode(bytes: Uint8Array, head: RequestHead): Bodies[Kind];
  /** Bytes of what the provider will read as input. */
  size(body: Bodies[Kind]): number;
  /** The body as JSON, if it is that. */
  json?(body: Bodies[Kind]): JsonObject;
  encode(body: Bodies[Kind]): Forwarded | undefined;
}

const CODECS: { readonly [Kind in BodyKind]: Codec<Kind> } = {
  json: {
    check: (head) => {
      checkIdentity(head);
      checkContentType(head);
    },
    decode: readJson,
    json: (body) => body,
    size: (body) => Buffer.byteLength(JSON.stringify(body)),
    encode: (body) => ({ bytes: Buffer.from(JSON.stringify(body)) }),
  },
  multipart: {
    check: (head) => {
      checkIdentity(head);
      if (boundaryOf(head.contentType) === undefined) throw new Refusal(415, 'UnsupportedMediaType', 'The body must be multipart/form-data with a boundary.');
    },
    decode: (bytes, head) => readForm(bytes, boundaryOf(head.contentType)!),
    size: (parts) => parts.reduce((sum, { data }) => sum + data.byteLength, 0),
    encode: writeForm,
  },
  none: {
    check: () => {},
    decode: (bytes) => {
      if (bytes.byteLength > 0) throw new Refusal(400, 'UnexpectedBody', 'A request of this kind has no body.');
    },
    size: () => 0,
    encode: () => undefined,
  },
  opaque: {
    check: () => {},
    decode: (bytes) => bytes,
    size: (bytes) => bytes.byteLength,
    encode: (bytes) => (bytes.byteLength > 0 ? { bytes } : undefined),
  },
};

export const checkBodyHeaders = (head: RequestHead, { body }: Operation): void => CODECS[body].check(head);

const readAs = <Kind extends BodyKind>(
  codec: Codec<Kind>,
  operation: {
    read(target: RequestTarget, body: Bodies[Kind]): BodyFacts | Misread;
    edit(target: RequestTarget, body: Bodies[Kind], limit?: number): Bodies[Kind];
  },
  { head, target, bytes }: { head: RequestHead; target: RequestTarget; bytes: Uint8Array },
): ReadBody => {
  const body = codec.decode(bytes, head);
  return {
    facts: operation.read(target, body),
    bytes: codec.size(body),
    billing: () => billingOf(codec.json?.(body)),
    forwarded: (outputLimit) => codec.encode(operation.edit(target, body, outputLimit)),
  };
};

/** Reads the body of a request as its operation says, or refuses it. */
export const readBody = (operation: Operation, request: { head: RequestHead; target: RequestTarget; bytes: Uint8Array }): ReadBody => {
  switch (operation.body) {
    case 'json':
      return readAs(CODECS.json, operation, request);
    case 'multipart':
      return readAs(CODECS.multipart, operation, request);
    case 'none':
      return readAs(CODECS.none, operation, request);
    case 'opaque':
      return readAs(CODECS.opaque, operation, request);
  }
};
