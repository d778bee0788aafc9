import type { KubeObject } from '#api';
import { ApiError, type ResourceKind } from '#kube';
import { ClrkError, parseDuration, poll } from '#lib';
import { NAMESPACE_FLAG, type CommandContext, type CommandSpec } from '../command.ts';
import { addressed, shortName } from '../manifests/apply.ts';
import { SELECTOR_FLAG } from '../objects.ts';
import { printError } from '../output.ts';
import { selectionsOf } from '../resources.ts';
import { targetOf, type Target } from '../target.ts';

const CASCADES = { background: 'Background', foreground: 'Foreground', orphan: 'Orphan' } as const;
type Cascade = (typeof CASCADES)[keyof typeof CASCADES];

/** One object to delete. */
interface Doomed {
  readonly kind: ResourceKind;
  readonly namespace: string;
  readonly name: string;
}

/** The other way round: a Namespace takes everything in it along, which would then be missing. */
const fromFiles = async ({ flags, has, flag }: CommandContext, target: Target): Promise<Doomed[]> => {
  const items = await addressed(target, flags('filename'), { recursive: has('recursive'), namespace: flag('namespace') ?? target.namespace });
  return items.toReversed();
};

const fromArguments = async ({ args, flag, has }: CommandContext, target: Target): Promise<Doomed[]> => {
  const { client } = target;
  const namespaceOf = (kind: ResourceKind): string => (kind.namespaced ? (flag('namespace') ?? target.namespace) : '');
  const selections = await selectionsOf(client, args, 'clrk delete');
  const doomed = selections.map(async ({ kind, names }): Promise<Doomed[]> => {
    const namespace = namespaceOf(kind);
    if (names.length > 0) return names.map((name) => ({ kind, namespace, name }));
    const selector = flag('selector');
    if (selector === undefined && !has('all'))
      throw new ClrkError('BadArgument', {
        what: `Which ${kind.plural} are to be deleted?`,
        fix: 'Name them, select them with -l, or give --all for those of the namespace.',
      });
    const { items } = await client.list(kind, { ...(namespace && { namespace }), ...(selector && { labelSelector: selector }) });
    return items.map(({ metadata }) => ({ kind, namespace, name: metadata.name }));
  });
  return (await Promise.all(doomed)).flat();
};

/** Resolves when the object is gone, or another one of its name is there. */
const gone = async ({ client }: Target, { kind, namespace, name }: Doomed, uid: string | undefined, signal: AbortSignal): Promise<void> => {
  await poll(
    async () => {
      const now: KubeObject | undefined = await client.get(kind, namespace, name);
      return !now || now.metadata.uid !== uid ? true : undefined;
    },
    100,
    signal,
  );
};

interface Manner {
  readonly propagationPolicy: Cascade;
  readonly dryRun: boolean;
  readonly mayMiss: boolean;
  /** How long to wait until it is gone, in milliseconds; undefined = not at all, 0 = without limit. */
  readonly waitMs: number | undefined;
}

const mannerOf = ({ flag, has }: CommandContext): Manner => {
  const cascade = flag('cascade')!;
  if (!Object.hasOwn(CASCADES, cascade))
    throw new ClrkError('BadArgument', { what: `--cascade ${cascade} is none of ${Object.keys(CASCADES).join(', ')}.`, fix: 'For example: --cascade orphan' });
  const timeout = flag('timeout') === '0' ? 0 : parseDuration(flag('timeout')!);
  if (timeout === undefined || timeout < 0)
    throw new ClrkError('BadArgument', { what: `--timeout ${flag('timeout')} is not a duration.`, fix: 'For example: --timeout 30s' });
  const wait = flag('wait')!;
  if (wait !== 'true' && wait !== 'false')
    throw new ClrkError('BadArgument', { what: `--wait=${wait} is neither true nor false.`, fix: 'For example: --wait=false' });
  return {
    propagationPolicy: CASCADES[cascade as keyof typeof CASCADES],
    dryRun: has('dry-run'),
    mayMiss: has('ignore-not-found'),
    waitMs: wait === 'false' || has('dry-run') ? undefined : timeout,
  };
};

