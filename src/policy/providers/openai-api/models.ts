import type { ModelLimits } from '../provider.ts';

type Row = readonly [models: readonly string[], contextWindow: number, maxOutput: number, hiddenReasoning: boolean];
/** A name stands for itself and its variants (`gpt-4o-mini`, `gpt-4o-2024-08-06`); the longest that fits wins. Source: https://platform.openai.com/docs/models */
const MODELS: readonly Row[] = [
  [['gpt-5', 'gpt-5.1', 'gpt-5.2'], 400_000, 128_000, true],
  [['o1', 'o3', 'o4'], 200_000, 100_000, true],
  [['o1-mini'], 128_000, 65_536, true],
  [['o1-preview'], 128_000, 32_768, true],
  [['gpt-4.1'], 1_047_576, 32_768, false],
  [['gpt-4o', 'chatgpt-4o'], 128_000, 16_384, false],
  [['gpt-4-turbo', 'gpt-4-1106-preview', 'gpt-4-0125-preview'], 128_000, 4_096, false],
  [['gpt-4-32k'], 32_768, 32_768, false],
  [['gpt-4-0314', 'gpt-4-0613'], 8_192, 8_192, false],
  [['gpt-3.5-turbo'], 16_385, 4_096, false],
  [['gpt-3.5-turbo-instruct'], 4_096, 4_096, false],
  [['davinci-002', 'babbage-002'], 16_384, 16_384, false],
  [['gpt-4o-transcribe', 'gpt-4o-mini-transcribe'], 16_000, 2_000, false],
  // Their input is images, too; the largest picture is 6,240 tokens.
  [['gpt-image-1', 'gpt-image-1-mini'], 65_536, 8_192, false],
];
// A window bounds one text; a request for embeddings has many, so those models are not here and count by their bytes.
const LIMITS: ReadonlyMap<string, ModelLimits> = new Map([
  ...MODELS.flatMap(([models, contextWindow, maxOutput, hiddenReasoning]) =>
    models.map((model) => [model, { known: true, contextWindow, maxOutput, hiddenReasoning }] as const),
  ),
  // Not a family: `gpt-4-…` are models of other sizes.
  ['gpt-4$', { known: true, contextWindow: 8_192, maxOutput: 8_192, hiddenReasoning: false }],
]);
export const UNKNOWN_MODEL: ModelLimits = { known: false, contextWindow: 128_000, maxOutput: 8_192, hiddenReasoning: true };

/** Limits of a model, of what it was fine-tuned from (`ft:gpt-4o-mini:org::id`), or safe ones for a stranger. */
export const limitsOf = (model: string): ModelLimits => {
  const base = model.startsWith('ft:') ? (model.split(':')[1] ?? '') : model;
  const exact = LIMITS.get(`${base}$`);
  if (exact) return exact;
  for (let name = base; name !== ''; name = name.slice(0, Math.max(0, name.lastIndexOf('-')))) {
    const found = LIMITS.get(name);
    if (found) return found;
  }
  return UNKNOWN_MODEL;
};
