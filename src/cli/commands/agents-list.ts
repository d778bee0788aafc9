import { taskAgents, type TaskAgent } from '#api';
import { formatAge } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, OUTPUT_FLAG, type CommandSpec } from '../command.ts';
import { paint, printable, table } from '../output.ts';
import { targetOf } from '../target.ts';

const rowOf = (agent: TaskAgent, withNamespace: boolean): string[] => [
  ...(withNamespace ? [printable(agent.metadata.namespace ?? '')] : []),
  printable(agent.metadata.name ?? ''),
  printable(agent.spec.workerPoolRef),
  printable(agent.status?.latestReadyRevisionName ?? '-'),
  String(agent.status?.activeExecutions ?? 0),
  String(agent.status?.warmSandboxes ?? 0),
  formatAge(Date.now() - Date.parse(agent.metadata.creationTimestamp ?? '')),
];

export const agentsListCommand: CommandSpec = {
  path: ['agents', 'list'],
  aliases: ['ls'],
  summary: 'List agents',
  flags: [NAMESPACE_FLAG, { name: 'all-namespaces', short: 'A', help: 'of every namespace' }, OUTPUT_FLAG],
  examples: ['clrk agents list', 'clrk agents list -A -o json'],
  run: async ({ io, global, flag, has }) => {
    const target = await targetOf(global, io);
    const all = has('all-namespaces');
    const { items } = await target.client.list(taskAgents, all ? {} : { namespace: flag('namespace') ?? target.namespace });
    const agents = [...items].sort((a, b) => key(a).localeCompare(key(b)));
    const output = flag('output');
    if (output === 'json') return io.out(`${JSON.stringify(agents, null, 2)}\n`);
    if (output === 'yaml') return io.out(stringify(agents));
    if (agents.length === 0) return io.err(all ? 'No agents.\n' : 'No agents in this namespace.\n');
    io.out(`${paint(io, 'bold', 'TASKAGENTS')}\n`);
    io.out(
      table(
        [...(all ? ['NAMESPACE'] : []), 'NAME', 'POOL', 'LATEST READY', 'ACTIVE', 'WARM', 'AGE'],
        agents.map((agent) => rowOf(agent, all)),
      ),
    );
  },
};

const key = (agent: TaskAgent): string => `${agent.metadata.namespace}/${agent.metadata.name}`;
