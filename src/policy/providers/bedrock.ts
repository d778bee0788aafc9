import { JsonRefused, isJsonObject as isObject, parseStrictJson, type JsonObject } from '../json.ts';
import { bedrockLimits, modelNameOf } from './bedrock-models.ts';
import { editConverse, readConverse } from './converse.ts';
import { isMisread, misread } from './fields.ts';
import { editInvoke, readInvoke } from './invoke.ts';
import type { BodyFacts, JsonOperation, Misread, Operation, Provider, RequestTarget } from './provider.ts';

/** The Bedrock runtime. Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html */

interface Call {
  readonly modelId: string;
  readonly verb: string;
}

/** The model is one segment of the path, percent-encoded once: an id, a profile or an ARN. */
const callOf = ({ path }: RequestTarget): Call | undefined => {
  const [, encoded, verb] = /^\/model\/([^/]+)\/([a-z-]+)$/.exec(path) ?? [];
  if (encoded === undefined || verb === undefined) return undefined;
  try {
    const modelId = decodeURIComponent(encoded);
    return /^[A-Za-z0-9._:/-]{1,2048}$/.test(modelId) ? { modelId, verb } : undefined;
  } catch {
    return undefined;
  }
};

type Read = Partial<BodyFacts> & { readonly thinking?: boolean };
type Reader = (modelId: string, body: JsonObject) => Read | Misread;
type Editor = (modelId: string, body: JsonObject, outputLimit?: number) => JsonObject;

const operation = (name: string, stream: boolean, reader: Reader, editor: Editor, more: { readonly free?: true } = {}): JsonOperation => ({
  name,
  body: 'json',
  ...more,
  read: (target, body) => {
    const modelId = callOf(target)?.modelId;
    if (modelId === undefined) return misread('The path names no model.');
    if (/^arn:[a-z-]+:bedrock:[a-z0-9-]*:\d*:prompt\//.test(modelId))
      return { reason: 'UnknownBound', message: 'A managed prompt has texts that are not in the request, so nothing bounds its tokens.' };
    const read = reader(modelId, body);
    if (isMisread(read)) return read;
    const { thinking, ...facts } = read;
    return {
      n: 1,
      unknownInput: false,
      fetches: [],
      ...facts,
      model: modelId,
      stream,
      ...((thinking ?? bedrockLimits(modelId).hiddenReasoning) && { hiddenReasoning: true }),
    };
  },
  edit: (target, body, outputLimit) => editor(callOf(target)?.modelId ?? '', body, outputLimit),
});

const converse: Reader = (_modelId, body) => readConverse(body);

/** What is counted is a whole request of either kind; one of InvokeModel comes in base64. */
const counted: Reader = (modelId, body) => {
  const { input } = body;
  const kinds = isObject(input) ? Object.keys(input) : [];
  if (!isObject(input) || kinds.length !== 1) return misread('`input` must be an object with one field.');
  const { converse: turns, invokeModel } = input;
  if (isObject(turns)) return readConverse(turns);
  const encoded = isObject(invokeModel) ? invokeModel['body'] : undefined;
  if (typeof encoded !== 'string') return misread('`input` must have `converse` or `invokeModel`.');
  try {
    const inner = parseStrictJson(Buffer.from(encoded, 'base64').toString());
    return isObject(inner) ? readInvoke(modelId, inner) : misread('`input.invokeModel.body` must be a JSON object.');
  } catch (error) {
    if (error instanceof JsonRefused) return misread(`\`input.invokeModel.body\`: ${error.message}`);
    throw error;
  }
};

const asIs: Editor = (_modelId, body) => body;
const converseEditor: Editor = (_modelId, body, outputLimit) => editConverse(body, outputLimit);
const OPERATIONS: Readonly<Record<string, Operation>> = {
  converse: operation('chat', false, converse, converseEditor),
  'converse-stream': operation('chat', true, converse, converseEditor),
  invoke: operation('chat', false, readInvoke, editInvoke),
  'invoke-with-response-stream': operation('chat', true, readInvoke, editInvoke),
  // Free of charge. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html
  'count-tokens': operation('count_tokens', false, counted, asIs, { free: true }),
};
const EMBED = operation('embeddings', false, readInvoke, editInvoke);

/** Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors */
const TYPES: Readonly<Record<number, string>> = {
  400: 'ValidationException',
  403: 'AccessDeniedException',
  404: 'ResourceNotFoundException',
  429: 'ThrottlingException',
  503: 'ServiceUnavailableException',
};

export const bedrock: Provider = {
  name: 'bedrock',
  genAiName: 'aws.bedrock',
  hosts: ['bedrock-runtime.*.amazonaws.com', 'bedrock-runtime-fips.*.amazonaws.com'],
  operation: (target) => {
    const call = target.method === 'POST' ? callOf(target) : undefined;
    if (!call || !Object.hasOwn(OPERATIONS, call.verb)) return undefined;
    return call.verb === 'invoke' && /^(?:amazon\.titan-embed|cohere\.embed)/.test(modelNameOf(call.modelId)) ? EMBED : OPERATIONS[call.verb];
  },
  limits: bedrockLimits,
  // Beside these come the counts of `invoke`: in headers, and in the last piece of its stream.
  usage: [
    { selectors: ['usage', 'inputTokens'], key: 'input' },
    { selectors: ['usage', 'outputTokens'], key: 'output' },
    { selectors: ['usage', 'totalTokens'], key: 'total' },
    { selectors: ['usage', 'cacheReadInputTokens'], key: 'cachedInput' },
    { selectors: ['usage', 'cacheWriteInputTokens'], key: 'cacheCreation' },
    { selectors: ['stopReason'], key: 'finishReason' },
    { selectors: ['amazon-bedrock-invocationMetrics', 'inputTokenCount'], key: 'input' },
    { selectors: ['amazon-bedrock-invocationMetrics', 'outputTokenCount'], key: 'output' },
    { selectors: ['amazon-bedrock-invocationMetrics', 'cacheReadInputTokenCount'], key: 'cachedInput' },
    { selectors: ['amazon-bedrock-invocationMetrics', 'cacheWriteInputTokenCount'], key: 'cacheCreation' },
  ],
  // Input is what neither came from a cache nor went into one. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
  totals: ({ input, output, cachedInput, cacheCreation }) => ({
    ...(input !== undefined && { input: input + (cachedInput ?? 0) + (cacheCreation ?? 0) }),
    ...(output !== undefined && { output }),
    ...(cachedInput !== undefined && { cachedInput }),
    ...(cacheCreation !== undefined && { cacheCreation }),
  }),
  usageAlong: true,
  credentialHeaders: ['authorization', 'x-amz-security-token', 'x-amz-date', 'x-amz-content-sha256', 'x-api-key', 'cookie'],
  credentialQuery: ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-Security-Token', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders'],
  // The SDKs take the class of the error from `__type`, and its text from `message`.
  errorBody: (error, status) => ({ __type: TYPES[status] ?? 'AccessDeniedException', message: error.message, error }),
};
