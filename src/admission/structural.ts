import type { FieldError, JsonSchema } from '#api';
import { below } from './json-path.ts';
import { type MutableJson, get, isObject, sameJson } from './json.ts';

/** Pruning, defaulting and validation of values by structural schemas; messages are those of kube-apiserver. */

const property = (schema: JsonSchema, name: string): JsonSchema | undefined =>
  schema.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : schema.additionalProperties;

/** A copy of `value` without fields the schema does not know; their paths go to `unknown`. */
export const prune = (schema: JsonSchema, value: unknown, unknown: string[], path = ''): unknown => {
  if (Array.isArray(value)) return schema.items ? value.map((item, index) => prune(schema.items!, item, unknown, `${path}[${index}]`)) : value;
  if (!isObject(value)) return value;
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (schema.type !== 'object' && !open) return value;
  const out: MutableJson = {};
  for (const [name, child] of Object.entries(value)) {
    const known = property(schema, name);
    if (known) out[name] = prune(known, child, unknown, below(path, name));
    else if (open) out[name] = child;
    else unknown.push(below(path, name));
  }
  return out;
};

/**
 * A copy of `value` with absent fields set to their defaults; a missing parent is never made to hold one. A field that is null
 * counts as absent, since no schema of ours is nullable.
 */
export const withDefaults = (schema: JsonSchema, value: unknown): unknown => {
  if (Array.isArray(value)) return schema.items ? value.map((item) => withDefaults(schema.items!, item)) : value;
  if (!isObject(value)) return value;
  const out: MutableJson = {};
  for (const [name, child] of Object.entries(value)) {
    const known = property(schema, name);
    if (child === null && known) continue;
    out[name] = known ? withDefaults(known, child) : child;
  }
  for (const [name, known] of Object.entries(schema.properties ?? {})) {
    if (known.default !== undefined && !Object.hasOwn(out, name)) out[name] = structuredClone(known.default);
  }
  return out;
};

/** Integers beyond what Kubernetes keeps as such are numbers to it. */
const typeName = (value: unknown): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) && Math.abs(value) < 2 ** 63 ? 'integer' : 'number';
  return typeof value;
};

const hasType = (schema: JsonSchema, value: unknown): boolean => {
  const actual = typeName(value);
  if (schema['x-kubernetes-int-or-string']) return actual === 'integer' || actual === 'string';
  return schema.type === undefined || actual === schema.type || (schema.type === 'number' && actual === 'integer');
};

/** Where a value is, and what its place is called in messages: the status endpoint names it from `status` on. */
interface Place {
  readonly path: string;
  readonly shown: string;
}
const inside = ({ path, shown }: Place, name: string): Place => ({ path: below(path, name), shown: below(shown, name) });
const item = ({ path, shown }: Place, index: number): Place => ({ path: `${path}[${index}]`, shown: `${shown}[${index}]` });

type Report = (place: Place, reason: FieldError['reason'], message: string) => void;

const patterns = new Map<string, RegExp>();
const matches = (pattern: string, text: string): boolean => {
  const known = patterns.get(pattern) ?? new RegExp(pattern, 'u');
  patterns.set(pattern, known);
  return known.test(text);
};

