import type { CommandSpec } from '../command.ts';
import { appliedLine, applyFiles } from '../manifests/apply.ts';
import { OUTPUT_FLAG, outputOf, printObjects } from '../objects.ts';
import { targetOf } from '../target.ts';
import { FILE_FLAGS, PATH_ARG, pathsOf } from './manifest-flags.ts';
import type { KubeObject } from '#api';

export const applyCommand: CommandSpec = {
  path: ['apply'],
  summary: 'Apply manifests (server-side apply)',
  details:
    'Reads everything before it applies anything: when a file is not YAML or a kind is unknown, nothing changes. Then every object is tried, and what\n' +
    'the API refuses is told with file, line and field.',
  args: [PATH_ARG],
  flags: [
    ...FILE_FLAGS,
    { name: 'force-conflicts', help: 'take over fields another manager owns' },
    { name: 'dry-run', help: 'have the server judge it, and change nothing' },
    OUTPUT_FLAG,
  ],
  examples: ['clrk apply -f examples/quickstart/manifests', 'cat agent.yaml | clrk apply -f -', 'clrk apply --dry-run -R -f deploy -n finance'],
  run: async (context) => {
    const { io, global, flag, has } = context;
    const paths = pathsOf(context, 'clrk apply');
    const output = outputOf(context, ['json', 'yaml', 'name']);
    const target = await targetOf(global, io);
    const dryRun = has('dry-run');
    const options = { recursive: has('recursive'), namespace: flag('namespace') ?? target.namespace, force: has('force-conflicts'), dryRun };
    const objects: KubeObject[] = [];
    try {
      await applyFiles(target, paths, options, (item, applied) => {
        objects.push(applied.object);
        if (!output) io.out(appliedLine(io, item, applied, dryRun));
      });
    } finally {
      if (output && objects.length > 0) printObjects(io, output, objects);
    }
  },
};
