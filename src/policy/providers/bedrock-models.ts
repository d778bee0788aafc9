import { claudeLimits } from './claude.ts';
import { limitsByFamily, type Family } from './fields.ts';
import type { ModelLimits } from './provider.ts';

/** Models on Bedrock: their names, limits, and the bodies that `invoke` takes for them. */

/** Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html and its pages of each maker. */
const FAMILIES: readonly Family[] = [
  [['amazon.nova-micro'], 128_000, 10_000, false],
  [['amazon.nova-lite', 'amazon.nova-pro'], 300_000, 10_000, false],
  [['amazon.nova-premier'], 1_000_000, 32_000, false],
  [['amazon.nova-2'], 1_000_000, 65_536, true],
  [['amazon.titan-text'], 32_768, 8_192, false],
  [['meta.llama3'], 128_000, 8_192, false],
  [['meta.llama4-scout', 'meta.llama4-maverick'], 10_000_000, 8_192, false],
  [['mistral.mistral', 'mistral.mixtral', 'mistral.ministral'], 256_000, 8_192, false],
  [['mistral.pixtral'], 128_000, 8_192, false],
  [['cohere.command-r', 'cohere.command-a'], 256_000, 8_192, false],
  [['ai21.jamba'], 256_000, 4_096, false],
  [['deepseek.r1'], 128_000, 32_768, true],
  [['openai.gpt-oss'], 131_072, 131_072, true],
];
const STRANGER: ModelLimits = { known: false, contextWindow: 1_000_000, maxOutput: 8_192, hiddenReasoning: true };
const byFamily = limitsByFamily(FAMILIES, STRANGER);

/**
 * The maker's name of a model, without region and account: `us.anthropic.claude-…` and the ARN of a foundation model or of an inference
 * profile of AWS stand for the model; ids of one's own (application profiles, provisioned and imported models) say nothing.
 */
export const modelNameOf = (modelId: string): string => {
  const arn = /^arn:[a-z-]+:bedrock:[a-z0-9-]*:\d*:([a-z-]+)\/(.+)$/.exec(modelId);
  if (arn && arn[1] !== 'foundation-model' && arn[1] !== 'inference-profile') return '';
  return (arn?.[2] ?? modelId).replace(/^(?:us|us-gov|eu|ap|apac|jp|au|ca|sa|mx|in|me|af|il|global)\./, '');
};

export const bedrockLimits = (modelId: string): ModelLimits => {
  const name = modelNameOf(modelId);
  return name.startsWith('anthropic.') ? claudeLimits(name.slice('anthropic.'.length)) : byFamily(name);
};

/** What `invoke` takes for a model. */
export interface Shape {
  readonly reader: 'claude' | 'nova' | 'chat' | 'text' | 'embedding';
  /** Fields that limit the output, by path; a limit of ours goes into the first. None = nothing comes out that is counted. */
  readonly limits: readonly (readonly string[])[];
  /** How many answers. */
  readonly n?: string;
}

const CLAUDE: Shape = { reader: 'claude', limits: [['max_tokens']] };
const CHAT: Shape = { reader: 'chat', limits: [['max_tokens'], ['max_completion_tokens']], n: 'n' };
const OSS: Shape = { reader: 'chat', limits: [['max_completion_tokens'], ['max_tokens']], n: 'n' };

/** By the beginning of the name, the longest deciding. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html */
const SHAPES: Readonly<Record<string, Shape>> = {
  'anthropic.claude': CLAUDE,
  'amazon.nova': {
    reader: 'nova',
    limits: [
      ['inferenceConfig', 'maxTokens'],
      ['inferenceConfig', 'max_new_tokens'],
    ],
  },
  'amazon.titan-text': { reader: 'text', limits: [['textGenerationConfig', 'maxTokenCount']] },
  'amazon.titan-embed': { reader: 'embedding', limits: [] },
  'meta.llama': { reader: 'text', limits: [['max_gen_len']] },
  'mistral.': CHAT,
  'cohere.command-r': { reader: 'text', limits: [['max_tokens']] },
  'cohere.command-a': { reader: 'text', limits: [['max_tokens']] },
  'cohere.command': { reader: 'text', limits: [['max_tokens']], n: 'num_generations' },
  'cohere.embed': { reader: 'embedding', limits: [] },
  'ai21.jamba': CHAT,
  'deepseek.': CHAT,
  'qwen.': CHAT,
  'openai.gpt-oss': OSS,
};
const prefixes = Object.keys(SHAPES).toSorted((a, b) => b.length - a.length);

/** Every field that is a limit for some maker: one that is none of the model's own is refused, since it might be read after all. */
export const LIMIT_NAMES: ReadonlySet<string> = new Set([
  ...Object.values(SHAPES).flatMap(({ limits }) => limits.map((path) => path.at(-1)!)),
  'max_tokens_to_sample',
  'maxLength',
  'max_length',
]);

/** The shape of a model's body; undefined when neither the name nor `anthropic_version` in the body tells. */
export const shapeOf = (modelId: string, body: Readonly<Record<string, unknown>>): Shape | undefined => {
  const name = modelNameOf(modelId);
  const prefix = prefixes.find((known) => name.startsWith(known));
  if (prefix !== undefined) return SHAPES[prefix];
  return name === '' && typeof body['anthropic_version'] === 'string' ? CLAUDE : undefined;
};
