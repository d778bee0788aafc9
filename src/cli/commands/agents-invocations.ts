import { invocations, LABELS, type Invocation } from '#api';
import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { ageOf, ALL_FLAG, LIST_OUTPUT_FLAG, outputOf, printObjects, scopeOf } from '../objects.ts';
import { paint, printable, table, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

const STYLES: Readonly<Record<string, 'green' | 'red' | 'yellow'>> = { Succeeded: 'green', Failed: 'red', Timeout: 'red', Rejected: 'yellow' };

interface Form {
  readonly namespaces: boolean;
  readonly agents: boolean;
  readonly wide: boolean;
}

const headOf = ({ namespaces, agents, wide }: Form): string[] => [
  ...(namespaces ? ['NAMESPACE'] : []),
  'INVOCATION',
  ...(agents ? ['AGENT'] : []),
  'PHASE',
  'TRIGGER',
  'AGE',
  'REASON',
  ...(wide ? ['WORKER', 'REVISION', 'EXIT', 'MESSAGE'] : []),
];

const rowOf = (io: Io, invocation: Invocation, { namespaces, agents, wide }: Form): string[] => {
  const { metadata, spec, status } = invocation;
  const phase = status?.phase ?? 'Pending';
  const more = [status?.worker, status?.revision, status?.exitCode, status?.message];
  return [
    ...(namespaces ? [printable(metadata.namespace ?? '')] : []),
    printable(metadata.name),
    ...(agents ? [printable(spec.parentRef.name)] : []),
    STYLES[phase] ? paint(io, STYLES[phase], phase) : phase,
    spec.trigger.type,
    ageOf(invocation),
    printable(status?.reason || '-'),
    ...(wide ? more.map((value) => printable(String(value ?? '') || '-')) : []),
  ];
};

export const agentsInvocationsCommand: CommandSpec = {
  path: ['agents', 'invocations'],
  aliases: ['invs', 'inv'],
  summary: 'List the invocations of an agent, or of all, newest first',
  args: [{ name: 'NAME', help: 'the agent; every one when absent', optional: true, complete: 'agent' }],
  flags: [NAMESPACE_FLAG, ALL_FLAG, LIST_OUTPUT_FLAG],
  examples: ['clrk agents invocations summarizer', 'clrk agents invocations -A', 'clrk agents invocations summarizer -o json'],
  run: async (context) => {
    const { io, global, args } = context;
    const output = outputOf(context, ['json', 'yaml', 'wide', 'name']);
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const [agent] = args;
    if (agent !== undefined && namespace === undefined)
      throw new ClrkError('BadArgument', { what: 'An agent is in one namespace.', fix: 'Leave -A or the name away.' });
    // Newest first, as the journal lists them.
    const { items } = await target.client.list(invocations, {
      ...(namespace !== undefined && { namespace }),
      ...(agent !== undefined && { labelSelector: `${LABELS.agent}=${agent}` }),
    });
    if (output && output !== 'wide') return printObjects(io, output, items);
    const where = `${agent === undefined ? '' : ` of ${agent}`}${namespace === undefined ? '' : ` in namespace ${namespace}`}`;
    if (items.length === 0) return io.err(`No invocations${where}.\n`);
    const form: Form = { namespaces: namespace === undefined, agents: agent === undefined, wide: output === 'wide' };
    io.out(
      table(
        headOf(form),
        items.map((invocation) => rowOf(io, invocation, form)),
      ),
    );
  },
};
