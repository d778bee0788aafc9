import { daemonAgents, taskAgents, type DaemonAgent, type TaskAgent } from '#api';
import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { conditionBlock, detailLines } from '../details.ts';
import { ageOf, OUTPUT_FLAG, outputOf, printObject } from '../objects.ts';
import type { Io } from '../output.ts';
import { targetOf } from '../target.ts';

const isDaemon = (agent: TaskAgent | DaemonAgent): agent is DaemonAgent => agent.kind === daemonAgents.kind;

const headOf = (agent: TaskAgent | DaemonAgent): string => {
  const { metadata, spec } = agent;
  return detailLines([
    ['Kind', agent.kind],
    ['Name', metadata.name],
    ['Namespace', metadata.namespace],
    ['Pool', spec.workerPoolRef],
    ['Image', spec.template.spec.image],
    ['Revision', spec.revisionName],
    ...(isDaemon(agent)
      ? ([['Restart', agent.spec.restartPolicy]] as const)
      : ([
          ['Schedule', agent.spec.schedule],
          ['Timeout', agent.spec.timeout],
          ['MaxConcurrent', agent.spec.maxConcurrent],
        ] as const)),
    ['EgressRefs', spec.egressRefs?.map(({ gatewayRef }) => gatewayRef).join(', ') || 'none: no way out'],
    ['Age', ageOf(agent)],
  ]);
};

const statusOf = (agent: TaskAgent | DaemonAgent): string => {
  const revisions = [
    ['LatestCreatedRevisionName', agent.status?.latestCreatedRevisionName ?? '-'],
    ['LatestReadyRevisionName', agent.status?.latestReadyRevisionName ?? '-'],
  ] as const;
  const { status } = agent;
  const own = isDaemon(agent)
    ? ([
        ['Phase', agent.status?.phase ?? '-'],
        ['RestartCount', agent.status?.restartCount ?? 0],
        ...revisions,
        ['UpSince', agent.status?.upSince ?? '-'],
      ] as const)
    : ([['ActiveExecutions', agent.status?.activeExecutions ?? 0], ['WarmSandboxes', agent.status?.warmSandboxes ?? 0], ...revisions] as const);
  return status ? detailLines(own, '  ') : '  none yet: no controller has seen it\n';
};

const describe = (io: Io, agent: TaskAgent | DaemonAgent): string =>
  `${headOf(agent)}Status:\n${statusOf(agent)}${conditionBlock(io, agent.status?.conditions)}`;

export const agentsGetCommand: CommandSpec = {
  path: ['agents', 'get'],
  summary: 'Show one agent and how it is',
  args: [{ name: 'NAME', help: 'the agent', complete: 'agent' }],
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['clrk agents get summarizer', 'clrk agents get summarizer -n finance -o yaml'],
  run: async (context) => {
    const { io, global, args, flag } = context;
    const output = outputOf(context, ['json', 'yaml', 'name']);
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    const [task, daemon] = await Promise.all([target.client.get(taskAgents, namespace, args[0]!), target.client.get(daemonAgents, namespace, args[0]!)]);
    if (task && daemon)
      throw new ClrkError('BadArgument', {
        what: `There are a TaskAgent and a DaemonAgent ${namespace}/${args[0]}.`,
        fix: `Say which: clrk get taskagent ${args[0]}`,
      });
    const agent = task ?? daemon;
    if (!agent) throw new ClrkError('AgentNotFound', { agent: `${namespace}/${args[0]}` });
    if (output) printObject(io, output, agent);
    else io.out(describe(io, agent));
  },
};
