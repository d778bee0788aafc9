import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import { addressed } from '../manifests/apply.ts';
import { diffOne } from '../manifests/diff.ts';
import { printError } from '../output.ts';
import { targetOf } from '../target.ts';
import { paintDiff } from '../text-diff.ts';
import { FILE_FLAGS, PATH_ARG, pathsOf } from './manifest-flags.ts';

/** As diff(1) and `kubectl diff` end. */
const DIFFERENT = 1;
const TROUBLE = 2;

export const diffCommand: CommandSpec = {
  path: ['diff'],
  summary: 'Show what applying manifests would change',
  details:
    'The server applies each as a dry run; the answer, with its defaults, is compared with what is there. Values of Secrets are not shown.\n' +
    'Exit code: 0 no difference, 1 differences, 2 when something went wrong.',
  args: [PATH_ARG],
  flags: [...FILE_FLAGS, { name: 'force-conflicts', help: 'as if fields another manager owns were taken over' }],
  examples: ['clrk diff -f agent.yaml', 'clrk diff -R manifests && echo up to date'],
  run: async (context) => {
    const { io, global, flag, has } = context;
    let code = 0;
    try {
      const paths = pathsOf(context, 'clrk diff');
      const target = await targetOf(global, io);
      for (const item of await addressed(target, paths, { recursive: has('recursive'), namespace: flag('namespace') ?? target.namespace })) {
        try {
          const difference = await diffOne(target, item, has('force-conflicts'));
          if (difference) io.out(paintDiff(io, difference));
          if (difference) code = Math.max(code, DIFFERENT);
        } catch (error) {
          if (!(error instanceof ClrkError) || error.code !== 'BadManifests') throw error;
          printError(io, error);
          code = TROUBLE;
        }
      }
    } catch (error) {
      if (context.signal.aborted) throw error;
      printError(io, error);
      return TROUBLE;
    }
    return code;
  },
};
