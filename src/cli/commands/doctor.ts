import { doctor, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { paint, table } from '../output.ts';

export const doctorCommand: CommandSpec = {
  path: ['doctor'],
  summary: 'Check what clrk needs on this machine: found, where, and what to do',
  details: 'Changes nothing. Exit code 1 when something is missing.',
  examples: ['clrk doctor'],
  run: async ({ io, global }) => {
    const parts = await doctor(toolsDirOf(global.dir));
    io.out(
      table(
        ['PART', 'FOUND', 'WHERE', 'WHAT TO DO'],
        parts.map(({ name, found, path, fix }) => [name, found ? paint(io, 'green', found) : paint(io, 'red', 'missing'), path ?? '-', found ? '-' : fix]),
      ),
    );
    return parts.every(({ found }) => found) ? 0 : 1;
  },
};
