import type { FieldError } from '#api';
import { badRequest, invalidOptions } from './status.ts';

/** What a list or a watch is asked for, besides selectors. Rules: k8s.io/apimachinery, internalversion validation of ListOptions. */
export interface ListOptions {
  /** 0 = everything. */
  readonly limit: number;
  readonly continue: string;
  /** How long a watch lasts; 0 = as long as the server likes. */
  readonly timeoutSeconds: number;
  readonly sendInitialEvents: boolean;
  /** The list must be that of `resourceVersion`, or there is none. */
  readonly exact: boolean;
}

const MATCH = 'resourceVersionMatch';
const forbidden = (field: string, why: string): FieldError => ({ field, reason: 'FieldValueForbidden', message: `Forbidden: ${why}` });
const unsupported = (value: string, supported: readonly string[]): FieldError => ({
  field: MATCH,
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((text) => JSON.stringify(text)).join(', ')}`,
});

const listErrors = (version: string, match: string, token: string, initial: boolean): FieldError[] => [
  ...(match && !version ? [forbidden(MATCH, 'resourceVersionMatch is forbidden unless resourceVersion is provided')] : []),
  ...(match && token ? [forbidden(MATCH, 'resourceVersionMatch is forbidden when continue is provided')] : []),
  ...(match && match !== 'Exact' && match !== 'NotOlderThan' ? [unsupported(match, ['Exact', 'NotOlderThan', ''])] : []),
  ...(match === 'Exact' && version === '0' ? [forbidden(MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')] : []),
  ...(initial ? [forbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list')] : []),
];

const watchErrors = (match: string, token: string, initial: boolean): FieldError[] => [
  ...(initial && match !== 'NotOlderThan' ? [forbidden(MATCH, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan')] : []),
  ...(match && !initial ? [forbidden(MATCH, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided')] : []),
  ...(match && match !== 'NotOlderThan' ? [unsupported(match, ['NotOlderThan'])] : []),
  ...(match && token ? [forbidden(MATCH, 'resourceVersionMatch is forbidden when continue is provided')] : []),
];

const integer = (query: URLSearchParams, name: string): number => {
  const text = query.get(name) ?? '';
  if (text === '') return 0;
  if (!/^[+-]?\d{1,18}$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Math.max(0, Number(text));
};

/** Throws StatusError 400 for what cannot be read, 422 for what does not go together. */
export const listOptions = (query: URLSearchParams, watch: boolean): ListOptions => {
  const text = (name: string): string => query.get(name) ?? '';
  const [version, match, token] = [text('resourceVersion'), text(MATCH), text('continue')];
  const initial = query.has('sendInitialEvents');
  const numbers = { limit: integer(query, 'limit'), timeoutSeconds: integer(query, 'timeoutSeconds') };
  const errors = watch ? watchErrors(match, token, initial) : listErrors(version, match, token, initial);
  if (errors.length > 0) throw invalidOptions('ListOptions', errors);
  if (token && version !== '' && version !== '0') throw badRequest('specifying resource version is not allowed when using continue');
  return { ...numbers, continue: token, sendInitialEvents: text('sendInitialEvents') === 'true', exact: match === 'Exact' };
};
