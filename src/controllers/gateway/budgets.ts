import type { BudgetCap } from '#model';
import type { Plans } from './plans.ts';

/** Caps of the routes of a namespace (or of all), as the newest rules of every gateway say. */
export const capsIn = (plans: Plans, namespace: string): readonly BudgetCap[] =>
  plans
    .namespaces()
    .flatMap((home) => [...(plans.of(home)?.gateways.values() ?? [])])
    .flatMap(({ compiled: { policySet } }) =>
      policySet.aiRoutes
        .filter(({ route }) => namespace === '' || route.namespace === namespace)
        .flatMap(({ route, rules }) =>
          rules
            .flatMap(({ budgets }) => budgets)
            .map(({ key, unit, window, cap, field }) => ({
              key,
              unit,
              window,
              cap,
              field,
              route: `AIProviderRoute/${route.namespace}/${route.name}`,
              gateway: `${policySet.gateway.namespace}/${policySet.gateway.name}`,
            })),
        ),
    );
