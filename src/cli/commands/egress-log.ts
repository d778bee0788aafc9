import { NAMESPACE_FLAG, sinceOf, type CommandSpec } from '../command.ts';
import { exchangeLine, exchangeTable, fetchEverywhere, fetchExchanges } from '../exchanges.ts';
import { ALL_FLAG, outputOf, scopeOf } from '../objects.ts';
import { targetOf } from '../target.ts';

export const egressLogCommand: CommandSpec = {
  path: ['egress', 'log'],
  summary: 'Show what left the sandboxes, and what was denied',
  details: 'Reads the record store; a record appears about a second after its request ended. -o json prints one JSON object a line.',
  flags: [
    { name: 'invocation', value: 'ID', help: 'of one invocation', complete: 'invocation' },
    { name: 'agent', value: 'NAME', help: 'of one agent', complete: 'agent' },
    { name: 'since', value: 'TIME', help: 'newer than a duration ago (10m) or an RFC 3339 time' },
    { name: 'limit', value: 'N', help: 'the newest N (default 1000)' },
    { name: 'output', short: 'o', value: 'FORMAT', help: 'json: one object a line', complete: ['json'] },
    NAMESPACE_FLAG,
    ALL_FLAG,
  ],
  examples: [
    'clrk egress log',
    'clrk egress log --invocation 5f0c2b1e-8a51-4d0c-9f0e-3b6a7d2c4e10',
    'clrk egress log -o json | jq \'select(.verdict == "Denied")\'',
  ],
  run: async (context) => {
    const { io, global, flag } = context;
    const output = outputOf(context, ['json']);
    const since = flag('since');
    const filter = {
      ...(flag('invocation') ? { invocation: flag('invocation')! } : {}),
      ...(flag('agent') ? { agent: flag('agent')! } : {}),
      ...(flag('limit') ? { limit: flag('limit')! } : {}),
      ...(since ? { since: sinceOf(since) } : {}),
    };
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const exchanges = namespace === undefined ? await fetchEverywhere(target, filter) : await fetchExchanges(target, { ...filter, namespace });
    if (output === 'json') for (const exchange of exchanges) io.out(exchangeLine(exchange));
    else if (exchanges.length === 0) io.err('No records.\n');
    else io.out(exchangeTable(io, exchanges));
  },
};
