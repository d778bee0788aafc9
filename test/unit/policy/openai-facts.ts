import { parseStrictJson, providerNamed, type BodyFacts, type JsonObject, type Misread } from '#policy';

/** Facts of a chat body that went over the wire as text. */
export const openaiFacts = (body: object): BodyFacts | Misread => providerNamed('openai')!.read('chat', parseStrictJson(JSON.stringify(body)) as JsonObject);
