import { ClrkError } from '#lib';
import { doctor, toolsDirOf, type Part } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { paint, printable, table, type Io } from '../output.ts';

const STYLES = { ok: 'green', warning: 'yellow', missing: 'red' } as const;

const row = (io: Io, { name, state, found, path, fix }: Part): string[] => [
  name,
  paint(io, STYLES[state], state),
  printable(found),
  path ?? '-',
  printable(fix || '-'),
];

export const doctorCommand: CommandSpec = {
  path: ['doctor'],
  summary: 'Check what clrk needs on this machine: found, version, where, and what to do',
  details:
    'Changes nothing. Looks at programs, kernel, namespaces, nftables, cgroups, disk, memory, loopback, the stack of the state directory, and what killed\n' +
    'stacks left behind. Exit code 1 when something is missing; a warning does not count.',
  flags: [{ name: 'output', short: 'o', value: 'FORMAT', help: 'json: a list of {name, state, found, path, fix}', complete: ['json'] }],
  examples: ['clrk doctor', 'clrk doctor -o json'],
  run: async ({ io, global, flag }) => {
    const output = flag('output');
    if (output !== undefined && output !== 'json')
      throw new ClrkError('BadArgument', { what: `-o ${output}: doctor prints a table or json.`, fix: 'Leave -o away or use -o json.' });
    const parts = await doctor(global.dir, toolsDirOf(global.dir));
    if (output === 'json') io.out(`${JSON.stringify(parts, null, 2)}\n`);
    else
      io.out(
        table(
          ['PART', 'STATE', 'FOUND', 'WHERE', 'WHAT TO DO'],
          parts.map((part) => row(io, part)),
        ),
      );
    return parts.some(({ state }) => state === 'missing') ? 1 : 0;
  },
};