const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt](?:[01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** JavaScript takes the 30th of February for the 2nd of March. */
const isTime = (text: string): boolean => {
  const day = RFC3339.exec(text)?.[1];
  return day !== undefined && !Number.isNaN(Date.parse(text)) && new Date(`${day}T00:00:00Z`).toISOString().startsWith(day);
};

const quoted = (values: readonly string[]): string => values.map((value) => JSON.stringify(value)).join(', ');

/** Of length and pattern, the first that is broken is told. */
const lengthError = (schema: JsonSchema, value: string): string | undefined => {
  if (schema.minLength !== undefined && [...value].length < schema.minLength) return `should be at least ${schema.minLength} chars long`;
  if (schema.pattern !== undefined && !matches(schema.pattern, value)) return `should match '${schema.pattern}'`;
  return undefined;
};

const validateString = (schema: JsonSchema, value: string, place: Place, report: Report): void => {
  const text = JSON.stringify(value);
  if (schema.maxLength !== undefined && [...value].length > schema.maxLength) {
    report(place, 'FieldValueTooLong', `Too long: may not be more than ${schema.maxLength} bytes`);
  } else {
    const broken = lengthError(schema, value);
    if (broken) report(place, 'FieldValueInvalid', `Invalid value: ${text}: ${place.shown} in body ${broken}`);
  }
  if (schema.format === 'date-time' && !isTime(value)) {
    report(place, 'FieldValueTypeInvalid', `Invalid value: ${text}: ${place.shown} in body must be of type date-time: ${text}`);
  }
};

const validateEnum = (schema: JsonSchema, value: unknown, place: Place, report: Report): void => {
  if (!schema.enum || (schema.enum as readonly unknown[]).includes(value)) return;
  report(place, 'FieldValueNotSupported', `Unsupported value: ${JSON.stringify(value)}: supported values: ${quoted(schema.enum)}`);
};

/** A number as Go prints what it does not hold as an integer. */
const goFloat = (value: number): string => (Math.abs(value) >= 1e6 ? value.toExponential().replace(/e\+(\d)$/, 'e+0$1') : String(value));

const validateNumber = (schema: JsonSchema, value: number, place: Place, report: Report): void => {
  const print = typeName(value) === 'integer' ? String : goFloat;
  const bad = (why: string): void => report(place, 'FieldValueInvalid', `Invalid value: ${print(value)}: ${place.shown} in body ${why}`);
  if (schema.minimum !== undefined && value < schema.minimum) bad(`should be greater than or equal to ${print(schema.minimum)}`);
  if (schema.maximum !== undefined && value > schema.maximum) bad(`should be less than or equal to ${print(schema.maximum)}`);
};

/** The old value an item of a list is compared with: the one with the same keys in a map list, none in other lists. */
export const oldItem = (schema: JsonSchema, child: unknown, old: unknown): unknown => {
  const keys = schema['x-kubernetes-list-map-keys'];
  return keys && Array.isArray(old) ? old.find((other) => keys.every((key) => get(other, key) === get(child, key))) : undefined;
};

const validateList = (schema: JsonSchema, value: readonly unknown[], place: Place, report: Report, old: unknown): void => {
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    report(place, 'FieldValueInvalid', `Invalid value: ${value.length}: ${place.shown} in body should have at least ${schema.minItems} items`);
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    return report(place, 'FieldValueTooMany', `Too many: ${value.length}: must have at most ${schema.maxItems} items`);
  }
  value.forEach((child, index) => validateValue(schema.items ?? {}, child, item(place, index), report, oldItem(schema, child, old)));
};

/** Times are told apart by other names. */
const GO_TYPES: Readonly<Record<string, string>> = { integer: 'int64', number: 'float64', boolean: 'bool' };

const wrongType = (schema: JsonSchema, value: unknown, place: Place, report: Report): void => {
  const isTimeField = schema.format === 'date-time';
  const actual = JSON.stringify(isTimeField ? (GO_TYPES[typeName(value)] ?? '') : typeName(value));
  const wanted = isTimeField ? schema.format : (schema.type ?? 'integer,string');
  report(place, 'FieldValueTypeInvalid', `Invalid value: ${actual}: ${place.shown} in body must be of type ${wanted}: ${actual}`);
  if (typeof value === 'number') validateNumber(schema, value, place, report);
};

/** A value that is what it was is not judged again: it may be from before a rule was made. */
const validateValue = (schema: JsonSchema, value: unknown, place: Place, report: Report, old: unknown): void => {
  if (old !== undefined && sameJson(value, old)) return;
  validateEnum(schema, value, place, report);
  if (!hasType(schema, value)) return wrongType(schema, value, place, report);
  if (typeof value === 'string') validateString(schema, value, place, report);
  else if (typeof value === 'number') validateNumber(schema, value, place, report);
  else if (Array.isArray(value)) validateList(schema, value, place, report, old);
  else if (isObject(value)) {
    for (const name of schema.required ?? []) if (!Object.hasOwn(value, name)) report(inside(place, name), 'FieldValueRequired', 'Required value');
    for (const [name, child] of Object.entries(value)) {
      const known = property(schema, name);
      if (known) validateValue(known, child, inside(place, name), report, get(old, name));
    }
  }
};

/** Items of sets and map lists that cannot be told apart. Judged apart from the schema: it needs no valid items. */
const validateKeys = (schema: JsonSchema, value: unknown, place: Place, report: Report, old: unknown): void => {
  if (old !== undefined && sameJson(value, old)) return;
  if (isObject(value)) {
    for (const [name, child] of Object.entries(value)) {
      const known = property(schema, name);
      if (known) validateKeys(known, child, inside(place, name), report, get(old, name));
    }
  }
  if (!Array.isArray(value)) return;
  const keys = schema['x-kubernetes-list-map-keys'];
  const seen = new Set<string>();
  value.forEach((child, index) => {
    const at = item(place, index);
    if (keys && child === null) return;
    if (keys && !isObject(child)) {
      report(at, 'FieldValueInvalid', `Invalid value: ${JSON.stringify(child)}: must be an object for an array of list-type map`);
    } else if (keys || schema['x-kubernetes-list-type'] === 'set') {
      const identity = JSON.stringify(keys ? Object.fromEntries(keys.map((key) => [key, get(child, key)])) : child);
      if (seen.has(identity)) report(at, 'FieldValueDuplicate', `Duplicate value: ${identity}`);
      seen.add(identity);
    }
    if (schema.items) validateKeys(schema.items, child, at, report, oldItem(schema, child, old));
  });
};

interface ValidateOptions {
  /** Where the value is; nowhere by default. */
  readonly path?: string;
  /** How messages call that place, if not by its path. */
  readonly shown?: string;
  /** What the value replaces: parts that stay as they were are not judged. */
  readonly old?: unknown;
}

/** Every way in which `value` breaks the schema (rules apart). */
export const validate = (schema: JsonSchema, value: unknown, { path = '', shown = path, old }: ValidateOptions = {}): FieldError[] => {
  const errors: FieldError[] = [];
  const report: Report = (place, reason, message) => errors.push({ field: place.path, reason, message });
  validateValue(schema, value, { path, shown }, report, old);
  validateKeys(schema, value, { path, shown }, report, old);
  return errors;
};
