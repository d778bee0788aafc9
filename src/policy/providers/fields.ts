import { isJsonObject as isObject, type Json, type JsonObject } from '../json.ts';
import type { Misread, ModelLimits } from './provider.ts';

/** What readers of bodies share. */

export const misread = (message: string): Misread => ({ reason: 'InvalidRequest', message });
export const ambiguous = (message: string): Misread => ({ reason: 'AmbiguousField', message });
export const isMisread = (value: unknown): value is Misread => typeof value === 'object' && value !== null && 'reason' in value && 'message' in value;

/** A field that is absent: null counts as such, as it does for the providers. */
export const isAbsent = (value: Json | undefined): value is null | undefined => value === undefined || value === null;

/** A whole number of at least 1, or undefined where there is none; `name` is for the message. */
export const countAt = (value: Json | undefined, name: string, max = 2 ** 31): number | undefined | Misread => {
  if (isAbsent(value)) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) return value;
  return misread(`\`${name}\` must be an integer from 1 to ${max}.`);
};

/**
 * The same for names that some server takes for one: Go's decoder ignores case as Unicode folds it, by which the long s (U+017F) is an s.
 * Source: https://pkg.go.dev/encoding/json#Unmarshal
 */
export const foldedName = (name: string): string => name.toUpperCase().toLowerCase();

/** Refuses a field whose name differs from one that is acted on only in case: a server might read it as that one. */
export const lookalikeOf = (body: JsonObject, actedOn: ReadonlySet<string>): Misread | undefined => {
  const folded = new Set([...actedOn].map(foldedName));
  const other = Object.keys(body).find((key) => !actedOn.has(key) && folded.has(foldedName(key)));
  return other === undefined ? undefined : ambiguous(`\`${other}\` differs from a known field only in case.`);
};

/** Whether every name in an object is another one, for servers that ignore case, too. */
const isClear = (value: JsonObject): boolean => {
  const names = Object.keys(value);
  return new Set(names.map(foldedName)).size === names.length;
};

/** The objects of a list; undefined when it is none, or when one of them has names that differ only in case. */
export const objectsIn = (value: Json | undefined): readonly JsonObject[] | undefined =>
  Array.isArray(value) && value.every((item: Json) => isObject(item) && isClear(item)) ? (value as readonly JsonObject[]) : undefined;

/** Every text in a value, however deep. */
const textsOf = (value: Json | undefined): readonly string[] => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value as object).flatMap((item: Json) => textsOf(item)) : [];
};

/** A URL that whoever reads it takes for the same: no user, no backslash, nothing but a port between its host and its path. */
const PLAIN_URL = /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9._-]+(?::\d{1,5})?(?:\/[^\\\s]*)?$/i;

/** The host a URL is fetched from, that of its object store for `s3:` and `gs:`; `*` when it cannot be told, or is told in several ways. */
export const hostOfUrl = (url: Json | undefined): string => {
  const text = typeof url === 'string' ? url.trim() : '';
  const { protocol, hostname } = (PLAIN_URL.test(text) && URL.parse(text)) || { protocol: '', hostname: '' };
  if (protocol === 'gs:') return 'storage.googleapis.com';
  return hostname === '' ? '*' : protocol === 's3:' ? `${hostname}.s3.amazonaws.com` : hostname;
};

/** Hosts of whatever looks like a URL in a value, however deep and whatever the field is called; `data:` URLs carry their content themselves. */
export const urlHostsIn = (value: Json | undefined): readonly string[] =>
  textsOf(value)
    .filter((text) => /^\s*[a-z][a-z0-9+.-]*:[\\/]{2}/i.test(text))
    .map(hostOfUrl);

/** A name stands for itself and its variants, which go on after a `-`, `.`, `:` or `@`. */
export type Family = readonly [names: readonly string[], contextWindow: number, maxOutput: number, hiddenReasoning: boolean];

/** Limits by family, the longest name that fits winning; `stranger` for what none fits. */
export const limitsByFamily = (families: readonly Family[], stranger: ModelLimits): ((model: string) => ModelLimits) => {
  const byName = new Map<string, ModelLimits>(
    families.flatMap(([names, contextWindow, maxOutput, hiddenReasoning]) =>
      names.map((name) => [name, { known: true, contextWindow, maxOutput, hiddenReasoning }] as const),
    ),
  );
  return (model) => {
    for (let name = model; name !== ''; name = name.replace(/(?:^|[-.:@])[^-.:@]*$/, '')) {
      const found = byName.get(name);
      if (found) return found;
    }
    return stranger;
  };
};
