import { ClrkError } from '#lib';
import { applyFiles } from '../apply.ts';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { targetOf } from '../target.ts';

export const applyCommand: CommandSpec = {
  path: ['apply'],
  summary: 'Apply manifests (server-side apply)',
  args: [{ name: 'PATH', help: 'files or directories, like -f', optional: true, variadic: true }],
  flags: [
    { name: 'filename', short: 'f', value: 'PATH', repeatable: true, help: 'file or directory; - for stdin' },
    { name: 'recursive', short: 'R', help: 'look for manifests below directories too' },
    { name: 'force-conflicts', help: 'take over fields another manager owns' },
    NAMESPACE_FLAG,
  ],
  examples: ['clrk apply -f examples/quickstart/manifests', 'cat agent.yaml | clrk apply -f -'],
  run: async ({ io, global, args, flag, flags, has }) => {
    const paths = [...flags('filename'), ...args];
    if (paths.length === 0) throw new ClrkError('BadArgument', { what: 'clrk apply needs a file or directory.', fix: 'For example: clrk apply -f agent.yaml' });
    const target = await targetOf(global, io);
    await applyFiles(io, target, paths, { recursive: has('recursive'), namespace: flag('namespace') ?? target.namespace, force: has('force-conflicts') });
  },
};
