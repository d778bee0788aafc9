import { findCondition, isProven, isTrue } from '#api';
import { formatAge } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { outputOf } from '../objects.ts';
import { paint, printable, table, type Io } from '../output.ts';
import { changesBetween, findAgent, type FoundAgent } from '../revisions.ts';
import { targetOf } from '../target.ts';

/** One revision as `-o json` shows it. */
interface Entry {
  readonly revision: string;
  readonly createdAt: string;
  readonly ready: 'True' | 'False' | 'Unknown';
  /** Why it is not ready; empty when it is. */
  readonly reason: string;
  readonly message: string;
  /** New runs get it. */
  readonly serving: boolean;
  /** `spec.revisionName` names it. */
  readonly pinned: boolean;
  /** A sandbox of it has started once: `rollback` takes it. */
  readonly usable: boolean;
  readonly image: string;
  readonly imageDigest: string;
  /** Against the one before it that is still there; null for the oldest. */
  readonly changed: readonly string[] | null;
}

const entriesOf = ({ agent, revisions }: FoundAgent): Entry[] =>
  revisions.map((revision, index) => {
    const { metadata, spec, status } = revision;
    const before = revisions[index + 1];
    const ready = findCondition(status?.conditions, 'Ready');
    const isReady = ready?.status === 'True';
    return {
      revision: metadata.name,
      createdAt: metadata.creationTimestamp ?? '',
      ready: ready?.status ?? 'Unknown',
      reason: isReady ? '' : (ready?.reason ?? 'Pending'),
      message: isReady ? '' : (ready?.message ?? ''),
      serving: isTrue(status?.conditions, 'Active'),
      pinned: agent.spec.revisionName === metadata.name,
      usable: isProven(revision),
      image: spec.image,
      imageDigest: status?.imageDigest ?? '',
      changed: before ? changesBetween(before, revision) : null,
    };
  });

const rowOf = (io: Io, { revision, createdAt, ready, reason, serving, pinned, image, imageDigest, changed }: Entry): string[] => [
  printable(revision),
  formatAge(Date.now() - Date.parse(createdAt)),
  ready === 'True' ? paint(io, 'green', ready) : paint(io, ready === 'False' ? 'yellow' : 'dim', `${ready}/${printable(reason)}`),
  [serving ? paint(io, 'green', 'serving') : '', pinned ? 'pinned' : ''].filter(Boolean).join(', ') || '-',
  printable(image),
  // Enough to tell contents apart.
  imageDigest.slice('sha256:'.length, 'sha256:'.length + 12) || '-',
  changed === null ? '-' : printable(changed.join(', ')) || 'nothing',
];

export const agentsHistoryCommand: CommandSpec = {
  path: ['agents', 'history'],
  summary: 'Show the revisions of an agent, newest first',
  details:
    'A change of spec.template makes a revision. It serves once its image is there and a sandbox of it has started; until then, and if it never does, the one before goes on serving. CHANGED is what differs from the revision below it.',
  args: [{ name: 'NAME', help: 'the agent; taskagent/NAME or daemonagent/NAME when there are both', complete: 'agent' }],
  flags: [NAMESPACE_FLAG, { name: 'output', short: 'o', value: 'FORMAT', help: 'json or yaml', complete: ['json', 'yaml'] }],
  examples: ['clrk agents history summarizer', 'clrk agents history summarizer -n finance -o json'],
  run: async (context) => {
    const { io, global, args, flag } = context;
    const output = outputOf(context, ['json', 'yaml']);
    const target = await targetOf(global, io);
    const entries = entriesOf(await findAgent(target.client, flag('namespace') ?? target.namespace, args[0]!));
    if (output === 'json') return io.out(`${JSON.stringify(entries, null, 2)}\n`);
    if (output === 'yaml') return io.out(stringify(entries));
    if (entries.length === 0) return io.err(`${args[0]} has no revision yet.\n`);
    io.out(
      table(
        ['REVISION', 'AGE', 'READY', 'STATE', 'IMAGE', 'DIGEST', 'CHANGED'],
        entries.map((entry) => rowOf(io, entry)),
      ),
    );
  },
};
