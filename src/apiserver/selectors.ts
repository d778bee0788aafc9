import { get, isObject, type JsonObject } from './json.ts';
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
  readonly field: 'metadata.name' | 'metadata.namespace';
  readonly value: string;
  readonly negated: boolean;
}

export interface Selector {
  /** The one name or namespace asked for, so that a list need not read everything. */
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  /** Whether an object with this place and these labels is selected. */
  matches(at: { readonly namespace: string; readonly name: string }, labels: JsonObject): boolean;
  readonly everything: boolean;
}

const parseFieldSelector = (text: string): FieldTerm[] =>
  text
    .split(',')
    .filter((term) => term.trim() !== '')
    .map((term) => {
      const match = /^\s*([^=!]+?)\s*(==|=|!=)\s*(.*?)\s*$/.exec(term);
      if (!match) throw badRequest(`invalid selector: ${JSON.stringify(term)}; can't understand ${JSON.stringify(term)}`);
      const [, field, operator, value] = match;
      if (field !== 'metadata.name' && field !== 'metadata.namespace') throw badRequest(`field label not supported: ${field}`);
      return { field, value: value!, negated: operator === '!=' };
    });

/** The selectors of a list, watch or deletecollection. */
export const parseSelector = (query: URLSearchParams): Selector => {
  const labelText = query.get('labelSelector') ?? '';
  const byLabel = parseLabelSelector(labelText);
  const terms = parseFieldSelector(query.get('fieldSelector') ?? '');
  const only = (field: FieldTerm['field']): string | undefined => terms.find((term) => term.field === field && !term.negated)?.value;
  return {
    name: only('metadata.name'),
    namespace: only('metadata.namespace'),
    everything: labelText === '' && terms.length === 0,
    matches: (at, labels) =>
      terms.every(({ field, value, negated }) => ((field === 'metadata.name' ? at.name : at.namespace) === value) !== negated) && byLabel(labels),
  };
};

export const labelsOf = (object: JsonObject): JsonObject => {
  const labels = get(get(object, 'metadata'), 'labels');
  return isObject(labels) ? labels : {};
};
