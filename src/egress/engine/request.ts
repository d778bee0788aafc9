import { AI_PORT, canonicalHost, parseStrictJson, portOf, JsonRefused, isJsonObject, type Json, type JsonObject } from '#policy';

/** One request as Envoy tells it: the headers it adds itself (`x-clrk-*`) and those of the agent. */
export interface RequestHead {
  /** `namespace/name`, from stream metadata Envoy sets. */
  readonly gateway: string;
  /** Decision id, Envoy's stream id. */
  readonly id: string;
  /** Address of the sandbox. */
  readonly source: string;
  /** Where the connection goes, `ip:port` as it was dialled. */
  readonly destination: string;
  readonly method: string;
  readonly authority: string;
  /** Path without query. */
  readonly path: string;
  /** What follows the `?`; empty when there is none. */
  readonly query: string;
  /** As sent; several header lines are joined by a comma. */
  readonly contentType: string;
  readonly contentEncoding: string;
  /** As sent; empty when it is not said. */
  readonly contentLength: string;
  /** A header that asks to be served at another price than that of the list. */
  readonly unpriced?: string;
  /** What MCP says in headers; absent when it does not. */
  readonly mcp: { readonly session?: string; readonly protocol?: string; readonly method?: string; readonly name?: string };
}

/** Why a request is refused before policy is asked, or because of what its body is. */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;
  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** Refuses what is too large to be judged whole. */
export const checkSize = (body: Uint8Array): void => {
  if (body.byteLength > MAX_BODY_BYTES) throw new Refusal(413, 'BodyTooLarge', `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`);
};

/** The canonical host a request is for; an authority that is spelled as anything else is refused. */
export const hostOf = ({ authority }: RequestHead): string => {
  const host = canonicalHost(authority);
  // Envoy takes away the port that was dialled.
  const port = portOf(authority) ?? AI_PORT;
  if (host === undefined || port !== AI_PORT) throw new Refusal(421, 'Misdirected', 'The Host of the request is not a name this gateway serves.');
  return host;
};

// Parameters other than the charset would let a server read the body in another way.
const JSON_TYPE = /^application\/json(?:\s*;\s*charset="?utf-8"?)?\s*$/i;

/** Refuses a body that is not sent as it is. */
export const checkIdentity = ({ contentEncoding }: RequestHead): void => {
  if (contentEncoding !== '' && contentEncoding.toLowerCase() !== 'identity')
    throw new Refusal(415, 'EncodedBody', 'The body must be sent without content-encoding.');
};

/** Refuses a body that could be read as something other than the JSON it is judged as. */
export const checkContentType = ({ contentType }: RequestHead): void => {
  if (!JSON_TYPE.test(contentType)) throw new Refusal(415, 'UnsupportedMediaType', 'The body must be application/json.');
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The body as JSON without any ambiguity, or a Refusal. */
export const parseJson = (body: Uint8Array): Json => {
  try {
    return parseStrictJson(utf8.decode(body));
  } catch (error) {
    if (error instanceof JsonRefused) throw new Refusal(400, error.reason, error.message);
    if (error instanceof TypeError) throw new Refusal(400, 'InvalidUtf8', 'The body is not UTF-8.');
    throw error;
  }
};

/** The same of a body that must be an object. */
export const readJson = (body: Uint8Array): JsonObject => {
  const value = parseJson(body);
  if (isJsonObject(value)) return value;
  throw new Refusal(400, 'InvalidJson', 'The body must be a JSON object.');
};
