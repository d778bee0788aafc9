import type { FieldError, JsonSchema } from '#api';
import { below } from './json-path.ts';
import { get, isObject, type MutableJson } from './json.ts';

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

/** A copy of `value` with absent fields set to their defaults; a missing parent is never made to hold one. */
export const withDefaults = (schema: JsonSchema, value: unknown): unknown => {
  if (Array.isArray(value)) return schema.items ? value.map((item) => withDefaults(schema.items!, item)) : value;
  if (!isObject(value)) return value;
  const out: MutableJson = {};
  for (const [name, child] of Object.entries(value)) {
    const known = property(schema, name);
    if (child === null && known?.default !== undefined) continue;
    out[name] = known ? withDefaults(known, child) : child;
  }
  for (const [name, known] of Object.entries(schema.properties ?? {})) {
    if (known.default !== undefined && !Object.hasOwn(out, name)) out[name] = structuredClone(known.default);
  }
  return out;
};

const typeName = (value: unknown): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
};

const hasType = (schema: JsonSchema, value: unknown): boolean => {
  const actual = typeName(value);
  if (schema['x-kubernetes-int-or-string']) return actual === 'integer' || actual === 'string';
  return schema.type === undefined || actual === schema.type || (schema.type === 'number' && actual === 'integer');
};

type Report = (field: string, reason: FieldError['reason'], message: string) => void;

const patterns = new Map<string, RegExp>();
const matches = (pattern: string, text: string): boolean => {
  const known = patterns.get(pattern) ?? new RegExp(pattern, 'u');
  patterns.set(pattern, known);
  return known.test(text);
};

const RFC3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;
const INT_RANGE: Readonly<Record<string, number>> = { int32: 2 ** 31, int64: Number.MAX_SAFE_INTEGER };

const validateString = (schema: JsonSchema, value: string, path: string, report: Report): void => {
  const bad = (why: string): void => report(path, 'FieldValueInvalid', `Invalid value: ${JSON.stringify(value)}: ${path} in body ${why}`);
  if (schema.maxLength !== undefined && [...value].length > schema.maxLength) {
    return report(path, 'FieldValueTooLong', `Too long: may not be more than ${schema.maxLength} bytes`);
  }
  if (schema.minLength !== undefined && value.length < schema.minLength) bad(`should be at least ${schema.minLength} chars long`);
  if (schema.pattern !== undefined && !matches(schema.pattern, value)) bad(`should match '${schema.pattern}'`);
  if (schema.format === 'date-time' && !(RFC3339.test(value) && !Number.isNaN(Date.parse(value)))) bad(`must be of type date-time: ${JSON.stringify(value)}`);
  if (schema.enum && !schema.enum.includes(value)) {
    report(
      path,
      'FieldValueNotSupported',
      `Unsupported value: ${JSON.stringify(value)}: supported values: ${schema.enum.map((item) => JSON.stringify(item)).join(', ')}`,
    );
  }
};

const validateNumber = (schema: JsonSchema, value: number, path: string, report: Report): void => {
  const bad = (why: string): void => report(path, 'FieldValueInvalid', `Invalid value: ${value}: ${path} in body ${why}`);
  const range = INT_RANGE[schema.format ?? ''];
  if (range !== undefined && (value >= range || value < -range)) return bad(`must be of type ${schema.format}: ${value}`);
  if (schema.minimum !== undefined && value < schema.minimum) bad(`should be greater than or equal to ${schema.minimum}`);
  if (schema.maximum !== undefined && value > schema.maximum) bad(`should be less than or equal to ${schema.maximum}`);
};

const validateList = (schema: JsonSchema, value: readonly unknown[], path: string, report: Report): void => {
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    report(path, 'FieldValueInvalid', `Invalid value: ${value.length}: ${path} in body should have at least ${schema.minItems} items`);
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    return report(path, 'FieldValueTooMany', `Too many: ${value.length}: must have at most ${schema.maxItems} items`);
  }
  value.forEach((item, index) => validateValue(schema.items ?? {}, item, `${path}[${index}]`, report));
  const keys = schema['x-kubernetes-list-map-keys'];
  if (!keys && schema['x-kubernetes-list-type'] !== 'set') return;
  const seen = new Set<string>();
  value.forEach((item, index) => {
    const identity = JSON.stringify(keys ? Object.fromEntries(keys.map((key) => [key, get(item, key)])) : item);
    if (seen.has(identity)) report(`${path}[${index}]`, 'FieldValueDuplicate', `Duplicate value: ${identity}`);
    seen.add(identity);
  });
};

const validateValue = (schema: JsonSchema, value: unknown, path: string, report: Report): void => {
  if (!hasType(schema, value)) {
    const actual = JSON.stringify(typeName(value));
    return report(path, 'FieldValueTypeInvalid', `Invalid value: ${actual}: ${path} in body must be of type ${schema.type ?? 'integer,string'}: ${actual}`);
  }
  if (typeof value === 'string') validateString(schema, value, path, report);
  else if (typeof value === 'number') validateNumber(schema, value, path, report);
  else if (Array.isArray(value)) validateList(schema, value, path, report);
  else if (isObject(value)) {
    for (const name of schema.required ?? []) if (!Object.hasOwn(value, name)) report(below(path, name), 'FieldValueRequired', 'Required value');
    for (const [name, child] of Object.entries(value)) {
      const known = property(schema, name);
      if (known) validateValue(known, child, below(path, name), report);
    }
  }
};

/** Every way in which `value` breaks the schema (rules apart). */
export const validate = (schema: JsonSchema, value: unknown, path = ''): FieldError[] => {
  const errors: FieldError[] = [];
  validateValue(schema, value, path, (field, reason, message) => errors.push({ field, reason, message }));
  return errors;
};
