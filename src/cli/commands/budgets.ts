import { RUNTIME_GROUP, VERSION } from '#api';
import { formatMicrodollars } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { ALL_FLAG, outputOf, scopeOf } from '../objects.ts';
import { paint, printable, table, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

/** A Budget of the runtime API. Amounts are whole tokens, or whole millionths of a US dollar. */
interface Budget {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly scope: string;
  readonly gateway?: string;
  readonly invocation?: string;
  readonly unit: string;
  readonly window: string;
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  readonly left: number;
  readonly reset?: string;
  readonly fields: readonly string[];
}

const amount = ({ unit }: Budget, value: number): string => (unit === 'microdollars' ? formatMicrodollars(value) : value.toLocaleString('en-US'));

/** A tenth of the cap left is worth a look; nothing left is why requests are answered 429. */
const leftOf = (io: Io, budget: Budget): string => {
  const text = amount(budget, budget.left);
  if (budget.left === 0) return paint(io, 'red', text);
  return budget.left * 10 < budget.limit ? paint(io, 'yellow', text) : text;
};

const perOf = ({ window, invocation }: Budget): string => (window === 'day' ? 'day (UTC)' : `run ${invocation ?? '(each)'}`);

const rowOf = (io: Io, budget: Budget, all: boolean): readonly string[] => [
  ...(all ? [printable(budget.metadata.namespace ?? '')] : []),
  printable(
    budget.scope
      .split('/')
      .filter((_, index) => index !== 1)
      .join('/'),
  ),
  printable(budget.gateway ?? ''),
  printable(perOf(budget)),
  budget.unit === 'microdollars' ? 'US dollars' : printable(budget.unit),
  amount(budget, budget.limit),
  amount(budget, budget.used),
  amount(budget, budget.reserved),
  leftOf(io, budget),
  printable(budget.reset ?? ''),
];

export const budgetsCommand: CommandSpec = {
  path: ['budgets'],
  aliases: ['budget'],
  summary: 'Show what is left of the caps on tokens and money',
  details:
    'One line for each cap and each counter it is held against: that of today, and for caps on a run that of each run under way. SCOPE is the route\n' +
    'whose requests count, or shared/NAME for a budgetRef. RESERVED is held by requests that are under way; LIMIT is USED, RESERVED and LEFT together.\n' +
    'In -o json and -o yaml money is in millionths of a US dollar, and `fields` names the fields of the routes.',
  flags: [{ name: 'output', short: 'o', value: 'FORMAT', help: 'json or yaml', complete: ['json', 'yaml'] }, NAMESPACE_FLAG, ALL_FLAG],
  examples: ['clrk budgets', 'clrk budgets -n team-a', "clrk budgets -A -o json | jq '.items[] | select(.left == 0) | .scope'"],
  run: async (context) => {
    const { io, global } = context;
    const output = outputOf(context, ['json', 'yaml']);
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const where = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`;
    const list = await target.client.json<{ items: Budget[] }>('GET', `/apis/${RUNTIME_GROUP}/${VERSION}/${where}budgets`);
    if (output === 'json') io.out(`${JSON.stringify(list, null, 2)}\n`);
    else if (output === 'yaml') io.out(stringify(list));
    else if (list.items.length === 0) io.err(namespace === undefined ? 'No budgets.\n' : `No budgets in namespace ${namespace}.\n`);
    else {
      const head = ['SCOPE', 'GATEWAY', 'PER', 'UNIT', 'LIMIT', 'USED', 'RESERVED', 'LEFT', 'RESET'];
      const all = namespace === undefined;
      io.out(
        table(
          all ? ['NAMESPACE', ...head] : head,
          list.items.map((budget) => rowOf(io, budget, all)),
        ),
      );
    }
  },
};
