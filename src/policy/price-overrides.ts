import { PROVIDERS, providerName } from '#api';
import type { PriceList, PriceOverride, TokenPrices } from '#model';
import { isJsonObject, JsonRefused, parseStrictJson, type Json, type JsonObject, type RawNumber } from './json.ts';

/** Name of the ConfigMap of a namespace that says what models cost its routes. */
export const PRICES_CONFIG_MAP = 'clrk-model-prices';

const FIELDS = ['input', 'cachedInput', 'cacheCreation', 'output', 'reasoning'] as const;
const MAX_OVERRIDES = 1_000;
/** Dollars for a million tokens. */
const MAX_PRICE = 1_000_000;
const isGlob = (model: string): boolean => /[*?[\]{}!]/.test(model);

class Unusable extends Error {}

/** A number, also one written as JavaScript would not (`0.60`). */
const numberOf = (value: Json | undefined): number =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isJsonObject(value)
    ? Number((value as RawNumber).rawJSON)
    : Number(typeof value === 'number' ? value : NaN);

const priceOf = (value: Json | undefined, where: string): number => {
  const price = numberOf(value);
  if (!(price >= 0 && price <= MAX_PRICE)) throw new Unusable(`${where} must be a number of US dollars for a million tokens, from 0 to ${MAX_PRICE}`);
  return price;
};

const pricesOf = (entry: Json | undefined, where: string): TokenPrices => {
  if (!isJsonObject(entry)) throw new Unusable(`${where} must be an object with the prices ${FIELDS.join(', ')}`);
  const unknown = Object.keys(entry).find((key) => !(FIELDS as readonly string[]).includes(key));
  if (unknown !== undefined) throw new Unusable(`${where} has the field ${JSON.stringify(unknown)}; known are ${FIELDS.join(', ')}`);
  const price = (field: (typeof FIELDS)[number]): number | undefined => (entry[field] === undefined ? undefined : priceOf(entry[field], `${where}.${field}`));
  const input = priceOf(entry['input'], `${where}.input`);
  const [output, reasoning] = [price('output'), price('reasoning')];
  return {
    input,
    cachedInput: price('cachedInput') ?? input,
    cacheCreation: price('cacheCreation') ?? input,
    ...(output !== undefined && { output }),
    ...(reasoning !== undefined && { reasoning }),
  };
};

const modelsOf = (text: string, where: string): JsonObject => {
  try {
    const value = parseStrictJson(text);
    if (isJsonObject(value)) return value;
  } catch (error) {
    if (!(error instanceof JsonRefused)) throw error;
    throw new Unusable(`${where} is not JSON without repeated keys (${error.reason})`);
  }
  throw new Unusable(`${where} must be a JSON object of models`);
};

const ofProvider = (key: string, text: string): readonly PriceOverride[] => {
  const provider = providerName(key);
  if (provider === undefined) throw new Unusable(`data has the key ${JSON.stringify(key)}, which is no provider; known are ${PROVIDERS.join(', ')}`);
  return Object.entries(modelsOf(text, `data.${key}`)).map(([model, entry]) => {
    if (model === '' || model.length > 256) throw new Unusable(`data.${key} has a model whose name is empty or longer than 256 characters`);
    return { provider, model, prices: pricesOf(entry, `data.${key}[${JSON.stringify(model)}]`) };
  });
};

/**
 * Prices from the data of a ConfigMap: for each provider (the key) a JSON object of models, each with `input` and maybe `cachedInput`,
 * `cacheCreation`, `output` and `reasoning` in dollars for a million tokens. One mistake makes all of it unusable: a price that was
 * meant and not taken would let through what was not meant to be.
 */
export const compilePrices = (data: Readonly<Record<string, string>>): PriceList => {
  try {
    const all = Object.entries(data).flatMap(([key, text]) => ofProvider(key, text));
    if (all.length > MAX_OVERRIDES) throw new Unusable(`it has ${all.length} models, and ${MAX_OVERRIDES} are allowed`);
    const [globs, names] = [all.filter(({ model }) => isGlob(model)), all.filter(({ model }) => !isGlob(model))];
    return { overrides: [...names, ...globs] };
  } catch (error) {
    if (error instanceof Unusable) return { overrides: [], problem: `${error.message}.` };
    throw error;
  }
};
