import type { Kind } from '#api';
import { get, isObject, storedKind, storedPath, type JsonObject } from '#admission';
import { parseLabelSelector } from './label-selector.ts';
import { badRequest } from './status.ts';

/** Label and field selectors. Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api */

interface FieldTerm {
  readonly field: string;
  readonly value: string;
  readonly negated: boolean;
}

export interface Selector {
  /** The one name or namespace asked for, so that a list need not read everything. */
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  /** Whether an object with this place and these labels is selected. Of `object`, only fields that never change are looked at. */
  matches(at: { readonly namespace: string; readonly name: string }, labels: JsonObject, object?: JsonObject): boolean;
  readonly everything: boolean;
}

const PLACE: readonly string[] = ['metadata.name', 'metadata.namespace'];

/** The text at a path; a field that is not there is empty text. */
const textAt = (object: JsonObject | undefined, path: string): string => {
  const value = path.split('.').reduce<unknown>((at, name) => get(at, name), object);
  return typeof value === 'string' ? value : '';
};

/** Terms between commas; a backslash takes the meaning from a comma, an equals sign or a backslash. Throws StatusError 400. */
const splitTerms = (text: string): string[] => {
  const escape = /\\([^\\,=]|$)/.exec(text.replaceAll('\\\\', ''));
  if (escape) throw badRequest(`invalid field selector: invalid escape sequence: ${escape[0]}`);
  return (text.match(/(?:\\.|[^,\\])+/g) ?? []).filter((term) => term !== '');
};
const unescape = (text: string): string => text.replaceAll(/\\(.)/g, '$1');

const parseFieldSelector = (text: string, kind: Kind | undefined): FieldTerm[] =>
  splitTerms(text).map((term) => {
    const match = /^((?:\\.|[^=!\\])*)(==|=|!=)((?:\\.|[^=\\])*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${term}'; can't understand '${term}'`);
    const [, field, operator, value] = match;
    const stored = kind ? storedPath(kind, field!) : field!;
    if (!PLACE.includes(stored) && !(kind && storedKind(kind).selectable?.includes(stored))) throw badRequest(`field label not supported: ${field}`);
    return { field: stored, value: unescape(value!), negated: operator === '!=' };
  });

/** The selectors of a list, watch or deletecollection of `kind`; without one, only name and namespace can be selected. */
export const parseSelector = (query: URLSearchParams, kind?: Kind): Selector => {
  const labelText = query.get('labelSelector') ?? '';
  const byLabel = parseLabelSelector(labelText);
  const terms = parseFieldSelector(query.get('fieldSelector') ?? '', kind);
  const valueOf = (field: string, at: { readonly namespace: string; readonly name: string }, object: JsonObject | undefined): string =>
    field === 'metadata.name' ? at.name : field === 'metadata.namespace' ? at.namespace : textAt(object, field);
  const only = (field: string): string | undefined => terms.find((term) => term.field === field && !term.negated)?.value;
  return {
    name: only('metadata.name'),
    namespace: only('metadata.namespace'),
    everything: labelText === '' && terms.length === 0,
    matches: (at, labels, object) => terms.every(({ field, value, negated }) => (valueOf(field, at, object) === value) !== negated) && byLabel(labels),
  };
};

export const labelsOf = (object: JsonObject): JsonObject => {
  const labels = get(get(object, 'metadata'), 'labels');
  return isObject(labels) ? labels : {};
};
