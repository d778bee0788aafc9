import { invocations, LABELS, type Invocation } from '#api';
import { formatAge } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, OUTPUT_FLAG, type CommandSpec } from '../command.ts';
import { paint, printable, table, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

const STYLES: Readonly<Record<string, 'green' | 'red' | 'yellow'>> = { Succeeded: 'green', Failed: 'red', Timeout: 'red', Rejected: 'yellow' };

const rowOf = (io: Io, { metadata, spec, status }: Invocation): string[] => {
  const phase = status?.phase ?? 'Pending';
  return [
    printable(metadata.name),
    STYLES[phase] ? paint(io, STYLES[phase], phase) : phase,
    spec.trigger.type,
    formatAge(Date.now() - Date.parse(metadata.creationTimestamp ?? '')),
    printable(status?.reason || '-'),
  ];
};

export const agentsInvocationsCommand: CommandSpec = {
  path: ['agents', 'invocations'],
  aliases: ['invs', 'inv'],
  summary: 'List the invocations of an agent, newest first',
  args: [{ name: 'NAME', help: 'the agent' }],
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['clrk agents invocations summarizer', 'clrk agents invocations summarizer -o json'],
  run: async ({ io, global, args, flag }) => {
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    // Newest first, as the journal lists them.
    const { items } = await target.client.list(invocations, { namespace, labelSelector: `${LABELS.agent}=${args[0]}` });
    const output = flag('output');
    if (output === 'json') return io.out(`${JSON.stringify(items, null, 2)}\n`);
    if (output === 'yaml') return io.out(stringify(items));
    if (items.length === 0) return io.err(`No invocations of ${args[0]} in namespace ${namespace}.\n`);
    io.out(
      table(
        ['INVOCATION', 'PHASE', 'TRIGGER', 'AGE', 'REASON'],
        items.map((invocation) => rowOf(io, invocation)),
      ),
    );
  },
};
