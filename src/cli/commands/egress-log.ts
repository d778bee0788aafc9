import { ClrkError } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, sinceOf, type CommandContext, type CommandSpec } from '../command.ts';
import { explainHints, exchangeTable } from '../exchange-table.ts';
import { exchangeFields, exchangeLine, fetchEverywhere, fetchExchanges, type Exchange, type ExchangeFilter } from '../exchanges.ts';
import { ALL_FLAG, outputOf, scopeOf } from '../objects.ts';
import { paint, printable, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

const PROTOCOLS = ['https', 'http', 'tls', 'tcp', 'udp', 'icmp', 'dns'] as const;
const VERDICTS = { allowed: 'Allowed', denied: 'Denied' } as const;

const verdictOf = (text: string): Exchange['verdict'] => {
  const found = Object.entries(VERDICTS).find(([name]) => name === text.toLowerCase());
  if (found) return found[1];
  throw new ClrkError('BadArgument', { what: `--verdict ${printable(text)} is neither allowed nor denied.`, fix: 'For example: --verdict denied' });
};

const protocolsOf = (text: string): string => {
  const names = text.toLowerCase().split(',').filter(Boolean);
  const unknown = names.find((name) => !(PROTOCOLS as readonly string[]).includes(name));
  if (unknown === undefined && names.length > 0) return names.join(',');
  throw new ClrkError('BadArgument', {
    what: `--protocol ${printable(text)}: there is no ${printable(unknown ?? 'name in it')}.`,
    fix: `Known: ${PROTOCOLS.join(', ')}.`,
  });
};

const filterOf = ({ flag }: CommandContext): Omit<ExchangeFilter, 'namespace'> => {
  const [invocation, agent, limit, since, verdict, protocol, host] = ['invocation', 'agent', 'limit', 'since', 'verdict', 'protocol', 'host'].map(
    (name) => flag(name) || undefined,
  );
  return {
    ...(invocation && { invocation }),
    ...(agent && { agent }),
    ...(limit && { limit }),
    ...(since && { since: sinceOf(since) }),
    ...(verdict && { verdict: verdictOf(verdict) }),
    ...(protocol && { protocol: protocolsOf(protocol) }),
    ...(host && { host: host.toLowerCase() }),
  };
};

const printTable = (io: Io, exchanges: readonly Exchange[], namespace: string, wide: boolean): void => {
  io.out(exchangeTable(io, exchanges, wide));
  if (!io.terminal) return;
  for (const command of explainHints(exchanges, namespace)) io.err(`${paint(io, 'dim', 'why denied:')} ${command}\n`);
};

export const egressLogCommand: CommandSpec = {
  path: ['egress', 'log'],
  summary: 'Show what left the sandboxes, and what was denied',
  details:
    'Reads the record store; a record appears about a second after its request, connection or question ended. TOKENS are input/output as the\n' +
    'provider reported them, BYTES what the agent sent/what it received. -o wide adds what it cost in US dollars (≤ where the provider did\n' +
    'not say what it used), the hosts the provider fetched from for it, agent, route and decision. -o json prints one JSON object a line, with all that is known.\n' +
    'On a terminal rows are cut to its width, and the command that says why something was denied is printed too.',
  flags: [
    { name: 'invocation', value: 'ID', help: 'of one invocation', complete: 'invocation' },
    { name: 'agent', value: 'NAME', help: 'of one agent', complete: 'agent' },
    { name: 'verdict', value: 'VERDICT', help: 'only what was allowed or denied', complete: Object.keys(VERDICTS) },
    { name: 'protocol', value: 'NAMES', help: `comma list of ${PROTOCOLS.join(', ')}`, complete: PROTOCOLS },
    { name: 'host', value: 'PATTERN', help: 'to these hosts, or addresses where there is no name; * is any text: *.example.com, 10.40.*' },
    { name: 'since', value: 'TIME', help: 'newer than a duration ago (10m) or an RFC 3339 time' },
    { name: 'limit', value: 'N', help: 'the newest N (default 1000)' },
    { name: 'output', short: 'o', value: 'FORMAT', help: 'wide, json (one object a line) or yaml', complete: ['wide', 'json', 'yaml'] },
    NAMESPACE_FLAG,
    ALL_FLAG,
  ],
  examples: [
    'clrk egress log',
    'clrk egress log --verdict denied --since 10m',
    "clrk egress log --protocol tcp,tls,udp --host '*.example.com'",
    'clrk egress log --invocation 5f0c2b1e-8a51-4d0c-9f0e-3b6a7d2c4e10',
    "clrk egress log -o json | jq -r '.host' | sort | uniq -c",
  ],
  run: async (context) => {
    const { io, global } = context;
    const output = outputOf(context, ['wide', 'json', 'yaml']);
    const filter = filterOf(context);
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const exchanges = namespace === undefined ? await fetchEverywhere(target, filter) : await fetchExchanges(target, { ...filter, namespace });
    if (output === 'json') for (const exchange of exchanges) io.out(exchangeLine(exchange));
    else if (output === 'yaml') io.out(stringify(exchanges.map(exchangeFields)));
    else if (exchanges.length === 0) io.err('No records.\n');
    else printTable(io, exchanges, namespace ?? '', output === 'wide');
  },
};
