import { claudeLimits, editClaude, readClaude } from './claude.ts';
import { isMisread, misread } from './fields.ts';
import type { BodilessOperation, BodyFacts, JsonOperation, Misread, Provider } from './provider.ts';
import type { JsonObject } from '../json.ts';

/** The Anthropic API. Source: https://platform.claude.com/docs/en/api/overview */

const factsOf = (body: JsonObject): BodyFacts | Misread => {
  const { model } = body;
  if (typeof model !== 'string' || model === '' || model.length > 256) return misread('`model` must be the name of a model.');
  const read = readClaude(body);
  if (isMisread(read)) return read;
  const { thinking, ...facts } = read;
  return { model, n: 1, ...facts, ...((thinking ?? claudeLimits(model).hiddenReasoning) && { hiddenReasoning: true }) };
};

const chat: JsonOperation = {
  name: 'chat',
  body: 'json',
  read: (_target, body) => {
    const facts = factsOf(body);
    // The API refuses a request without one; a limit of ours would make it a request the agent did not mean.
    return !isMisread(facts) && facts.outputLimit === undefined ? misread('`max_tokens` is required.') : facts;
  },
  edit: (_target, body, outputLimit) => editClaude(body, outputLimit),
};

/** Free of charge, and answered without a model. Source: https://platform.claude.com/docs/en/build-with-claude/token-counting */
const countTokens: JsonOperation = { name: 'count_tokens', body: 'json', free: true, read: (_target, body) => factsOf(body), edit: (_target, body) => body };

const models: BodilessOperation = {
  name: 'list_models',
  body: 'none',
  free: true,
  read: () => ({ stream: false, n: 1, unknownInput: false, fetches: [] }),
  edit: () => undefined,
};

/** Source: https://platform.claude.com/docs/en/api/errors */
const ERROR_TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
};

export const anthropic: Provider = {
  name: 'anthropic',
  genAiName: 'anthropic',
  hosts: ['api.anthropic.com'],
  // Batches and files are not metered: what they cost is known long after the request.
  operation: ({ method, path }) => {
    if (method === 'POST' && path === '/v1/messages') return chat;
    if (method === 'POST' && path === '/v1/messages/count_tokens') return countTokens;
    return method === 'GET' && /^\/v1\/models(?:\/[A-Za-z0-9._:-]+)?$/.test(path) ? models : undefined;
  },
  limits: claudeLimits,
  // A stream tells the input at its start and the output at its end, where it counts from the beginning. The `output_tokens` of the
  // start are not read: they would pass for the whole output of a stream that is cut.
  usage: [
    { selectors: ['message', 'usage', 'input_tokens'], key: 'input' },
    { selectors: ['message', 'usage', 'cache_read_input_tokens'], key: 'cachedInput' },
    { selectors: ['message', 'usage', 'cache_creation_input_tokens'], key: 'cacheCreation' },
    { selectors: ['message', 'model'], key: 'responseModel' },
    { selectors: ['message', 'id'], key: 'responseId' },
    { selectors: ['usage', 'input_tokens'], key: 'input' },
    { selectors: ['usage', 'cache_read_input_tokens'], key: 'cachedInput' },
    { selectors: ['usage', 'cache_creation_input_tokens'], key: 'cacheCreation' },
    { selectors: ['usage', 'output_tokens'], key: 'output' },
    { selectors: ['usage', 'output_tokens_details', 'thinking_tokens'], key: 'reasoning' },
    { selectors: ['delta', 'stop_reason'], key: 'finishReason' },
    { selectors: ['stop_reason'], key: 'finishReason' },
    { selectors: ['model'], key: 'responseModel' },
    { selectors: ['id'], key: 'responseId' },
  ],
  // `input_tokens` are those that neither came from a cache nor went into one; thinking is part of `output_tokens`.
  totals: ({ input, output, cachedInput, cacheCreation, reasoning }) => ({
    ...(input !== undefined && { input: input + (cachedInput ?? 0) + (cacheCreation ?? 0) }),
    ...(output !== undefined && { output }),
    ...(cachedInput !== undefined && { cachedInput }),
    ...(cacheCreation !== undefined && { cacheCreation }),
    ...(reasoning !== undefined && { reasoning }),
  }),
  usageAlong: true,
  credentialHeaders: ['x-api-key', 'authorization', 'api-key', 'cookie'],
  credentialQuery: [],
  // The SDKs read `error.type` and `error.message`.
  errorBody: (error, status) => ({ type: 'error', error: { type: ERROR_TYPES[status] ?? 'api_error', ...error } }),
};
