import type { JsonObject } from '../json.ts';
import { anthropic } from './anthropic.ts';
import { claudeLimits, editClaude, readClaude } from './claude.ts';
import { isMisread, limitsByFamily, misread, type Family } from './fields.ts';
import { editGemini, readCount, readEmbed, readEmbeds, readGemini } from './gemini.ts';
import type { BodilessOperation, BodyFacts, JsonOperation, Misread, Operation, Provider, RequestTarget } from './provider.ts';

/** The Gemini API and Gemini on Vertex AI. Sources: https://ai.google.dev/api, https://cloud.google.com/vertex-ai/docs/reference/rest */

/**
 * Sources: https://ai.google.dev/gemini-api/docs/models, https://cloud.google.com/vertex-ai/generative-ai/docs/models. The models that
 * embed are not here: their window holds for each text of a request, so only its bytes bound it.
 */
const FAMILIES: readonly Family[] = [
  // Names without a version stand for the latest one.
  [['gemini', 'gemini-2.5', 'gemini-3', 'gemini-flash', 'gemini-pro'], 1_048_576, 65_536, true],
  [['gemini-2.0'], 1_048_576, 8_192, false],
  [['gemini-2.0-flash-thinking', 'gemini-2.0-pro'], 1_048_576, 65_536, true],
  [['gemini-1.5-pro'], 2_097_152, 8_192, false],
  [['gemini-1.5-flash'], 1_048_576, 8_192, false],
  [['gemma-3', 'gemma-3n'], 131_072, 8_192, false],
  [['gemma-4'], 262_144, 32_768, true],
];
const STRANGER = { known: false, contextWindow: 1_048_576, maxOutput: 8_192, hiddenReasoning: true };
const byFamily = limitsByFamily(FAMILIES, STRANGER);
const limits: Provider['limits'] = (model) => (model.startsWith('claude-') ? claudeLimits(model) : /embedding/.test(model) ? STRANGER : byFamily(model));

/** `/v1beta/models/M:verb`, `/v1/projects/P/locations/L/publishers/google/models/M:verb`, or a tuned model: `tunedModels/M`, `endpoints/M`. */
const METHOD =
  /^\/v1(?:beta1?|alpha)?\/(?:projects\/[A-Za-z0-9._:-]+\/locations\/[a-z0-9-]+\/)?(?:(?:publishers\/google\/)?models\/([A-Za-z0-9._-]+)|((?:tunedModels|endpoints)\/[A-Za-z0-9._-]+)):([A-Za-z]+)$/;
/** Claude on Vertex AI takes the body of its own API, but for the model. Source: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai */
const CLAUDE =
  /^\/v1\/projects\/[A-Za-z0-9._:-]+\/locations\/[a-z0-9-]+\/publishers\/anthropic\/models\/(claude-[A-Za-z0-9._@-]+):(?:rawPredict|streamRawPredict)$/;
const LIST = /^\/v1(?:beta1?|alpha)?\/(?:publishers\/google\/)?models(?:\/[A-Za-z0-9._-]+)?$/;

interface Call {
  readonly model: string;
  readonly verb: string;
}
const callOf = ({ path }: RequestTarget): Call | undefined => {
  const [, model, tuned, verb] = METHOD.exec(path) ?? [];
  const name = model ?? tuned;
  return name !== undefined && verb !== undefined ? { model: name, verb } : undefined;
};

const CREDENTIAL_QUERY = ['key', '$key', 'access_token', 'oauth_token'];
/** Source: https://cloud.google.com/apis/docs/system-parameters. Any other could take the usage out of the answer, or change what is asked. */
const QUERY = new Set(['alt', '$alt', 'prettyprint', '$prettyprint', 'quotauser', 'pagesize', 'pagetoken', ...CREDENTIAL_QUERY]);

/** Refuses parameters that make an answer of another form than the one that is read. */
const checkQuery = ({ query }: RequestTarget, streamed: boolean): Misread | undefined => {
  const parameters = [...new URLSearchParams(query)];
  const other = parameters.find(([name]) => !QUERY.has(name.toLowerCase()));
  if (other)
    return { reason: 'UnsupportedQuery', message: `The query parameter ${JSON.stringify(other[0].slice(0, 100))} is not one this gateway can let through.` };
  const alt = parameters.filter(([name]) => /^\$?alt$/i.test(name));
  if (alt.length > 1) return { reason: 'AmbiguousField', message: '`alt` is there more than once.' };
  return alt.every(([, value]) => value === 'json' || (streamed && value === 'sse'))
    ? undefined
    : { reason: 'UnsupportedQuery', message: streamed ? '`alt` must be json or sse.' : '`alt` must be json.' };
};

type Reader = (body: JsonObject, model: string) => Partial<BodyFacts> | Misread;

const operation = (fields: Omit<JsonOperation, 'body' | 'read' | 'edit'> & { reader: Reader; stream?: true; edit?: JsonOperation['edit'] }): JsonOperation => {
  const { reader, stream, edit = (_target, body) => body, ...rest } = fields;
  return {
    ...rest,
    body: 'json',
    edit,
    read: (target, body) => {
      const model = callOf(target)?.model;
      if (model === undefined) return misread('The path names no model.');
      const facts = checkQuery(target, stream === true) ?? reader(body, model);
      return isMisread(facts) ? facts : { n: 1, unknownInput: false, fetches: [], ...facts, model, stream: stream === true };
    },
  };
};

