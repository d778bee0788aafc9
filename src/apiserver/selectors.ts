import type { Kind } from '#api';
import { get, isObject, storedKind, storedPath, type JsonObject } from '#admission';
import { badRequest } from './status.ts';

/** Label and field selectors. Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api */

export type LabelMatch = (labels: JsonObject) => boolean;

const TERM = /^\s*(?:(!)\s*([\w./-]+)|([\w./-]+)(?:\s*(==|=|!=)\s*([\w.-]*)|\s+(in|notin)\s*\(([^()]*)\))?)\s*(?:,|$)/;

/** Throws StatusError 400. */
export const parseLabelSelector = (text: string): LabelMatch => {
  const tests: LabelMatch[] = [];
  const value = (labels: JsonObject, key: string): unknown => get(labels, key);
  for (let rest = text; rest.trim() !== '';) {
    const term = TERM.exec(rest);
    if (!term) throw badRequest(`unable to parse requirement: ${JSON.stringify(rest.trim())} is not a label selector`);
    const [whole, not, absent, key = '', operator, operand = '', set, values = ''] = term;
    if (not) tests.push((labels) => value(labels, absent!) === undefined);
    else if (operator === '!=') tests.push((labels) => value(labels, key) !== operand);
    else if (operator) tests.push((labels) => value(labels, key) === operand);
    else if (set) {
      const wanted = new Set<unknown>(values.split(',').map((item) => item.trim()));
      tests.push((labels) => wanted.has(value(labels, key)) === (set === 'in'));
    } else tests.push((labels) => value(labels, key) !== undefined);
    rest = rest.slice(whole.length);
  }
  return (labels) => tests.every((test) => test(labels));
};

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

const parseFieldSelector = (text: string, kind: Kind | undefined): FieldTerm[] =>
  text
    .split(',')
    .filter((term) => term.trim() !== '')
    .map((term) => {
      const match = /^\s*([^=!]+?)\s*(==|=|!=)\s*(.*?)\s*$/.exec(term);
      if (!match) throw badRequest(`invalid selector: ${JSON.stringify(term)}; can't understand ${JSON.stringify(term)}`);
      const [, field, operator, value] = match;
      const stored = kind ? storedPath(kind, field!) : field!;
      if (!PLACE.includes(stored) && !(kind && storedKind(kind).selectable?.includes(stored))) throw badRequest(`field label not supported: ${field}`);
      return { field: stored, value: value!, negated: operator === '!=' };
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
