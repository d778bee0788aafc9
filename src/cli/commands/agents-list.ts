import { daemonAgents, taskAgents, type DaemonAgent, type KubeObject, type TaskAgent } from '#api';
import type { CommandSpec } from '../command.ts';
import { ageOf, byPlace, LIST_FLAGS, listOptions, outputOf, printObjects, scopeOf } from '../objects.ts';
import { paint, printable, table } from '../output.ts';
import { targetOf } from '../target.ts';

interface Column<T> {
  readonly head: string;
  readonly wide?: boolean;
  readonly cell: (agent: T) => string | number | undefined;
}

type Agent = TaskAgent | DaemonAgent;

const image: Column<Agent> = { head: 'IMAGE', wide: true, cell: ({ spec }) => spec.template.spec.image };
const gateways: Column<Agent> = { head: 'GATEWAYS', wide: true, cell: ({ spec }) => spec.egressRefs?.map(({ gatewayRef }) => gatewayRef).join(',') };
const pool: Column<Agent> = { head: 'POOL', cell: ({ spec }) => spec.workerPoolRef };
const ready: Column<Agent> = { head: 'LATEST READY', cell: ({ status }) => status?.latestReadyRevisionName };
const age: Column<KubeObject> = { head: 'AGE', cell: ageOf };

const DAEMONS: readonly Column<DaemonAgent>[] = [
  pool,
  ready,
  { head: 'PHASE', cell: ({ status }) => status?.phase },
  { head: 'RESTARTS', cell: ({ status }) => status?.restartCount ?? 0 },
  age,
  image,
  gateways,
];
const TASKS: readonly Column<TaskAgent>[] = [
  pool,
  ready,
  { head: 'ACTIVE', cell: ({ status }) => status?.activeExecutions ?? 0 },
  { head: 'WARM', cell: ({ status }) => status?.warmSandboxes ?? 0 },
  age,
  image,
  gateways,
];

const block = <T extends KubeObject>(
  agents: readonly T[],
  columns: readonly Column<T>[],
  form: { readonly wide: boolean; readonly namespaces: boolean },
): string => {
  const shown = columns.filter(({ wide }) => form.wide || !wide);
  const place = ({ metadata }: T): string[] => [...(form.namespaces ? [metadata.namespace ?? ''] : []), metadata.name];
  const rows = agents.map((agent) => [...place(agent), ...shown.map(({ cell }) => String(cell(agent) ?? '') || '-')].map(printable));
  return table([...(form.namespaces ? ['NAMESPACE'] : []), 'NAME', ...shown.map(({ head }) => head)], rows);
};

export const agentsListCommand: CommandSpec = {
  path: ['agents', 'list'],
  aliases: ['ls'],
  summary: 'List agents',
  flags: LIST_FLAGS,
  examples: ['clrk agents list', 'clrk agents list -A -o wide', 'clrk agents list -l team=finance -o json'],
  run: async (context) => {
    const { io, global } = context;
    const output = outputOf(context, ['json', 'yaml', 'wide', 'name']);
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const options = listOptions(context, namespace);
    const [daemons, tasks] = await Promise.all([target.client.list(daemonAgents, options), target.client.list(taskAgents, options)]);
    const agents = { daemons: byPlace(daemons, daemonAgents), tasks: byPlace(tasks, taskAgents) };
    if (output && output !== 'wide') return printObjects(io, output, [...agents.daemons, ...agents.tasks]);
    const form = { wide: output === 'wide', namespaces: namespace === undefined };
    const blocks = [
      ...(agents.daemons.length > 0 ? [`${paint(io, 'bold', 'DAEMONAGENTS')}\n${block(agents.daemons, DAEMONS, form)}`] : []),
      ...(agents.tasks.length > 0 ? [`${paint(io, 'bold', 'TASKAGENTS')}\n${block(agents.tasks, TASKS, form)}`] : []),
    ];
    if (blocks.length === 0) io.err(namespace === undefined ? 'No agents.\n' : `No agents in namespace ${namespace}.\n`);
    io.out(blocks.join('\n'));
  },
};
