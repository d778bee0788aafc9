import type { BudgetUnit, ModelPrice } from '#model';
import { costBound, outputWithin, type BodyFacts, type ModelLimits } from '#policy';
import { Refusal } from './request.ts';

/** What a request can use at most. */
export interface Bounds {
  /** Tokens. */
  readonly input: number;
  /** Tokens of one answer. */
  readonly output: number;
  /** Answers it asks for. */
  readonly n: number;
  /** No field of the request could lower the output. */
  readonly fixed: boolean;
  /** What it uses at most with so many tokens of output an answer. */
  amount(unit: BudgetUnit, output: number): number;
  /** Tokens of output an answer that fit into what is left of a budget beside the input. */
  fitting(unit: BudgetUnit, left: number): number;
}

/** How a request is sized. */
export interface BoundsInput {
  readonly facts: BodyFacts;
  readonly limits: ModelLimits;
  readonly bodyBytes: number;
  /** Of the rule: output tokens over all answers of one request. */
  readonly maxOutputTokens?: number | undefined;
  /** Absent when it is not known: then no budget may count money. */
  readonly price?: ModelPrice | undefined;
}

/**
 * A token is at least one byte, and everything the provider counts as input is in the body, so the bytes of the body bound
 * the input; so does the context window of a known model. A part without a visible size counts as a whole window.
 */
const inputBound = ({ facts, limits, bodyBytes }: BoundsInput): number => {
  if (facts.unknownInput) return Math.max(limits.contextWindow, limits.known ? 0 : bodyBytes);
  return limits.known ? Math.min(bodyBytes, limits.contextWindow) : bodyBytes;
};

/** Tokens of one answer: what the request asks for, else what the rule allows, else what the model can, and never more than the rule allows. */
const outputBound = ({ facts, limits, maxOutputTokens }: BoundsInput, fixed: boolean): number => {
  const wanted = facts.outputLimit ?? limits.maxOutput;
  if (maxOutputTokens === undefined) return wanted;
  const allowed = Math.floor(maxOutputTokens / facts.n);
  if (wanted <= allowed) return wanted;
  if (fixed || allowed < 1)
    throw new Refusal(
      403,
      'OutputLimitExceeded',
      `The request can have ${wanted * facts.n} tokens of output, ${maxOutputTokens} are allowed (maxOutputTokensPerRequest), and ${fixed ? 'nothing in it could lower that' : `it asks for ${facts.n} answers`}.`,
    );
  return allowed;
};

const priceOf = ({ price }: BoundsInput): ModelPrice => {
  if (!price) throw new Error('a budget counts money, and the request has no price');
  return price;
};

/** Throws a Refusal when the rule allows less output than the request can be held to. */
export const boundsOf = (sized: BoundsInput): Bounds => {
  const { n } = sized.facts;
  const fixed = sized.facts.fixedOutput ?? false;
  const input = inputBound(sized);
  const output = outputBound(sized, fixed);
  return {
    input,
    output,
    n,
    fixed,
    amount: (unit, each) => (unit === 'tokens' ? input + each * n : costBound(priceOf(sized), input, each * n)),
    fitting: (unit, left) => Math.floor((unit === 'tokens' ? left - input : outputWithin(priceOf(sized), input, left, output * n)) / n),
  };
};
