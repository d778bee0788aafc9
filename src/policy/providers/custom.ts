import { errorBody, operationsOf, totalsOf, UNKNOWN_MODEL, USAGE } from './openai-api/index.ts';
import type { OpaqueOperation, Provider } from './provider.ts';

/** Servers that speak OpenAI's API have it below any base: `/v1/chat/completions`, `/api/openai/v1/chat/completions`. */
const CALL =
  /\/(chat\/completions|responses|completions|embeddings|images\/generations|images\/edits|audio\/speech|audio\/transcriptions|models|models\/[^/]+)$/;

const call = operationsOf({
  modelOptional: true,
  // The one that servers of every age know.
  chatLimitField: () => 'max_tokens',
  reportsStreamUsage: () => true,
});

/** Any other call: nobody here knows what its body means, or what it costs. */
const opaque: OpaqueOperation = {
  name: 'custom',
  body: 'opaque',
  read: () => ({ stream: false, n: 1, unbounded: true, unknownInput: true, fetches: [] }),
  edit: (_target, body) => body,
};

/** Whatever a rule names by host and path. Calls whose path ends like one of OpenAI's API are read as such. */
export const custom: Provider = {
  name: 'custom',
  genAiName: 'custom',
  hosts: [],
  operation({ method, path }) {
    const known = CALL.exec(path)?.[1];
    return (known === undefined ? undefined : call(method, known)) ?? opaque;
  },
  limits: () => UNKNOWN_MODEL,
  usage: USAGE,
  totals: totalsOf,
  credentialHeaders: ['authorization', 'api-key', 'x-api-key', 'x-goog-api-key', 'x-auth-token', 'cookie'],
  credentialQuery: ['key', 'api_key', 'api-key', 'apikey', 'access_token', 'token'],
  credentialCookies: ['*'],
  errorBody,
};