const edit: JsonOperation['edit'] = (_target, body, outputLimit) => editGemini(body, outputLimit);
const embedded =
  (read: (body: JsonObject, model: string) => object | Misread): Reader =>
  (body, model) => {
    const facts = read(body, model);
    return isMisread(facts) ? facts : { ...facts, outputLimit: 0 };
  };
const OPERATIONS: Readonly<Record<string, Operation>> = {
  generateContent: operation({ name: 'generate_content', reader: readGemini, edit }),
  streamGenerateContent: operation({ name: 'generate_content', reader: readGemini, edit, stream: true }),
  embedContent: operation({ name: 'embeddings', reader: embedded(readEmbed) }),
  batchEmbedContents: operation({ name: 'embeddings', reader: embedded(readEmbeds) }),
  // Free of charge. Source: https://ai.google.dev/gemini-api/docs/tokens
  countTokens: operation({ name: 'count_tokens', free: true, reader: readCount }),
};

const claude: JsonOperation = {
  name: 'chat',
  body: 'json',
  read: (target, body) => {
    const model = CLAUDE.exec(target.path)?.[1];
    if (model === undefined) return misread('The path names no model.');
    if (body['model'] !== undefined) return { reason: 'AmbiguousField', message: '`model` is named by the path.' };
    const read = checkQuery(target, true) ?? readClaude(body);
    if (isMisread(read)) return read;
    const { thinking, ...facts } = read;
    if (facts.outputLimit === undefined) return misread('`max_tokens` is required.');
    return { model, n: 1, ...facts, ...((thinking ?? claudeLimits(model).hiddenReasoning) && { hiddenReasoning: true }) };
  },
  edit: (_target, body, outputLimit) => editClaude(body, outputLimit),
};

const models: BodilessOperation = {
  name: 'list_models',
  body: 'none',
  free: true,
  read: (target) => checkQuery(target, false) ?? { stream: false, n: 1, unknownInput: false, fetches: [] },
  edit: () => undefined,
};

/** Source: https://cloud.google.com/apis/design/errors#handling_errors */
const STATUSES: Readonly<Record<number, string>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  429: 'RESOURCE_EXHAUSTED',
  503: 'UNAVAILABLE',
};

export const google: Provider = {
  name: 'google',
  genAiName: 'google_genai',
  hosts: ['generativelanguage.googleapis.com', 'aiplatform.googleapis.com', '*-aiplatform.googleapis.com', 'aiplatform.*.rep.googleapis.com'],
  operation: (target) => {
    if (target.method === 'GET') return LIST.test(target.path) ? models : undefined;
    if (target.method === 'POST' && CLAUDE.test(target.path)) return claude;
    const verb = target.method === 'POST' ? callOf(target)?.verb : undefined;
    return verb !== undefined && Object.hasOwn(OPERATIONS, verb) ? OPERATIONS[verb] : undefined;
  },
  limits,
  usage: [
    { selectors: ['usageMetadata', 'promptTokenCount'], key: 'input' },
    { selectors: ['usageMetadata', 'candidatesTokenCount'], key: 'output' },
    { selectors: ['usageMetadata', 'thoughtsTokenCount'], key: 'reasoning' },
    { selectors: ['usageMetadata', 'cachedContentTokenCount'], key: 'cachedInput' },
    { selectors: ['usageMetadata', 'totalTokenCount'], key: 'total' },
    { selectors: ['candidates', '*', 'finishReason'], key: 'finishReason' },
    { selectors: ['modelVersion'], key: 'responseModel' },
    { selectors: ['responseId'], key: 'responseId' },
  ],
  // Thinking is counted beside the candidates; what tools put into the prompt is only part of the total. An answer without text has no
  // count of candidates at all. Source: https://ai.google.dev/api/generate-content#UsageMetadata. Claude's usage has no total.
  totals: (usage) => {
    const { input, output, reasoning, cachedInput, total } = usage;
    if (input === undefined) return {};
    if (total === undefined) return anthropic.totals(usage);
    const answered = (output ?? 0) + (reasoning ?? 0);
    return {
      input: Math.max(input, total - answered),
      output: answered,
      ...(cachedInput !== undefined && { cachedInput }),
      ...(reasoning !== undefined && { reasoning }),
    };
  },
  usageAlong: true,
  // The last three choose what is charged, and what of an answer comes back or which method is called.
  credentialHeaders: [
    'x-goog-api-key', 'authorization', 'x-api-key', 'x-goog-iam-authorization-token', 'x-goog-iam-authority-selector', 'cookie',
    'x-goog-user-project', 'x-goog-fieldmask', 'x-http-method-override',
  ], // prettier-ignore
  credentialQuery: CREDENTIAL_QUERY,
  // The SDKs show the whole `error`, and read `status` of it.
  errorBody: (error, status) => ({ error: { status: STATUSES[status] ?? 'UNKNOWN', ...error } }),
};
