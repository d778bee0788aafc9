import { parseStrictJson, providerNamed, type BodyFacts, type JsonObject, type JsonOperation, type Misread, type RequestTarget } from '#policy';

export const CHAT_TARGET: RequestTarget = { method: 'POST', host: 'api.openai.com', path: '/v1/chat/completions', query: '' };

export const chatOperation = (): JsonOperation => providerNamed('openai')!.operation(CHAT_TARGET) as JsonOperation;

/** Facts of a chat body that went over the wire as text. */
export const openaiFacts = (body: object): BodyFacts | Misread => chatOperation().read(CHAT_TARGET, parseStrictJson(JSON.stringify(body)) as JsonObject);
