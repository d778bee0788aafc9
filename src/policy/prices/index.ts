// policy/prices: consumes the name of a model and the prices of a namespace; produces what its tokens cost.
// Owns: how the price list of the library is read. A front door apart from #policy, so that programs without a use for it do not load it.
// Heavy dependencies: @pydantic/genai-prices (its list is part of the package; it is never asked to fetch a newer one).
import { calcPrice, type ModelPrice as ListedPrices, type TieredPrices } from '@pydantic/genai-prices';
import type { ProviderName } from '#api';
import { globMatch } from '#lib';
import type { ModelPrice, PriceList, PriceTier } from '#model';

/** What the library calls our providers; `custom` has no list. */
const LISTED: Partial<Record<ProviderName, string>> = {
  openai: 'openai',
  anthropic: 'anthropic',
  google: 'google',
  'azure-openai': 'azure',
  bedrock: 'aws',
};

export interface PriceQuestion {
  readonly provider: string;
  readonly model: string;
  /** Of the namespace of the route. */
  readonly list?: PriceList | undefined;
  /** More than text, or a longer cache: the highest price of each kind counts. */
  readonly dearer?: boolean | undefined;
  /** When it is asked for, ms since the epoch. */
  readonly now: number;
}

type Listed = number | TieredPrices | undefined;

const at = (price: Listed, above: number): number | undefined => {
  if (price === undefined || typeof price === 'number') return price;
  return price.tiers.reduce((found, tier) => (tier.start <= above ? tier.price : found), price.base);
};

/** The highest of several prices at a tier; undefined when none is known. */
const most = (prices: readonly Listed[], above: number): number | undefined => {
  const known = prices.map((price) => at(price, above)).filter((price) => price !== undefined);
  return known.length > 0 ? Math.max(...known) : undefined;
};

/** Keys of the list end with `_mtok` when they are for tokens. Source: https://github.com/pydantic/genai-prices/blob/main/prices/units.yml */
const tokenPrices = (listed: ListedPrices, which: RegExp): readonly Listed[] =>
  Object.entries(listed).flatMap(([key, price]) => (key.endsWith('_mtok') && which.test(key) ? [price] : []));

const tierOf = (listed: ListedPrices, above: number, dearer: boolean): PriceTier | undefined => {
  const { input_mtok: text, cache_read_mtok: read, cache_write_mtok: write } = listed;
  const input = dearer ? most(tokenPrices(listed, /^input_/), above) : at(text, above);
  if (input === undefined) return undefined;
  // Output may be sound or an image whatever was asked for: the highest counts.
  const output = most(tokenPrices(listed, /^output_(?!reasoning)/), above);
  const reasoning = most(tokenPrices(listed, /^output_reasoning/), above);
  return {
    above,
    input,
    cachedInput: (dearer ? most([...tokenPrices(listed, /^cache_.*read/), read], above) : at(read, above)) ?? input,
    cacheCreation: (dearer ? most(tokenPrices(listed, /^cache_write/), above) : at(write, above)) ?? input,
    ...(output !== undefined && { output }),
    ...(reasoning !== undefined && { reasoning }),
  };
};

/** What is paid by the request is in no count of tokens; sound costs many times what text does, and the list does not always say so. */
const incomplete = (model: string, listed: ListedPrices): boolean =>
  listed['requests_kcount'] !== undefined || (/audio|realtime|tts|transcribe/i.test(model) && !Object.keys(listed).some((key) => key.includes('audio_mtok')));

const fromList = ({ provider, model, now, dearer = false }: PriceQuestion): ModelPrice | undefined => {
  const providerId = LISTED[provider as ProviderName];
  if (providerId === undefined) return undefined;
  const listed = calcPrice({}, model, { providerId, timestamp: new Date(now) })?.model_price;
  if (!listed || incomplete(model, listed)) return undefined;
  const starts = Object.values(listed).flatMap((price) => (typeof price === 'object' ? price.tiers.map(({ start }) => start) : []));
  const tiers = [...new Set([0, ...starts])].toSorted((a, b) => a - b).map((above) => tierOf(listed, above, dearer));
  return tiers.every((tier) => tier !== undefined) ? { tiers } : undefined;
};

/** A look through the list takes longer than the rest of a decision; its prices change by the minute at most (some are lower at night). */
const MINUTE_MS = 60_000;
const MAX_REMEMBERED = 500;
const remembered = new Map<string, ModelPrice | undefined>();
let minute = 0;

const fromListOnce = (question: PriceQuestion): ModelPrice | undefined => {
  const { provider, model, now, dearer = false } = question;
  const current = Math.floor(now / MINUTE_MS);
  // Models are what agents write, so there is no end to them.
  if (current !== minute || remembered.size >= MAX_REMEMBERED) remembered.clear();
  minute = current;
  const key = `${dearer} ${provider} ${model}`;
  if (!remembered.has(key)) remembered.set(key, fromList(question));
  return remembered.get(key);
};

/** What the tokens of a model cost: as the namespace says, else as the list does; undefined = nobody knows. */
export const priceOf = (question: PriceQuestion): ModelPrice | undefined => {
  const { provider, model, list } = question;
  const own = list?.overrides.find((override) => override.provider === provider && (override.model === model || globMatch(override.model, model)));
  return own ? { tiers: [{ above: 0, ...own.prices }] } : fromListOnce(question);
};
