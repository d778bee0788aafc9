import { taskAgents, type TaskAgent } from '#api';
import { ClrkError, formatAge } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, OUTPUT_FLAG, type CommandSpec } from '../command.ts';
import { paint, printable, table, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

const lines = (pairs: readonly (readonly [string, string | number | undefined])[], indent = ''): string =>
  pairs
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => `${indent}${`${name}:`.padEnd(30 - indent.length)}${printable(String(value))}\n`)
    .join('');

const describe = (io: Io, { metadata, spec, status }: TaskAgent): string => {
  const conditions = (status?.conditions ?? []).map(({ type, status: value, reason, message }) => [
    printable(type),
    value === 'True' ? paint(io, 'green', value) : paint(io, 'yellow', value),
    printable(reason),
    printable(message),
  ]);
  return [
    lines([
      ['Kind', taskAgents.kind],
      ['Name', metadata.name],
      ['Namespace', metadata.namespace],
      ['Pool', spec.workerPoolRef],
      ['Image', spec.template.spec.image],
      ['Timeout', spec.timeout],
      ['MaxConcurrent', spec.maxConcurrent],
      ['EgressRefs', spec.egressRefs?.map(({ gatewayRef }) => gatewayRef).join(', ') || 'none: no way out'],
      ['Age', formatAge(Date.now() - Date.parse(metadata.creationTimestamp ?? ''))],
    ]),
    'Status:\n',
    lines(
      [
        ['ActiveExecutions', status?.activeExecutions ?? 0],
        ['LatestCreatedRevisionName', status?.latestCreatedRevisionName ?? '-'],
        ['LatestReadyRevisionName', status?.latestReadyRevisionName ?? '-'],
      ],
      '  ',
    ),
    conditions.length > 0 ? `Conditions:\n${table(['TYPE', 'STATUS', 'REASON', 'MESSAGE'], conditions).replace(/^(?=.)/gm, '  ')}` : '',
  ].join('');
};

export const agentsGetCommand: CommandSpec = {
  path: ['agents', 'get'],
  summary: 'Show one agent and how it is',
  args: [{ name: 'NAME', help: 'the agent' }],
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['clrk agents get summarizer', 'clrk agents get summarizer -n finance -o yaml'],
  run: async ({ io, global, args, flag }) => {
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    const agent = await target.client.get(taskAgents, namespace, args[0]!);
    if (!agent) throw new ClrkError('AgentNotFound', { agent: `${namespace}/${args[0]}` });
    const output = flag('output');
    if (output === 'json') return io.out(`${JSON.stringify(agent, null, 2)}\n`);
    if (output === 'yaml') return io.out(stringify(agent));
    io.out(describe(io, agent));
  },
};
