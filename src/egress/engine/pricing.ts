import type { AiRule, ModelPrice, PriceList } from '#model';
import type { BodyFacts } from '#policy';
import { priceOf } from '#policy/prices';
import { Refusal } from './request.ts';

export interface PricingInput {
  readonly provider: string;
  readonly facts: BodyFacts;
  readonly rule: Pick<AiRule, 'budgets'>;
  /** Namespace of the route, and its own prices. */
  readonly namespace: string;
  readonly list: PriceList | undefined;
  /** Ms since the epoch. */
  readonly now: number;
}

/** Tools that a provider runs are paid by the call, and nobody says how many calls there will be. */
const unpricedPart = ({ unpriced, fetches }: BodyFacts): string | undefined =>
  unpriced ?? (fetches.includes('*') ? 'what the provider fetches or runs for it' : undefined);

/**
 * What the tokens of a request cost; undefined when nobody knows, which is no matter where no cap is on money. Where one is,
 * a request whose cost has no bound is refused.
 */
export const pricing = ({ provider, facts, rule, namespace, list, now }: PricingInput): ModelPrice | undefined => {
  const { model, dearer } = facts;
  const price = model === undefined ? undefined : priceOf({ provider, model, list, dearer: dearer ?? facts.unknownInput, now });
  const cap = rule.budgets.find(({ unit }) => unit === 'microdollars');
  if (!cap) return price;
  const unknown = (what: string, fix: string): never => {
    throw new Refusal(403, 'PriceUnknown', `${what}, and ${cap.field} of the route caps what is spent. ${fix}`);
  };
  const named = `model ${JSON.stringify(model ?? '')} of provider ${provider}`;
  const fix = `Whoever runs this can give one in ConfigMap clrk-model-prices of namespace ${namespace}.`;
  if (!price) return unknown(`No price is known for ${named}`, fix);
  if (facts.outputLimit !== 0 && price.tiers.some(({ output }) => output === undefined)) return unknown(`No price is known for the output of ${named}`, fix);
  const part = unpricedPart(facts);
  if (part !== undefined) return unknown(`No price is known for ${part}`, 'Leave it out.');
  return price;
};
