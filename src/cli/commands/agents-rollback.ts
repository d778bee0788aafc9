import { findCondition, isProven, isTrue } from '#api';
import { ClrkError } from '#lib';
import { NAMESPACE_FLAG, type CommandSpec } from '../command.ts';
import { printable } from '../output.ts';
import { findAgent, pickRevision, type FoundAgent } from '../revisions.ts';
import { targetOf } from '../target.ts';

/** The revision that new runs get now. */
const servingOf = ({ agent, revisions }: FoundAgent) =>
  revisions.find(({ metadata }) => metadata.name === agent.spec.revisionName) ?? revisions.find(({ status }) => isTrue(status?.conditions, 'Active'));

/** The newest one before what serves that has been ready. */
const previousOf = (found: FoundAgent) => {
  const { agent, revisions } = found;
  const serving = servingOf(found);
  const previous = revisions.slice(serving ? revisions.indexOf(serving) + 1 : 0).find(isProven);
  if (previous) return previous;
  throw new ClrkError('BadArgument', {
    what: `${agent.metadata.name} has no revision before ${serving?.metadata.name ?? 'its first one'} that has been ready.`,
    fix: `See \`clrk agents history ${agent.metadata.name}\`.`,
  });
};

export const agentsRollbackCommand: CommandSpec = {
  path: ['agents', 'rollback'],
  summary: 'Let an agent run an earlier revision',
  details:
    'Pins the revision in spec.revisionName: new runs get it at once, those that run go on. The pin stays until it is undone, also when the template changes meanwhile: then there is a newer revision that does not serve, and the condition Ready says so. Only a revision that has been ready can be pinned this way.',
  args: [{ name: 'NAME', help: 'the agent; taskagent/NAME or daemonagent/NAME when there are both', complete: 'agent' }],
  flags: [
    { name: 'to', value: 'REVISION', help: 'its name or number (default: the newest before the one that serves that has been ready)', complete: 'revision' },
    { name: 'undo', help: 'take the pin away: the latest ready revision serves again' },
    NAMESPACE_FLAG,
  ],
  examples: ['clrk agents rollback summarizer', 'clrk agents rollback summarizer --to summarizer-00003', 'clrk agents rollback summarizer --undo'],
  run: async ({ io, global, args, flag, has }) => {
    const target = await targetOf(global, io);
    const namespace = flag('namespace') ?? target.namespace;
    const wanted = flag('to');
    const undo = has('undo');
    if (undo && wanted !== undefined) throw new ClrkError('BadArgument', { what: '--to and --undo exclude each other.', fix: 'Give one of them.' });
    const found = await findAgent(target.client, namespace, args[0]!);
    const { kind, agent } = found;
    const { name } = agent.metadata;
    const pinned = agent.spec.revisionName;
    const pin = (revisionName: string | null) => target.client.patch(kind, namespace, name, { spec: { revisionName } });
    if (undo) {
      if (pinned === undefined) return io.err(`${kind.kind} ${name} pins no revision: nothing to undo.\n`);
      await pin(null);
      return io.out(
        printable(
          `${kind.kind} ${name} runs its latest ready revision${agent.status?.latestReadyRevisionName ? `, ${agent.status.latestReadyRevisionName}` : ''}; the pin of ${pinned} is gone.`,
        ) + '\n',
      );
    }
    const revision = wanted === undefined ? previousOf(found) : pickRevision(found, wanted);
    const to = revision.metadata.name;
    if (!isProven(revision)) {
      const ready = findCondition(revision.status?.conditions, 'Ready');
      throw new ClrkError('BadArgument', {
        what: `Revision ${to} has never been ready (${ready ? `${ready.reason}: ${ready.message}` : 'no worker has reported'}), so nothing would run.`,
        fix: `Take one that was: \`clrk agents history ${name}\`.`,
      });
    }
    if (pinned === to) return io.err(`${kind.kind} ${name} pins ${to} already.\n`);
    const from = servingOf(found)?.metadata.name;
    await pin(to);
    const inNamespace = namespace === target.namespace ? '' : ` -n ${namespace}`;
    io.out(`${kind.kind} ${name} runs revision ${to}${from && from !== to ? ` instead of ${from}` : ''}.\n`);
    io.err(`To undo: clrk agents rollback ${args[0]}${pinned === undefined ? ' --undo' : ` --to ${pinned}`}${inNamespace}\n`);
  },
};
