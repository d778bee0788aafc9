import { DEFAULT_MAX_EXECUTIONS, workerPools, type WorkerPool } from '#api';
import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { conditionBlock, detailLines } from '../details.ts';
import { ageOf, byPlace, LIST_FLAGS, listOptions, OUTPUT_FLAG, outputOf, printObject, printObjects, scopeOf } from '../objects.ts';
import { printable, table, type Io } from '../output.ts';
import { targetOf } from '../target.ts';

const capacityOf = ({ status }: WorkerPool): string => `${status?.capacity?.availableExecutions ?? 0} / ${status?.capacity?.maxExecutions ?? 0}`;

const describe = (io: Io, pool: WorkerPool): string => {
  const { metadata, spec, status } = pool;
  return [
    detailLines([
      ['Kind', pool.kind],
      ['Name', metadata.name],
      ['Namespace', metadata.namespace],
      ['Replicas', `${spec.replicas} desired / ${status?.readyReplicas ?? 0} ready`],
      ['Max/Worker', spec.maxExecutionsPerWorker ?? `${DEFAULT_MAX_EXECUTIONS} (default)`],
      ['WarmPool', spec.warmPool],
      ['Age', ageOf(pool)],
    ]),
    'Status:\n',
    detailLines(
      [
        ['ActiveExecutions', status?.activeExecutions ?? 0],
        ['Capacity', `${capacityOf(pool)} available / max`],
      ],
      '  ',
    ),
    conditionBlock(io, status?.conditions),
  ].join('');
};

export const poolsListCommand: CommandSpec = {
  path: ['pools', 'list'],
  aliases: ['ls'],
  summary: 'List worker pools',
  flags: LIST_FLAGS,
  examples: ['clrk pools list', 'clrk pools list -A -o wide'],
  run: async (context) => {
    const { io, global } = context;
    const output = outputOf(context, ['json', 'yaml', 'wide', 'name']);
    const target = await targetOf(global, io);
    const namespace = scopeOf(context, target);
    const pools = byPlace(await target.client.list(workerPools, listOptions(context, namespace)), workerPools);
    if (output && output !== 'wide') return printObjects(io, output, pools);
    if (pools.length === 0) return io.err(namespace === undefined ? 'No pools.\n' : `No pools in namespace ${namespace}.\n`);
    const all = namespace === undefined;
    const wide = output === 'wide';
    io.out(
      table(
        [...(all ? ['NAMESPACE'] : []), 'NAME', 'REPLICAS', 'READY', 'ACTIVE', 'AGE', ...(wide ? ['FREE / MAX', 'WARM', 'IMAGE'] : [])],
        pools.map((pool) => [
          ...(all ? [printable(pool.metadata.namespace ?? '')] : []),
          printable(pool.metadata.name),
          String(pool.spec.replicas),
          String(pool.status?.readyReplicas ?? 0),
          String(pool.status?.activeExecutions ?? 0),
          ageOf(pool),
          ...(wide ? [capacityOf(pool), String(pool.spec.warmPool ?? 0), printable(pool.spec.template.image)] : []),
        ]),
      ),
    );
  },
};

export const poolsGetCommand: CommandSpec = {
  path: ['pools', 'get'],
  summary: 'Show one worker pool and how it is',
  args: [{ name: 'NAME', help: 'the pool', complete: 'workerpool' }],
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['clrk pools get default', 'clrk pools get default -o yaml'],
  run: async (context) => {
    const { io, global, args, flag } = context;
    const output = outputOf(context, ['json', 'yaml', 'name']);
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    const pool = await target.client.get(workerPools, namespace, args[0]!);
    if (!pool)
      throw new ClrkError('BadArgument', {
        what: `There is no WorkerPool ${namespace}/${args[0]}.`,
        fix: 'Check namespace and name with `clrk pools list -A`.',
      });
    if (output) printObject(io, output, pool);
    else io.out(describe(io, pool));
  },
};
