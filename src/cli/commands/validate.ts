import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import type { ManifestProblem } from '../manifests/documents.ts';
import { offlineProblems, offlineWarnings, problemLine, readManifests } from '../manifests/problems.ts';
import { outputOf } from '../objects.ts';
import { counted, paint, printable } from '../output.ts';
import { FILE_FLAGS, PATH_ARG, pathsOf } from './manifest-flags.ts';

/** Objects that are there twice: the later one would win. */
const doubles = (objects: readonly ManifestProblem[]): ManifestProblem[] => {
  const first = new Map<string, ManifestProblem>();
  return objects.flatMap((at) => {
    const before = first.get(at.message);
    if (!before) first.set(at.message, at);
    return before ? [{ ...at, message: `is in ${before.file}:${before.line} too; the one applied last wins` }] : [];
  });
};

export const validateCommand: CommandSpec = {
  path: ['validate'],
  summary: 'Check manifests without a server',
  details:
    'Judges as the API server of this version would when they are applied as new objects: unknown and duplicate fields, types, ranges, rules of kinds.\n' +
    'Tells every problem with file, line, column and field. What only a server knows (namespaces, earlier versions of an object) is not looked at.\n' +
    'Fields that are accepted but have no effect yet are warnings. Exit code 1 when there is a problem; warnings do not count.',
  args: [PATH_ARG],
  flags: [
    ...FILE_FLAGS,
    { name: 'output', short: 'o', value: 'FORMAT', help: 'json: an object with valid, files, objects, problems and warnings', complete: ['json'] },
  ],
  examples: ['clrk validate -f agent.yaml', 'clrk validate -R manifests', "clrk validate -o json deploy | jq -r '.problems[].field'"],
  run: async (context) => {
    const { io, flag, has } = context;
    const paths = pathsOf(context, 'clrk validate');
    const output = outputOf(context, ['json']);
    const namespace = flag('namespace') ?? 'default';
    const { files, manifests, problems: broken } = await readManifests(paths, has('recursive'));
    const problems = [...broken, ...manifests.flatMap((manifest) => offlineProblems(manifest, namespace))];
    const places = manifests.map((manifest) => {
      const { apiVersion, kind, metadata } = manifest.object;
      return manifest.problem('', `${apiVersion} ${kind} ${metadata?.namespace ?? namespace}/${metadata?.name}`);
    });
    const warnings = [...manifests.flatMap(offlineWarnings), ...doubles(places)];
    const valid = problems.length === 0;
    if (output === 'json') {
      io.out(`${JSON.stringify({ valid, files, objects: manifests.length, problems, warnings }, null, 2)}\n`);
      return valid ? 0 : 1;
    }
    for (const problem of problems) io.out(`${printable(problemLine(problem))}\n`);
    for (const warning of warnings) io.err(`${paint(io, 'yellow', 'Warning:')} ${printable(problemLine(warning))}\n`);
    const what = `${counted(manifests.length, 'object')} in ${counted(files, 'file')}`;
    if (!valid) throw new ClrkError('BadManifests', { problems: `${counted(problems.length, 'problem')} in ${what}.`, fix: '' });
    io.err(`${what}: ${paint(io, 'green', 'valid')}\n`);
    return 0;
  },
};
