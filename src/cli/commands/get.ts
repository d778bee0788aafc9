import type { KubeObject } from '#api';
import { ApiError, pathOf, queryOf, type ResourceKind } from '#kube';
import { ClrkError } from '#lib';
import type { CommandSpec } from '../command.ts';
import { LIST_FLAGS, outputOf, printObject, printObjects, scopeOf } from '../objects.ts';
import { printable, table } from '../output.ts';
import { selectionsOf, type Selection } from '../resources.ts';
import { targetOf, type Target } from '../target.ts';

interface Table {
  readonly columnDefinitions: readonly { readonly name: string; readonly priority: number }[];
  readonly rows: readonly { readonly cells: readonly unknown[]; readonly object: { readonly metadata: { readonly namespace?: string } } }[];
}

/** The server renders the columns, so that they are those of kubectl. */
const AS_TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };

interface Scope {
  /** undefined = all. */
  readonly namespace: string | undefined;
  readonly selector: string | undefined;
}

/** A kind that the server does not have is answered by no Status. Throws the error as it is, or a better one. */
const explain = (error: unknown, { group, plural }: ResourceKind): never => {
  if (!(error instanceof ApiError) || error.code !== 404 || error.reason !== '') throw error;
  throw new ClrkError('ApiRefused', { what: `The API server does not have ${plural}${group ? ` of ${group}` : ''}.` });
};
const isUnserved = (error: unknown): boolean => error instanceof ClrkError && error.code === 'ApiRefused';

/** The paths of a selection: a collection, or one for each name. */
const pathsOf = ({ kind, names }: Selection, { namespace, selector }: Scope): string[] =>
  names.length > 0 ? names.map((name) => pathOf(kind, namespace, name)) : [`${pathOf(kind, namespace)}${queryOf({ labelSelector: selector })}`];

const rowsOf = async ({ client }: Target, selection: Selection, scope: Scope, wide: boolean): Promise<{ head: string[]; rows: string[][] }> => {
  const tables = await Promise.all(pathsOf(selection, scope).map((path) => client.json<Table>('GET', path, { headers: AS_TABLE })));
  const columns = tables[0]!.columnDefinitions;
  const shown = columns.flatMap(({ priority }, index) => (priority === 0 || wide ? [index] : []));
  const withNamespace = scope.namespace === undefined && selection.kind.namespaced;
  const rows = tables
    .flatMap((page) => page.rows)
    .map(({ cells, object }) => [
      ...(withNamespace ? [printable(object.metadata.namespace ?? '')] : []),
      ...shown.map((index) => printable(String(cells[index] ?? '') || '-')),
    ]);
  return { head: [...(withNamespace ? ['NAMESPACE'] : []), ...shown.map((index) => columns[index]!.name.toUpperCase())], rows };
};

const objectsOf = async ({ client }: Target, selection: Selection, scope: Scope): Promise<KubeObject[]> => {
  const { kind, names } = selection;
  // Items of a list do not say what they are; a single object does.
  const typed = (object: KubeObject): KubeObject => ({ ...typeOf(kind), ...object });
  if (names.length > 0) return Promise.all(pathsOf(selection, scope).map((path) => client.json<KubeObject>('GET', path)));
  const { items } = await client.list(kind, {
    ...(scope.namespace !== undefined && { namespace: scope.namespace }),
    ...(scope.selector && { labelSelector: scope.selector }),
  });
  return items.map(typed);
};

const typeOf = ({ group, version, kind }: ResourceKind): { apiVersion: string; kind: string } => ({
  apiVersion: group ? `${group}/${version}` : version,
  kind,
});

const where = ({ namespace }: Scope): string => (namespace === undefined ? 'in any namespace' : `in namespace ${namespace}`);

export const getCommand: CommandSpec = {
  path: ['get'],
  summary: 'Show objects of any kind',
  details:
    'KIND is a name of a kind (taskagents, taskagent, ta), several with commas, or all. Columns are those of kubectl get. What goes on over time\n' +
    '(-w), other outputs and selectors are what kubectl is for: see `clrk dev` for its kubeconfig.',
  args: [
    { name: 'KIND', help: 'a kind, kinds with commas, all, or KIND/NAME', complete: 'kind' },
    { name: 'NAME', help: 'objects of it; all when there is none', optional: true, variadic: true, complete: 'object' },
  ],
  flags: LIST_FLAGS,
  examples: ['clrk get taskagents', 'clrk get all -A', 'clrk get egressgateway/default -o yaml', 'clrk get invocations -l clrk.apoxy.dev/agent=summarizer'],
  run: async (context) => {
    const { io, global, args, flag } = context;
    const output = outputOf(context, ['json', 'yaml', 'wide', 'name']);
    const target = await targetOf(global, io);
    const selections = await selectionsOf(target.client, args, 'clrk get');
    const scope: Scope = { namespace: scopeOf(context, target), selector: flag('selector') };
    const named = selections.some(({ names }) => names.length > 0);
    if (named && (scope.namespace === undefined || scope.selector !== undefined))
      throw new ClrkError('BadArgument', { what: 'Objects are either named, or selected with -A or -l.', fix: 'Leave the names or the flag away.' });
    // Of all kinds, those are meant that there are.
    const each = async <T>(show: (selection: Selection) => Promise<T>): Promise<T[]> => {
      const shown = selections.map((selection) =>
        show(selection)
          .catch((error: unknown) => explain(error, selection.kind))
          .catch((error: unknown) => (args[0] === 'all' && isUnserved(error) ? undefined : Promise.reject(error as Error))),
      );
      return (await Promise.all(shown)).filter((value) => value !== undefined);
    };
    if (output && output !== 'wide') {
      const objects = (await each((selection) => objectsOf(target, selection, scope))).flat();
      const [only] = objects;
      if (named && objects.length === 1 && only) printObject(io, output, only);
      else printObjects(io, output, objects);
      return;
    }
    const tables = await each(async (selection) => ({ selection, ...(await rowsOf(target, selection, scope, output === 'wide')) }));
    const full = tables.filter(({ rows }) => rows.length > 0);
    if (full.length === 0) io.err(`No ${selections.length === 1 ? selections[0]!.kind.plural : 'objects'} ${where(scope)}.\n`);
    // With several kinds, names alone would not say which is which.
    const many = selections.length > 1;
    io.out(
      full
        .map(({ selection, head, rows }) => {
          const at = head.indexOf('NAME');
          return table(head, many ? rows.map((row) => row.with(at, `${selection.kind.kind.toLowerCase()}/${row[at]}`)) : rows);
        })
        .join('\n'),
    );
  },
};
