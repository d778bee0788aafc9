import type { BodilessOperation, Operation, RefusalBody, UsageRule, UsageTotals } from '../provider.ts';
import type { ReportedUsage } from '#model';
import { chat } from './chat.ts';
import type { Dialect } from './fields.ts';
import { imageEdits, imageGenerations, speech, transcriptions } from './media.ts';
import { responses } from './responses.ts';
import { completions, embeddings } from './texts.ts';

/** The API of OpenAI, which others serve as well: operations by the end of their path, usage, and the shape of errors. */

export type { Dialect } from './fields.ts';
export { limitsOf, UNKNOWN_MODEL } from './models.ts';

const listModels: BodilessOperation = {
  name: 'list_models',
  body: 'none',
  free: true,
  read: () => ({ stream: false, n: 0, outputLimit: 0, unknownInput: false, fetches: [] }),
  edit: () => undefined,
};

/** Of one model, whose name is the end of the path. */
const getModel = (model: string): BodilessOperation => ({
  ...listModels,
  name: 'get_model',
  read: () => ({ model, stream: false, n: 0, outputLimit: 0, unknownInput: false, fetches: [] }),
});

/** The name of a model as a path has it; what needs percent-encoding is none of these. */
const MODEL_PATH = /^models\/([A-Za-z0-9._:-]{1,256})$/;

export type Operations = (method: string, call: string) => Operation | undefined;

/** Operations by method and what follows the base of the API: `chat/completions`. */
export const operationsOf = (dialect: Dialect): Operations => {
  const posts: ReadonlyMap<string, Operation> = new Map<string, Operation>([
    ['chat/completions', chat(dialect)],
    ['responses', responses(dialect)],
    ['completions', completions(dialect)],
    ['embeddings', embeddings(dialect)],
    ['images/generations', imageGenerations(dialect)],
    ['images/edits', imageEdits(dialect)],
    ['audio/speech', speech(dialect)],
    ['audio/transcriptions', transcriptions(dialect)],
  ]);
  return (method, call) => {
    if (method === 'POST') return posts.get(call);
    if (method !== 'GET') return undefined;
    const model = MODEL_PATH.exec(call)?.[1];
    return call === 'models' ? listModels : model === undefined ? undefined : getModel(model);
  };
};

/** Chat and completions; embeddings have no output. */
const BY_PROMPT = [
  [['prompt_tokens'], 'input'],
  [['completion_tokens'], 'output'],
  [['total_tokens'], 'total'],
  [['prompt_tokens_details', 'cached_tokens'], 'cachedInput'],
  [['completion_tokens_details', 'reasoning_tokens'], 'reasoning'],
] as const;
/** Responses, images and audio. */
const BY_INPUT = [
  [['input_tokens'], 'input'],
  [['output_tokens'], 'output'],
  [['total_tokens'], 'total'],
  [['input_tokens_details', 'cached_tokens'], 'cachedInput'],
  [['output_tokens_details', 'reasoning_tokens'], 'reasoning'],
] as const;

/** Events of a stream of Responses carry the response below a key of this name. */
const BASES: readonly (readonly string[])[] = [[], ['response']];

export const USAGE: readonly UsageRule[] = [
  { selectors: ['choices', '*', 'finish_reason'], key: 'finishReason' },
  ...BY_PROMPT.map(([selectors, key]) => ({ selectors: ['usage', ...selectors], key })),
  ...BASES.flatMap((base) => BY_INPUT.map(([selectors, key]) => ({ selectors: [...base, 'usage', ...selectors], key }))),
  ...BASES.flatMap((base): readonly UsageRule[] => [
    { selectors: [...base, 'model'], key: 'responseModel' },
    { selectors: [...base, 'id'], key: 'responseId' },
    { selectors: [...base, 'incomplete_details', 'reason'], key: 'finishReason' },
  ]),
];

/** Cached tokens are part of the input, and reasoning is part of the output. */
export const totalsOf = ({ input, output, cachedInput, reasoning }: ReportedUsage): UsageTotals => ({
  ...(input !== undefined && { input }),
  ...(output !== undefined && { output }),
  ...(cachedInput !== undefined && { cachedInput }),
  ...(reasoning !== undefined && { reasoning }),
});

/** The SDKs read `message`, `type`, `code` and `param`. Source: https://platform.openai.com/docs/guides/error-codes */
export const errorBody = (error: RefusalBody) => ({ error: { ...error, type: 'clrk_refused', param: null } });
