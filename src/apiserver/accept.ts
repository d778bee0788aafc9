import { decodeMetadata, isObject, metadataOf, objectSchema, prune, withMetadata, WrongType, type Decoded, type JsonObject } from '#admission';
import { apiVersionOf, type Kind } from '#api';
import type { Target, WriteOptions } from './objects.ts';
import { badRequest, nameMissing } from './status.ts';

/** A request body on its way to be an object: type, place, and fields that nobody knows. */

/** The first bytes of a body, as errors show them. */
const snippet = (value: JsonObject): string => `(${JSON.stringify(value).slice(0, 30)} ...)`;

/**
 * The body as an object that says of which type it is; built-in kinds may leave that to the path. A wrong kind of an object of
 * ours is told later, with everything else that is wrong. Throws StatusError 400.
 */
const checkType = (kind: Kind, value: unknown): JsonObject => {
  const unrecognized = (why: string) => badRequest(`the object provided is unrecognized (must be of type ${kind.kind}): ${why}`);
  if (!isObject(value)) throw unrecognized("couldn't get version/kind; the body is not an object");
  for (const name of ['apiVersion', 'kind']) {
    const given = value[name] ?? '';
    if (typeof given === 'string') continue;
    const type = Array.isArray(given) ? 'array' : typeof given === 'boolean' ? 'bool' : typeof given;
    throw unrecognized(
      `couldn't get version/kind; json parse error: json: cannot unmarshal ${type} into Go struct field .${name} of type string ${snippet(value)}`,
    );
  }
  const apiVersion = String(value['apiVersion'] ?? '');
  const given = String(value['kind'] ?? '');
  if (apiVersion.split('/').length > 2) throw unrecognized(`unexpected GroupVersion string: ${apiVersion} ${snippet(value)}`);
  if (kind.native) {
    if (given !== '' && given !== kind.kind) throw badRequest(`${given} in version ${JSON.stringify(kind.version)} cannot be handled as a ${kind.kind}`);
    if (apiVersion === '') return { ...value, apiVersion: apiVersionOf(kind), kind: kind.kind };
  } else if (given === '') throw unrecognized(`Object 'Kind' is missing in '${JSON.stringify(value).slice(0, 200)}'`);
  if (apiVersion !== apiVersionOf(kind)) {
    throw badRequest(`the API version in the data (${apiVersion}) does not match the expected API version (${apiVersionOf(kind)})`);
  }
  return value;
};

/** Fields nobody knows are refused when they are applied: nobody could own them. */
const undeclared = (paths: readonly string[]): string => {
  const errors = paths.slice(0, MAX_PROBLEMS).map((path) => `.${path}: field not declared in schema`);
  return errors.length === 1 ? errors[0]! : ['errors:', ...errors.map((text) => `  ${text}`)].join('\n');
};

/** More unknown and repeated fields than this are only counted. */
const MAX_PROBLEMS = 100;
/** Warnings are headers, of which clients take a few kilobytes. */
const MAX_WARNINGS = 20;
const MAX_WARNING = 256;

export interface Acceptance {
  /** Fields that nobody knows are refused. */
  readonly applied?: boolean;
  /** It must say the name of the object it replaces. */
  readonly named?: boolean;
}

/** Checks type and place of a decoded body, prunes what the schema does not know, and reports it as asked. */
export const accept = (
  { kind, namespace, name, subresource }: Target,
  { value, duplicates }: Decoded,
  options: WriteOptions,
  how: Acceptance = {},
): JsonObject => {
  const typed = checkType(kind, value);
  const handled = `${kind.kind} in version ${JSON.stringify(kind.version)} cannot be handled as a ${kind.kind}`;
  let decoded: JsonObject;
  try {
    decoded = { ...typed, metadata: decodeMetadata(typed) };
  } catch (error) {
    if (error instanceof WrongType) throw badRequest(`${handled}: ${error.message}`);
    throw error;
  }
  if (how.named && !metadataOf(decoded)['name']) throw nameMissing(name);
  const unknown: string[] = [];
  const pruned = prune(objectSchema(kind), decoded, unknown) as JsonObject;
  const strict = options.fieldValidation === 'Strict';
  if (how.applied && unknown.length > 0 && !strict)
    throw badRequest(`failed to create typed patch object (${namespace}/${name}; ${apiVersionOf(kind)}, Kind=${kind.kind}): ${undeclared(unknown)}`);
  const problems = [
    ...(options.patchProblems ?? []),
    ...duplicates.map((path) => `duplicate field ${JSON.stringify(path)}`),
    ...unknown.toSorted().map((path) => `unknown field ${JSON.stringify(path)}`),
  ];
  if (problems.length > 0 && strict) {
    const more = problems.length > MAX_PROBLEMS ? `, and ${problems.length - MAX_PROBLEMS} more` : '';
    throw badRequest(`${handled}: strict decoding error: ${problems.slice(0, MAX_PROBLEMS).join(', ')}${more}`);
  }
  if (options.fieldValidation === 'Warn') for (const problem of problems.slice(0, MAX_WARNINGS)) options.warn(problem.slice(0, MAX_WARNING));

  const metadata = metadataOf(pruned);
  const givenNamespace = metadata['namespace'] ?? '';
  if (givenNamespace !== '' && givenNamespace !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  if (name !== '' && (metadata['name'] ?? name) !== name) {
    throw badRequest(`the name of the object (${String(metadata['name'])}) does not match the name on the URL (${name})`);
  }
  const placed = withMetadata(kind.native ? { ...pruned, kind: kind.kind } : pruned, {
    namespace: namespace || undefined,
    ...(name && { name }),
    selfLink: undefined,
  });
  return placed['status'] === null || subresource === ''
    ? Object.fromEntries(Object.entries(placed).filter(([field, v]) => !(field === 'status' && v === null)))
    : placed;
};
