import type { AgentSandboxRevision } from '#api';
import { ClrkError } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { findAgent, pickRevision, templateOf } from '../revisions.ts';
import { targetOf } from '../target.ts';
import { paintDiff, unifiedDiff } from '../text-diff.ts';

export const agentsDiffCommand: CommandSpec = {
  path: ['agents', 'diff'],
  summary: 'Compare two revisions of an agent',
  details:
    'With no revision, the newest against the one before it; with one, the newest against that; with two, the second against the first. A revision is given by name or number. imageDigest is the content the image name stood for. The exit code is 0 whether they differ or not.',
  args: [
    { name: 'NAME', help: 'the agent; taskagent/NAME or daemonagent/NAME when there are both', complete: 'agent' },
    { name: 'FROM', help: 'the older revision', optional: true, complete: 'revision' },
    { name: 'TO', help: 'the newer one', optional: true, complete: 'revision' },
  ],
  flags: [NAMESPACE_FLAG],
  examples: ['clrk agents diff summarizer', 'clrk agents diff summarizer 3', 'clrk agents diff summarizer summarizer-00001 summarizer-00003'],
  run: async ({ io, global, args, flag }) => {
    const target = await targetOf(global, io);
    const [name, older, newer] = args;
    const found = await findAgent(target.client, flag('namespace') ?? target.namespace, name!);
    const from = older === undefined ? found.revisions[1] : pickRevision(found, older);
    const to = newer === undefined ? found.revisions[0] : pickRevision(found, newer);
    if (!from || !to)
      throw new ClrkError('BadArgument', {
        what: `${name} has ${found.revisions.length} revisions: there are no two to compare.`,
        fix: 'Change its template first.',
      });
    const sideOf = (revision: AgentSandboxRevision) => ({ label: revision.metadata.name, text: stringify(templateOf(revision), { lineWidth: 0 }) });
    const difference = await unifiedDiff(sideOf(from), sideOf(to));
    if (!difference) return io.err(`${from.metadata.name} and ${to.metadata.name} are equal.\n`);
    io.out(paintDiff(io, difference));
  },
};
