import { celEnv, celFunc, celMethod, CelScalar, celType, isCelError, parse, plan, type CelInput, type CelResult, type CelValue } from '@bufbuild/cel';
import type { FieldError, JsonSchema, Rule } from '#api';
import { isCidr, messageOf, parseDuration } from '#lib';
import { get, isObject, sameJson } from './json.ts';
import { oldItem } from './structural.ts';

/** CEL rules (`x-kubernetes-validations`). Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules */

type Evaluate = (bindings: Record<string, CelInput>) => CelResult;

const standardDuration = plan(celEnv(), parse('duration(text)')) as Evaluate;

/** As strict as Go, which also refuses empty text; with the words of Kubernetes. */
const duration = (text: string): CelValue => {
  const value = parseDuration(text) === undefined ? undefined : standardDuration({ text });
  if (value === undefined || isCelError(value)) throw new Error("type conversion error from 'string' to 'google.protobuf.Duration'");
  return value;
};

function lowerAscii(this: string): string {
  return this.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** IPv4 addresses in the form of IPv6, however they are written (`::ffff:10.0.0.1`): for Kubernetes they are none. */
const isMapped = (ip: string): boolean => ip.includes(':') && /^\[::ffff:[\da-f]{1,4}:[\da-f]{1,4}\]$/.test(new URL(`http://[${ip}]`).hostname);

/** What Kubernetes has beyond standard CEL, as far as rules of ours use it. Source: https://kubernetes.io/docs/reference/using-api/cel/ */
const environment = celEnv({
  funcs: [
    celFunc('duration', [CelScalar.STRING], celType(standardDuration({ text: '1s' }) as CelValue), duration as (text: string) => CelInput),
    celFunc('isIP', [CelScalar.STRING], CelScalar.BOOL, (text) => !text.includes('/') && isCidr(text) && !isMapped(text)),
    celMethod('lowerAscii', CelScalar.STRING, [], CelScalar.STRING, lowerAscii),
  ],
});
const compiled = new Map<string, Evaluate>();

const compile = (rule: string): Evaluate => {
  let evaluate = compiled.get(rule);
  if (!evaluate) {
    evaluate = plan(environment, parse(rule)) as Evaluate;
    compiled.set(rule, evaluate);
  }
  return evaluate;
};

const fieldSchema = (schema: JsonSchema | undefined, name: string): JsonSchema | undefined =>
  schema?.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : schema?.additionalProperties;

/** JSON as CEL sees it: maps with string keys, and int where the schema says integer (CEL does not compare int with double). */
const toCel = (schema: JsonSchema | undefined, value: unknown): CelInput => {
  if (typeof value === 'number') return schema?.type === 'integer' ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map((item) => toCel(schema?.items, item)) as unknown as CelInput;
  if (!isObject(value)) return value as CelInput;
  const fields = Object.entries(value).map(([name, child]) => [name, toCel(fieldSchema(schema, name), child)] as const);
  return new Map(fields) as unknown as CelInput;
};

const show = (value: unknown): string => (isObject(value) || Array.isArray(value) ? '' : `${JSON.stringify(value)}: `);

const asError = (rule: Rule, value: unknown, path: string, why: string): FieldError => {
  const field = `${path}${rule.fieldPath ?? ''}`;
  const reason = rule.reason ?? 'FieldValueInvalid';
  if (reason === 'FieldValueRequired') return { field, reason, message: `Required value: ${why}` };
  if (reason === 'FieldValueForbidden') return { field, reason, message: `Forbidden: ${why}` };
  return { field, reason, message: `Invalid value: ${show(value)}${why}` };
};

/** A rule that has no answer for the value. */
const failed = (rule: Rule, schema: JsonSchema, path: string, why: string): FieldError => ({
  field: path,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(schema.type ?? '')}: ${why} evaluating rule: ${rule.message}`,
});

const checkRule = (rule: Rule, schema: JsonSchema, value: unknown, old: unknown, path: string): FieldError[] => {
  const transition = /\boldSelf\b/.test(rule.rule);
  if (transition && old === undefined) return [];
  try {
    const result = compile(rule.rule)({ self: toCel(schema, value), ...(transition && { oldSelf: toCel(schema, old) }) });
    if (isCelError(result)) return [failed(rule, schema, path, result.message)];
    return result === true ? [] : [asError(rule, value, path, rule.message)];
  } catch (error) {
    return [failed(rule, schema, path, messageOf(error))];
  }
};

const withRules = new WeakMap<JsonSchema, boolean>();

/** Whether a schema has a rule anywhere. */
export const hasRules = (schema: JsonSchema): boolean => {
  let known = withRules.get(schema);
  if (known === undefined) {
    const parts = [...Object.values(schema.properties ?? {}), schema.items, schema.additionalProperties];
    known = (schema['x-kubernetes-validations']?.length ?? 0) > 0 || parts.some((part) => part !== undefined && hasRules(part));
    withRules.set(schema, known);
  }
  return known;
};

/** Every rule that `value` breaks, here and below; `old` is what it replaces, if anything. What stays as it was is not judged again. */
export const checkRules = (schema: JsonSchema, value: unknown, old: unknown, path = ''): FieldError[] => {
  if (old !== undefined && sameJson(value, old)) return [];
  const own = (schema['x-kubernetes-validations'] ?? []).flatMap((rule) => checkRule(rule, schema, value, old, path));
  if (Array.isArray(value)) {
    if (!schema.items) return own;
    return [...own, ...value.flatMap((item, index) => checkRules(schema.items!, item, oldItem(schema, item, old), `${path}[${index}]`))];
  }
  if (!isObject(value)) return own;
  const inside = Object.entries(value).flatMap(([name, child]) => {
    const known = fieldSchema(schema, name);
    return known ? checkRules(known, child, get(old, name), path ? `${path}.${name}` : name) : [];
  });
  return [...own, ...inside];
};
