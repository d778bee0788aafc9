import type { Column, KubeObject } from '#api';
import { formatAge } from '#lib';
import { get, isObject, type JsonObject } from '#admission';

import { badRequest } from './status.ts';

/** Tables for `kubectl get`. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables */

const NAME = { name: 'Name', type: 'string', format: 'name', description: 'Name of the object.', priority: 0 };

const definition = ({ name, type, description, priority }: Column): object => ({
  name,
  type,
  format: '',
  description: description ?? '',
  priority: priority ?? 0,
});

/** The JSONPath of printer columns: fields, `[0]`, `[?(@.type=="Ready")]`. */
export const readPath = (object: unknown, path: string): unknown => {
  let value = object;
  for (const [, field, index, key, wanted] of path.matchAll(/\.([\w-]+)|\[(\d+)\]|\[\?\(@\.([\w-]+)==["']([^"']*)["']\)\]/g)) {
    if (field !== undefined) value = get(value, field);
    else if (index !== undefined) value = Array.isArray(value) ? value[Number(index)] : undefined;
    else value = Array.isArray(value) ? value.find((item) => get(item, key!) === wanted) : undefined;
  }
  return value;
};

const cell = (object: JsonObject, column: Column, now: number): unknown => {
  const value = column.value ? column.value(object as unknown as KubeObject) : readPath(object, column.path);
  if (value === undefined || value === null) return column.type === 'date' ? '<unknown>' : null;
  if (column.type !== 'date') return isObject(value) || Array.isArray(value) ? JSON.stringify(value) : value;
  const at = Date.parse(String(value));
  return Number.isNaN(at) ? '<invalid>' : formatAge(now - at);
};

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export interface TableOptions {
  readonly columns: readonly Column[];
  readonly includeObject: IncludeObject;
  /** Version of meta.k8s.io; v1 by default. */
  readonly metaVersion?: 'v1' | 'v1beta1';
  readonly now: number;
  /** Only the first event of a watch needs them. */
  readonly withDefinitions?: boolean;
}

/** How much of each object a Table holds, as a request asks for it. Throws StatusError 400. */
export const includeObject = (query: URLSearchParams): IncludeObject => {
  const asked = query.get('includeObject') || 'Metadata';
  if (asked === 'None' || asked === 'Metadata' || asked === 'Object') return asked;
  throw badRequest(
    `Unable to convert to Table as requested: includeObject: Invalid value: ${JSON.stringify(asked)}: must be 'Metadata', 'Object', 'None', or empty`,
  );
};

/** An object without what makes it one of its kind. */
export const partial = (object: JsonObject, metaVersion = 'v1'): JsonObject => ({
  kind: 'PartialObjectMetadata',
  apiVersion: `meta.k8s.io/${metaVersion}`,
  metadata: object['metadata'],
});

const rowObject = (object: JsonObject, included: IncludeObject, metaVersion: string): object | null => {
  if (included === 'None') return null;
  return included === 'Object' ? object : partial(object, metaVersion);
};

export const toTable = (
  objects: readonly JsonObject[],
  metadata: JsonObject,
  { columns, includeObject: included, metaVersion = 'v1', now, withDefinitions = true }: TableOptions,
): object => {
  const named = columns.some(({ name }) => name === 'Name');
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${metaVersion}`,
    metadata,
    columnDefinitions: withDefinitions ? [...(named ? [] : [NAME]), ...columns.map(definition)] : null,
    rows: objects.map((object) => ({
      cells: [...(named ? [] : [get(get(object, 'metadata'), 'name')]), ...columns.map((column) => cell(object, column, now))],
      object: rowObject(object, included, metaVersion),
    })),
  };
};
