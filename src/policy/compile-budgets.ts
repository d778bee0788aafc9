import type { AIProviderRoute } from '#api';
import type { Budget, ObjectKey } from '#model';

type Rule = AIProviderRoute['spec']['rules'][number];
type TokenBudgetSpec = NonNullable<NonNullable<Rule['filters']>[number]['tokenBudget']>;

const MICRO_DIGITS = 6;

/** Decimal text of dollars (the schema allows nine digits before the point and six after it) as whole millionths. */
export const microdollarsOf = (text: string): number => {
  const [whole = '0', part = ''] = text.split('.');
  return Number(whole + part.padEnd(MICRO_DIGITS, '0'));
};

/** What the fields of a TokenBudget count, where and how far. */
const CAPS = [
  { field: 'maxTokensPerDay', unit: 'tokens', window: 'day', cap: ({ maxTokensPerDay }: TokenBudgetSpec) => maxTokensPerDay },
  { field: 'maxTokensPerExecution', unit: 'tokens', window: 'execution', cap: ({ maxTokensPerExecution }: TokenBudgetSpec) => maxTokensPerExecution },
  {
    field: 'maxCostPerDay',
    unit: 'microdollars',
    window: 'day',
    cap: ({ maxCostPerDay }: TokenBudgetSpec) => (maxCostPerDay === undefined ? undefined : microdollarsOf(maxCostPerDay)),
  },
  {
    field: 'maxCostPerExecution',
    unit: 'microdollars',
    window: 'execution',
    cap: ({ maxCostPerExecution }: TokenBudgetSpec) => (maxCostPerExecution === undefined ? undefined : microdollarsOf(maxCostPerExecution)),
  },
] as const;

/** A gateway of another namespace may have the name of one of the route's own. */
const gatewayPart = (route: ObjectKey, gateway: ObjectKey): string =>
  gateway.namespace === route.namespace ? gateway.name : `${gateway.namespace}/${gateway.name}`;

/** The counters of a route at a gateway, or of a name that routes of one namespace share. */
const keyFor = (route: ObjectKey, gateway: ObjectKey, { budgetRef }: TokenBudgetSpec): string =>
  budgetRef === undefined ? `budget/${route.namespace}/${route.name}/${gatewayPart(route, gateway)}` : `shared/${route.namespace}/${budgetRef}`;

export interface RuleBudgets {
  readonly budgets: readonly Budget[];
  readonly maxOutputTokens?: number;
}

/** The TokenBudgets of a rule. Several caps on one counter count the same requests, so the smallest decides. */
export const compileBudgets = (route: ObjectKey, index: number, gateway: ObjectKey, { filters = [] }: Rule): RuleBudgets => {
  const budgets = new Map<string, Budget>();
  const outputs: number[] = [];
  for (const [at, { type, tokenBudget }] of filters.entries()) {
    if (type !== 'TokenBudget' || !tokenBudget) continue;
    if (tokenBudget.maxOutputTokensPerRequest !== undefined) outputs.push(tokenBudget.maxOutputTokensPerRequest);
    const key = keyFor(route, gateway, tokenBudget);
    for (const { field, unit, window, cap: read } of CAPS) {
      const cap = read(tokenBudget);
      const name = `${unit} ${window} ${key}`;
      if (cap === undefined || cap >= (budgets.get(name)?.cap ?? Infinity)) continue;
      budgets.set(name, { key, unit, window, cap, field: `spec.rules[${index}].filters[${at}].tokenBudget.${field}` });
    }
  }
  return { budgets: [...budgets.values()], ...(outputs.length > 0 && { maxOutputTokens: Math.min(...outputs) }) };
};

/** TokenBudgets of a route without any cap, as sentences. */
export const idleBudgets = ({ spec }: AIProviderRoute): readonly string[] =>
  spec.rules.flatMap(({ filters = [] }, r) =>
    filters.flatMap(({ type, tokenBudget }, f) =>
      type === 'TokenBudget' && tokenBudget && tokenBudget.maxOutputTokensPerRequest === undefined && CAPS.every(({ cap }) => cap(tokenBudget) === undefined)
        ? `spec.rules[${r}].filters[${f}].tokenBudget has no cap, so it limits nothing.`
        : [],
    ),
  );

/** Whether a route has a cap on money. */
export const capsMoney = ({ spec }: AIProviderRoute): boolean =>
  spec.rules.some(({ filters = [] }) => filters.some(({ tokenBudget: caps }) => caps?.maxCostPerDay !== undefined || caps?.maxCostPerExecution !== undefined));
