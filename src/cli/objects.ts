import { stringify } from 'yaml';
import { apiVersionOf, type KubeObject } from '#api';
import type { KubeList, ListOptions, ResourceKind } from '#kube';
import { ClrkError, formatAge } from '#lib';
import { NAMESPACE_FLAG, type CommandContext, type CommandSpec } from './command.ts';
import { printable, type Io } from './output.ts';
import type { Target } from './target.ts';

/** How objects are chosen and shown, the same for every command that lists some. */

export type Output = 'json' | 'yaml' | 'wide' | 'name';
type Flag = NonNullable<CommandSpec['flags']>[number];

export const OUTPUT_FLAG: Flag = { name: 'output', short: 'o', value: 'FORMAT', help: 'json, yaml or name', complete: ['json', 'yaml', 'name'] };
export const LIST_OUTPUT_FLAG: Flag = {
  name: 'output',
  short: 'o',
  value: 'FORMAT',
  help: 'json, yaml, name, or wide for more columns',
  complete: ['json', 'yaml', 'name', 'wide'],
};
export const ALL_FLAG: Flag = { name: 'all-namespaces', short: 'A', help: 'of every namespace' };
export const SELECTOR_FLAG: Flag = { name: 'selector', short: 'l', value: 'SELECTOR', help: 'only objects with these labels: app=x,tier!=y' };

/** Flags of a command that lists objects. */
export const LIST_FLAGS: readonly Flag[] = [NAMESPACE_FLAG, ALL_FLAG, SELECTOR_FLAG, LIST_OUTPUT_FLAG];

/** The form that was asked for; undefined = for people. Throws BadArgument for one that the command does not have. */
export const outputOf = <T extends Output>({ flag }: CommandContext, allowed: readonly T[]): T | undefined => {
  const value = flag('output');
  if (value === undefined || allowed.includes(value as T)) return value as T | undefined;
  throw new ClrkError('BadArgument', { what: `-o ${printable(value)} is none of ${allowed.join(', ')}.`, fix: `Leave -o away, or use -o ${allowed[0]}.` });
};

/** Where to list: a namespace, or (undefined) all of them. */
export const scopeOf = ({ flag, has }: CommandContext, target: Target): string | undefined =>
  has('all-namespaces') ? undefined : (flag('namespace') ?? target.namespace);

/** How a command that has LIST_FLAGS lists. */
export const listOptions = ({ flag }: CommandContext, namespace: string | undefined): ListOptions => ({
  ...(namespace !== undefined && { namespace }),
  ...(flag('selector') !== undefined && { labelSelector: flag('selector')! }),
});

const placeOf = ({ metadata }: KubeObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;

/** The objects of a list by namespace and name, each with its type, which a server leaves out inside lists. */
export const byPlace = <T extends KubeObject>({ items }: KubeList<T>, kind: ResourceKind): T[] =>
  items
    .map((item) => ({ ...item, apiVersion: apiVersionOf(kind), kind: kind.kind }))
    .toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : placeOf(a) > placeOf(b) ? 1 : 0));

export const ageOf = ({ metadata }: KubeObject): string => formatAge(Date.now() - Date.parse(metadata.creationTimestamp ?? ''));

/** As people want to read an object: without the record of who manages which field. */
const readable = <T extends KubeObject>(object: T): T => {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
};

/** `taskagent.clrk.apoxy.dev/summarizer` */
const nameOf = ({ apiVersion, kind, metadata }: KubeObject): string =>
  `${kind.toLowerCase()}${apiVersion.includes('/') ? `.${apiVersion.split('/')[0]}` : ''}/${metadata.name}`;

const dump = (io: Io, output: 'json' | 'yaml', value: object): void =>
  io.out(output === 'json' ? `${JSON.stringify(value, null, 2)}\n` : stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }));

export const printObject = (io: Io, output: Exclude<Output, 'wide'>, object: KubeObject): void => {
  if (output === 'name') io.out(`${nameOf(object)}\n`);
  else dump(io, output, readable(object));
};

/** Several objects are a List, which `clrk apply -f -` and kubectl read. */
export const printObjects = (io: Io, output: Exclude<Output, 'wide'>, objects: readonly KubeObject[]): void => {
  if (output === 'name') for (const object of objects) io.out(`${nameOf(object)}\n`);
  else dump(io, output, { apiVersion: 'v1', kind: 'List', items: objects.map(readable) });
};
