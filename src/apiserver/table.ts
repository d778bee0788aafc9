import type { Column, KubeObject } from '#api';
import { formatAge } from '#lib';
import { get, isObject, type JsonObject } from '#admission';

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

export interface TableOptions {
  readonly columns: readonly Column[];
  /** `None`, `Metadata` (default) or `Object`. */
  readonly includeObject: string;
  readonly now: number;
  /** Only the first event of a watch needs them. */
  readonly withDefinitions?: boolean;
}

const rowObject = (object: JsonObject, includeObject: string): object | undefined => {
  if (includeObject === 'None') return undefined;
  if (includeObject === 'Object') return object;
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object['metadata'] };
};

export const toTable = (
  objects: readonly JsonObject[],
  metadata: JsonObject,
  { columns, includeObject, now, withDefinitions = true }: TableOptions,
): object => {
  const named = columns.some(({ name }) => name === 'Name');
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: withDefinitions ? [...(named ? [] : [NAME]), ...columns.map(definition)] : null,
    rows: objects.map((object) => {
      const included = rowObject(object, includeObject);
      return {
        cells: [...(named ? [] : [get(get(object, 'metadata'), 'name')]), ...columns.map((column) => cell(object, column, now))],
        ...(included && { object: included }),
      };
    }),
  };
};
