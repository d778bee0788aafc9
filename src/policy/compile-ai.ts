import { providerName } from '#api';
import type { AIProviderRoute } from '#api';
import type { AiRule, ObjectKey, TokenBudget } from '#model';
import { keyOf } from './attach.ts';
import { REGISTRY } from './providers/index.ts';

/** A gateway of another namespace may have the name of one of the route's own. */
const gatewayPart = (route: ObjectKey, gateway: ObjectKey): string =>
  gateway.namespace === route.namespace ? gateway.name : `${gateway.namespace}/${gateway.name}`;

const budgetsOf = (route: ObjectKey, index: number, gateway: ObjectKey, rule: AIProviderRoute['spec']['rules'][number]): readonly TokenBudget[] => {
  const caps = (rule.filters ?? []).flatMap((filter) => filter.tokenBudget?.maxTokensPerDay ?? []);
  // Several caps of one rule count the same tokens, so the smallest decides.
  return caps.length > 0
    ? [{ key: `budget/${route.namespace}/${route.name}/${index}/${gatewayPart(route, gateway)}`, maxTokensPerDay: Math.min(...caps) }]
    : [];
};

export const compileAiRule = (route: AIProviderRoute, index: number, gateway: ObjectKey, notBuilt: readonly string[]): AiRule => {
  const rule = route.spec.rules[index]!;
  return {
    index,
    // A provider that is not built stays in the list and matches nothing: no request is ever recognised as its own.
    matches: (rule.matches ?? []).map(({ provider, models, endpoints }) => ({
      provider: providerName(provider) ?? provider.toLowerCase(),
      ...(models?.length && { models }),
      ...(endpoints?.length && { endpoints }),
    })),
    budgets: budgetsOf(keyOf(route), index, gateway, rule),
    notBuilt: notBuilt.filter((path) => path.startsWith(`spec.rules[${index}].`) && !path.includes('.matches[')),
  };
};

/** Hosts of the providers the rules of a route name. */
export const hostsOf = (rules: readonly AiRule[]): readonly string[] => {
  const named = new Set(rules.flatMap(({ matches }) => matches.map(({ provider }) => provider)));
  return REGISTRY.filter(({ name }) => named.has(name)).flatMap(({ hosts }) => hosts);
};
