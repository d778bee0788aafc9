import { RUNTIME_GROUP, VERSION, type Column, type ExtraResource, type KubeObject } from '#api';
import { formatMicrodollars } from '#lib';
import type { BudgetCap, BudgetCounter, BudgetUnit, BudgetWindow, CapsPort, CountersPort } from '#model';
import { answering, failure } from './failure.ts';

/** How one cap stands. Amounts are whole tokens, or whole millionths of a US dollar. */
export interface Budget extends KubeObject {
  /** `AIProviderRoute/<namespace>/<name>`, or `shared/<namespace>/<budgetRef>`. */
  readonly scope: string;
  /** Gateway, `namespace/name`; absent where the counter is shared. */
  readonly gateway?: string;
  /** Id of the run whose counter it is; absent for a day, and for a cap on runs while none has asked for anything. */
  readonly invocation?: string;
  readonly unit: BudgetUnit;
  readonly window: BudgetWindow;
  readonly limit: number;
  readonly used: number;
  /** Held by requests that are under way. */
  readonly reserved: number;
  readonly left: number;
  /** When the counter begins anew, RFC 3339; a run's never does. */
  readonly reset?: string;
  /** Fields that say so: `AIProviderRoute/<namespace>/<name> spec.rules[0].filters[0].tokenBudget.maxTokensPerDay`. */
  readonly fields: readonly string[];
}

const ofUnit = (unit: BudgetUnit, amount: number): string => (unit === 'tokens' ? String(amount) : formatMicrodollars(amount));

const column = (name: string, value: (budget: Budget) => string, priority = 0): Column => ({
  name,
  type: 'string',
  path: '',
  priority,
  value: (object) => value(object as Budget),
});
const amount = (name: string, key: 'limit' | 'used' | 'reserved' | 'left'): Column => column(name, (budget) => ofUnit(budget.unit, budget[key]));

const COLUMNS: readonly Column[] = [
  column('Scope', ({ scope }) => scope),
  column('Gateway', ({ gateway = '' }) => gateway),
  column('Per', ({ window, invocation }) => (window === 'day' ? 'day' : `run ${invocation ?? '(each)'}`)),
  column('Unit', ({ unit }) => (unit === 'tokens' ? 'tokens' : 'US dollars')),
  amount('Limit', 'limit'),
  amount('Used', 'used'),
  amount('Reserved', 'reserved'),
  amount('Left', 'left'),
  column('Reset', ({ reset = '' }) => reset),
  column('Fields', ({ fields }) => fields.join(', '), 1),
];

const nameOf = ({ key, unit, window }: BudgetCap, invocation: string): string =>
  [...key.split('/').slice(2), unit, window, invocation]
    .filter(Boolean)
    .join('.')
    .toLowerCase()
    .replace(/[^a-z0-9.-]/g, '-');

const toObject = (caps: readonly [BudgetCap, ...BudgetCap[]], counter: BudgetCounter | undefined, index: number): Budget => {
  const [first] = caps;
  const { key, unit, window, cap, route, gateway } = first;
  const [kind = '', namespace = ''] = key.split('/');
  const { used = 0, reserved = 0, execution = '', resetAt = 0 } = counter ?? {};
  const name = nameOf(first, execution);
  return {
    apiVersion: `${RUNTIME_GROUP}/${VERSION}`,
    kind: 'Budget',
    metadata: { name: index === 0 ? name : `${name}.${index + 1}`, namespace },
    ...(kind === 'shared' ? { scope: key } : { scope: route, gateway }),
    ...(execution !== '' && { invocation: execution }),
    unit,
    window,
    limit: cap,
    used,
    reserved,
    left: Math.max(0, cap - used - reserved),
    ...(resetAt > 0 && { reset: new Date(resetAt).toISOString() }),
    fields: [...new Set(caps.map((one) => `${one.route} ${one.field}`))],
  };
};

const counterOf = ({ key, unit, window }: Pick<BudgetCap, 'key' | 'unit' | 'window'>): string => `${unit} ${window} ${key}`;

/** Every cap with the counters it is held against: that of today, those of runs; one without any counts from nothing. */
export const budgetsOf = (caps: readonly BudgetCap[], counters: readonly BudgetCounter[], now: number): readonly Budget[] => {
  const byCounter = Map.groupBy(counters, counterOf);
  const endOfDay = new Date(now).setUTCHours(24, 0, 0, 0);
  return [...Map.groupBy(caps, counterOf)].flatMap(([name, held]) => {
    const { key, unit, window } = held[0]!;
    const none = { key, unit, window, execution: '', cap: 0, used: 0, reserved: 0, resetAt: window === 'day' ? endOfDay : 0 };
    const limits = [...Map.groupBy(held, ({ cap }) => cap)].toSorted(([a], [b]) => a - b).map(([, same]) => same as [BudgetCap, ...BudgetCap[]]);
    return (byCounter.get(name) ?? [none]).flatMap((counter) => limits.map((same, index) => toObject(same, counter, index)));
  });
};

/** Budgets as they stand: how much of each cap of a namespace (or of all) is used, held and left. Read-only; they are counted by the ledger. */
export const budgetsResource = (ports: { readonly caps: CapsPort; readonly counters: CountersPort; readonly now: () => number }): ExtraResource => ({
  name: 'budgets',
  singular: 'budget',
  kind: 'Budget',
  namespaced: true,
  shortNames: [],
  verbs: ['list'],
  columns: COLUMNS,
  handle: answering('dispatcher', async ({ namespace }) => {
    const caps = ports.caps.caps(namespace);
    if (!caps) return failure(503, 'ServiceUnavailable', 'the controllers have only begun to start; try again');
    return { list: budgetsOf(caps, await ports.counters.counters(namespace), ports.now()) };
  }),
});
