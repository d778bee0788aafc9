/** What tokens of a model cost, in US dollars for a million tokens, which is millionths of a dollar for one. */
export interface TokenPrices {
  readonly input: number;
  /** Of input read from a cache. */
  readonly cachedInput: number;
  /** Of input written to a cache. */
  readonly cacheCreation: number;
  /** Absent when only input has a price. */
  readonly output?: number;
  /** Of output that is reasoning; absent = that of output. */
  readonly reasoning?: number;
}

/** Prices of a request whose input is more than `above` tokens. */
export interface PriceTier extends TokenPrices {
  readonly above: number;
}

export interface ModelPrice {
  /** By `above`, the first one above 0; the last that applies counts, for the whole request. */
  readonly tiers: readonly PriceTier[];
}

/** A price of the user's own. */
export interface PriceOverride {
  readonly provider: string;
  /** Name of a model, or a glob. */
  readonly model: string;
  readonly prices: TokenPrices;
}

/** The prices of one namespace: its ConfigMap `clrk-model-prices`. */
export interface PriceList {
  /** The first that fits a model counts: names as they are, then globs in the order written. */
  readonly overrides: readonly PriceOverride[];
  /** Why the ConfigMap cannot be used: then nothing is let through under a cap on money. */
  readonly problem?: string;
}
