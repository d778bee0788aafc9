import { apiVersionOf, type Kind } from '#api';
import { isObject, type JsonObject } from './json.ts';

/** Kinds that are another form of a stored kind: the same objects with fields renamed, translated on the way in and out. */

/** The kind whose objects are stored. */
export const storedKind = (kind: Kind): Kind => kind.view?.of ?? kind;

const renamed = (object: JsonObject, names: ReadonlyMap<string, string>): JsonObject =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [names.get(name) ?? name, value]));

/** What a client sent of `kind`, as it is stored. A wrong apiVersion stays wrong. */
export const toStored = (kind: Kind, value: unknown): unknown => {
  if (!kind.view || !isObject(value)) return value;
  const { of, fields } = kind.view;
  const apiVersion = value['apiVersion'] === apiVersionOf(kind) ? apiVersionOf(of) : value['apiVersion'];
  return { ...renamed(value, new Map(Object.entries(fields))), ...(apiVersion !== undefined && { apiVersion }) };
};

/** A stored object as `kind` shows it. */
export const fromStored = (kind: Kind, object: JsonObject): JsonObject => {
  if (!kind.view) return object;
  const names = new Map(Object.entries(kind.view.fields).map(([shown, stored]) => [stored, shown]));
  return { ...renamed(object, names), apiVersion: apiVersionOf(kind) };
};

/** A field path of `kind` (`regarding.name`) as it is stored (`involvedObject.name`). */
export const storedPath = (kind: Kind, path: string): string => {
  const [first = '', ...rest] = path.split('.');
  return [kind.view?.fields[first] ?? first, ...rest].join('.');
};