const deleteOne = async (
  { io, signal }: CommandContext,
  target: Target,
  item: Doomed,
  { propagationPolicy, dryRun, mayMiss, waitMs }: Manner,
): Promise<void> => {
  const { kind, namespace, name } = item;
  const before = await target.client.get(kind, namespace, name);
  const uid = before?.metadata.uid;
  if (!before || !(await target.client.delete(kind, namespace, name, { propagationPolicy, dryRun, ...(uid && { uid }) }))) {
    if (mayMiss) return;
    throw new ClrkError('ApiRefused', { what: `${shortName(item)}: there is none${namespace ? ` in namespace ${namespace}` : ''}` });
  }
  io.out(`${shortName(item)} deleted${dryRun ? ' (dry run)' : ''}\n`);
  if (waitMs === undefined) return;
  const limit = waitMs > 0 ? AbortSignal.any([signal, AbortSignal.timeout(waitMs)]) : signal;
  await gone(target, item, uid, limit).catch((error: unknown) => {
    if (signal.aborted || !limit.aborted) throw error;
    const held = before.metadata.finalizers ?? [];
    const why = held.length > 0 ? `its finalizers: ${held.join(', ')}` : 'something still holds it';
    throw new ClrkError('ApiRefused', { what: `${shortName(item)} is marked as deleted but is still there (${why})` });
  });
};

export const deleteCommand: CommandSpec = {
  path: ['delete'],
  summary: 'Delete objects, by file or by kind and name',
  details: 'Waits until they are gone. Exit code 1 when one was not there (unless --ignore-not-found), could not be deleted or is not gone in time.',
  args: [
    { name: 'KIND', help: 'a kind, or KIND/NAME', optional: true, complete: 'kind' },
    { name: 'NAME', help: 'objects of it', optional: true, variadic: true, complete: 'object' },
  ],
  flags: [
    { name: 'filename', short: 'f', value: 'PATH', repeatable: true, help: 'delete the objects of this file or directory; - for stdin', complete: 'file' },
    { name: 'recursive', short: 'R', help: 'look for manifests below directories too' },
    SELECTOR_FLAG,
    { name: 'all', help: 'every object of the kind in the namespace' },
    {
      name: 'cascade',
      value: 'HOW',
      default: 'background',
      help: 'what the objects it owns do: background (go after it), foreground (go first), orphan (stay)',
      complete: Object.keys(CASCADES),
    },
    { name: 'ignore-not-found', help: 'an object that is not there is no failure' },
    { name: 'wait', value: 'BOOL', default: 'true', help: 'whether to wait until they are gone', complete: ['true', 'false'] },
    { name: 'timeout', value: 'DURATION', default: '0', help: 'how long to wait for each; 0 = without limit' },
    { name: 'dry-run', help: 'have the server judge it, and delete nothing' },
    NAMESPACE_FLAG,
  ],
  examples: [
    'clrk delete taskagent summarizer',
    'clrk delete -f examples/quickstart/manifests --ignore-not-found',
    'clrk delete taskagents -l team=finance --cascade foreground',
  ],
  run: async (context) => {
    const { io, global, args, flags } = context;
    const manner = mannerOf(context);
    const byFile = flags('filename').length > 0;
    if (byFile === args.length > 0)
      throw new ClrkError('BadArgument', {
        what: 'clrk delete needs either -f PATH or a kind with names.',
        fix: 'For example: clrk delete taskagent summarizer',
      });
    const target = await targetOf(global, io);
    const doomed = byFile ? await fromFiles(context, target) : await fromArguments(context, target);
    if (doomed.length === 0) io.err('Nothing to delete.\n');
    let code = 0;
    for (const item of doomed) {
      try {
        await deleteOne(context, target, item, manner);
      } catch (error) {
        if (!(error instanceof ApiError) && !(error instanceof ClrkError && error.code === 'ApiRefused')) throw error;
        printError(io, error);
        code = 1;
      }
    }
    return code;
  },
};
