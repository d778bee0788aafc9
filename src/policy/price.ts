import type { ModelPrice, PriceTier } from '#model';

/** Costs in whole millionths of a US dollar, rounded up for each request. */

/** What a request used, as far as it has prices of its own. */
export interface PricedUsage {
  /** All of the input, `cachedInput` and `cacheCreation` among it. */
  readonly input: number;
  /** All of the output, `reasoning` among it. */
  readonly output: number;
  readonly cachedInput?: number | undefined;
  readonly cacheCreation?: number | undefined;
  readonly reasoning?: number | undefined;
}

// What floating point adds to a whole number is less, as long as a request costs less than a million dollars.
const ROUNDING = 1e-4;
const roundUp = (microdollars: number): number => Math.max(0, Math.ceil(microdollars - ROUNDING));

const dearestInput = ({ input, cachedInput, cacheCreation }: PriceTier): number => Math.max(input, cachedInput, cacheCreation);
const dearestOutput = ({ output = 0, reasoning = 0 }: PriceTier): number => Math.max(output, reasoning);

/** Prices that a request of at most so much input can come to. */
const reachable = ({ tiers }: ModelPrice, input: number): readonly PriceTier[] => tiers.filter(({ above }, index) => index === 0 || above < input);
const highest = (price: ModelPrice, input: number, of: (tier: PriceTier) => number): number => Math.max(...reachable(price, input).map(of));

/** What a request with at most so many tokens costs at most, whatever of it is cached and whichever tier it comes to. */
export const costBound = (price: ModelPrice, input: number, output: number): number =>
  roundUp(input * highest(price, input, dearestInput) + output * highest(price, input, dearestOutput));

/** Tokens of output, `atMost` so many, that fit into `left` beside the input. */
export const outputWithin = (price: ModelPrice, input: number, left: number, atMost: number): number => {
  // By halves: a division is off by what rounding and tiny prices make of it.
  let [fits, tooMuch] = [0, atMost + 1];
  while (tooMuch - fits > 1) {
    const middle = Math.floor((fits + tooMuch) / 2);
    if (costBound(price, input, middle) <= left) fits = middle;
    else tooMuch = middle;
  }
  return fits;
};

/** What a request cost. Parts that are more than the whole they are part of count as all of it. */
export const costOf = (price: ModelPrice, { input, output, cachedInput = 0, cacheCreation = 0, reasoning = 0 }: PricedUsage): number => {
  const tier = reachable(price, input).at(-1)!;
  const created = Math.min(cacheCreation, input);
  const cached = Math.min(cachedInput, input - created);
  const thought = Math.min(reasoning, output);
  const { output: outputPrice = 0 } = tier;
  return roundUp(
    (input - created - cached) * tier.input +
      created * tier.cacheCreation +
      cached * tier.cachedInput +
      (output - thought) * outputPrice +
      thought * (tier.reasoning ?? outputPrice),
  );
};
