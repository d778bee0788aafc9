import { createHash, randomBytes, randomFillSync, randomUUID } from 'node:crypto';

/** A fresh canonical UUID, the form of invocation ids. */
export const newInvocationId = (): string => randomUUID();

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Whether `text` is a UUID in canonical (lower-case, hyphenated) form. */
export const isUuid = (text: string): boolean => UUID.test(text);

/** Ids of W3C Trace Context: 32 and 16 lower-case hex digits, never all zero. */
export const newTraceId = (): string => randomBytes(16).toString('hex');

/** Random bytes are drawn for many span ids at once: a draw takes longer than everything else of an id. */
const pool = Buffer.alloc(4096);
let taken = pool.byteLength;
export const newSpanId = (): string => {
  if (taken === pool.byteLength) {
    randomFillSync(pool);
    taken = 0;
  }
  return pool.toString('hex', taken, (taken += 8));
};

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
/** The trace and parent span of a `traceparent` header. Source: https://www.w3.org/TR/trace-context/ */
export const parseTraceparent = (header: string): { traceId: string; spanId: string } | undefined => {
  const m = TRACEPARENT.exec(header);
  if (!m || m[1] === 'ff' || /^0+$/.test(m[2]!) || /^0+$/.test(m[3]!)) return undefined;
  return { traceId: m[2]!, spanId: m[3]! };
};

export const sha256Hex = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** JSON with object keys in order, so that equal content gives equal text. */
export const canonicalJson = (value: unknown): string =>
  JSON.stringify(value, (_, v: unknown) =>
    v !== null && typeof v === 'object' && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) : v,
  );

/** A revision of content: the first 12 hex digits of the SHA-256 of its canonical JSON. */
export const contentRevision = (value: unknown): string => textRevision(canonicalJson(value));
/** The same of content that is canonical JSON already. */
export const textRevision = (canonical: string): string => sha256Hex(canonical).slice(0, 12);
