import type { AiRule, ModelPrice, PriceList } from '#model';
import type { Billing, BodyFacts } from '#policy';
import { priceOf } from '#policy/prices';
import { Refusal } from './request.ts';

export interface PricingInput {
  readonly provider: string;
  readonly facts: BodyFacts;
  /** How it wants to be served, by its body and by a header. */
  readonly billing: () => Billing;
  readonly header: string | undefined;
  readonly rule: Pick<AiRule, 'budgets'>;
  /** Namespace of the route, and its own prices. */
  readonly namespace: string;
  readonly list: PriceList | undefined;
  /** Ms since the epoch. */
  readonly now: number;
}

/** Tools that a provider runs are paid by the call, and nobody says how many calls there will be. */
const TOOLS = 'what the provider fetches or runs for it';

/**
 * What the tokens of a request cost; undefined when nobody knows, which is no matter where no cap is on money. Where one is,
 * a request whose cost has no bound is refused.
 */
export const pricing = ({ provider, facts, billing, header, rule, namespace, list, now }: PricingInput): ModelPrice | undefined => {
  const { model, unknownInput, outputLimit, fetches } = facts;
  const cap = rule.budgets.find(({ unit }) => unit === 'microdollars');
  const { dearer, unpriced = header } = cap ? billing() : { dearer: false };
  const price = model === undefined ? undefined : priceOf({ provider, model, list, dearer: dearer || unknownInput, now });
  if (!cap) return price;
  const unknown = (what: string, fix: string): never => {
    throw new Refusal(403, 'PriceUnknown', `No price is known for ${what}, and ${cap.field} of the route caps what is spent. ${fix}`);
  };
  const named = `model ${JSON.stringify(model ?? '')} of provider ${provider}`;
  const fix = `Whoever runs this can give one in ConfigMap clrk-model-prices of namespace ${namespace}.`;
  if (!price) return unknown(named, fix);
  if (outputLimit !== 0 && price.tiers.some(({ output }) => output === undefined)) return unknown(`the output of ${named}`, fix);
  const part = unpriced ?? (fetches.includes('*') ? TOOLS : undefined);
  return part === undefined ? price : unknown(part, 'Leave it out.');
};
