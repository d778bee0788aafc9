import {
  parseStrictJson,
  providerNamed,
  type BodyFacts,
  type FormPart,
  type JsonObject,
  type JsonOperation,
  type Misread,
  type Operation,
  type RequestTarget,
} from '#policy';

export const CHAT_TARGET: RequestTarget = { method: 'POST', host: 'api.openai.com', path: '/v1/chat/completions', query: '' };

/** A call of a provider of OpenAI's API, as it is recognised; it must be. */
export const operationAt = (path: string, provider = 'openai', more: Partial<RequestTarget> = {}): Operation =>
  providerNamed(provider)!.operation({ ...CHAT_TARGET, path, ...more })!;

export const chatOperation = (): JsonOperation => operationAt(CHAT_TARGET.path) as JsonOperation;

/** Facts of a body that went over the wire as text. */
export const factsAt = (path: string, body: object | string, provider?: string): BodyFacts | Misread =>
  (operationAt(path, provider) as JsonOperation).read(
    { ...CHAT_TARGET, path },
    parseStrictJson(typeof body === 'string' ? body : JSON.stringify(body)) as JsonObject,
  );

export const openaiFacts = (body: object): BodyFacts | Misread => factsAt(CHAT_TARGET.path, body);

/** Parts of a form: text, or a file. */
export const form = (fields: Readonly<Record<string, string | { readonly file: string }>>): readonly FormPart[] =>
  Object.entries(fields).map(([name, value]) =>
    typeof value === 'string' ? { name, data: Buffer.from(value) } : { name, filename: 'f', type: 'application/octet-stream', data: Buffer.from(value.file) },
  );
