import jsonPatch from 'fast-json-patch';
import { isObject, type JsonObject } from '#admission';
import { MAX_BODY } from './http.ts';
import { badRequest, StatusError, tooLarge } from './status.ts';

/** JSON patches (RFC 6902), as `kubectl patch --type json` sends them. */

const MAX_OPERATIONS = 10_000;

type Operation = jsonPatch.Operation;

const MEMBERS: readonly string[] = ['op', 'path', 'from', 'value'];

/** Members of operations that have no meaning. */
export const unknownMembers = (patch: unknown): string[] =>
  (Array.isArray(patch) ? patch : []).flatMap((operation: unknown, index) =>
    isObject(operation)
      ? Object.keys(operation)
          .filter((name) => !MEMBERS.includes(name))
          .map((name) => `unknown field ${JSON.stringify(`[${index}].${name}`)}`)
      : [],
  );

const refused = (): StatusError => new StatusError(422, 'Invalid', 'the server rejected our request due to an error in our request', {});
const goType = (value: unknown): string => (Array.isArray(value) ? 'array' : isObject(value) ? 'object' : typeof value === 'boolean' ? 'bool' : typeof value);
const notOperations = (value: unknown, wanted: string): StatusError =>
  badRequest(`error decoding patch: json: cannot unmarshal ${goType(value)} into Go value of type ${wanted}`);

const checked = (patch: unknown): readonly Operation[] => {
  if (!Array.isArray(patch)) throw notOperations(patch, '[]handlers.jsonPatchOp');
  const wrong: unknown = patch.find((operation) => !isObject(operation));
  if (wrong !== undefined) throw notOperations(wrong, 'handlers.jsonPatchOp');
  if (patch.length > MAX_OPERATIONS) throw tooLarge(MAX_OPERATIONS);
  return patch as unknown as readonly Operation[];
};

/** How much work all operations of a patch together may be, in bytes that are copied. */
const MAX_WORK = 16 * MAX_BODY;

const sizeAt = (document: JsonObject, pointer: string): number => Buffer.byteLength(JSON.stringify(jsonPatch.getValueByPointer(document, pointer) ?? null));

/** What an operation costs: a copy adds to the document, and a move copies what it displaces. */
const costOf = (document: JsonObject, operation: Operation): { readonly grown: number; readonly work: number } => {
  if (operation.op !== 'copy' && operation.op !== 'move') return { grown: 0, work: 0 };
  const grown = operation.op === 'copy' ? sizeAt(document, operation.from) : 0;
  return { grown, work: grown + (operation.op === 'move' ? sizeAt(document, operation.path) : 0) };
};

/** `object` after the patch. Throws StatusError 400 when it is no patch, 422 when it does not apply or a test fails. */
export const applyJsonPatch = (object: JsonObject, patch: unknown): JsonObject => {
  const operations = checked(patch);
  let document = structuredClone(object);
  let grown = 0;
  let work = 0;
  for (const [index, operation] of operations.entries()) {
    try {
      const cost = costOf(document, operation);
      grown += cost.grown;
      work += cost.work;
      if (grown > MAX_BODY || work > MAX_WORK) throw tooLarge(MAX_BODY);
      document = jsonPatch.applyOperation(document, operation, true, true, true, index).newDocument;
    } catch (error) {
      if (error instanceof StatusError) throw error;
      throw refused();
    }
  }
  if (!isObject(document)) throw refused();
  return document;
};
