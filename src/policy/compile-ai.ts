import { providerName } from '#api';
import type { AIProviderRoute } from '#api';
import type { AiRule, ObjectKey } from '#model';
import { keyOf } from './attach.ts';
import { compileBudgets } from './compile-budgets.ts';
import { REGISTRY } from './providers/index.ts';

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
    ...compileBudgets(keyOf(route), index, gateway, rule),
    notBuilt: notBuilt.filter((path) => path.startsWith(`spec.rules[${index}].`) && !path.includes('.matches[')),
  };
};

/** Hosts of the providers the rules of a route name. */
export const hostsOf = (rules: readonly AiRule[]): readonly string[] => {
  const named = new Set(rules.flatMap(({ matches }) => matches.map(({ provider }) => provider)));
  return REGISTRY.filter(({ name }) => named.has(name)).flatMap(({ hosts }) => hosts);
};
