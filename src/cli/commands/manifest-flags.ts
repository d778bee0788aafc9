import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, type CommandContext, type CommandSpec } from '../command.ts';

/** What the commands that read manifests have in common. */

type Flags = NonNullable<CommandSpec['flags']>;

export const FILE_FLAGS: Flags = [
  { name: 'filename', short: 'f', value: 'PATH', repeatable: true, help: 'file or directory; - for stdin', complete: 'file' },
  { name: 'recursive', short: 'R', help: 'look for manifests below directories too' },
  NAMESPACE_FLAG,
];

export const PATH_ARG = { name: 'PATH', help: 'files or directories, like -f', optional: true, variadic: true, complete: 'file' } as const;

/** The paths of a command line. Throws BadArgument when there is none. */
export const pathsOf = ({ args, flags }: CommandContext, command: string): readonly string[] => {
  const paths = [...flags('filename'), ...args];
  if (paths.length > 0) return paths;
  throw new ClrkError('BadArgument', { what: `${command} needs a file or directory.`, fix: `For example: ${command} -f agent.yaml` });
};
