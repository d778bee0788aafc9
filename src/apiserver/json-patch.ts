import jsonPatch from 'fast-json-patch';
import { isObject, type JsonObject } from '#admission';
import { MAX_BODY } from './http.ts';
import { badRequest, StatusError, tooLarge } from './status.ts';

/** JSON patches (RFC 6902), as `kubectl patch --type json` sends them. */

const MAX_OPERATIONS = 10_000;

type Operation = jsonPatch.Operation;

const checked = (patch: unknown): readonly Operation[] => {
  if (!Array.isArray(patch) || !patch.every(isObject)) throw badRequest('the patch is not a list of operations');
  if (patch.length > MAX_OPERATIONS) throw tooLarge(MAX_OPERATIONS);
  return patch as unknown as readonly Operation[];
};

/** How much a copy adds; a few copies of copies would grow without bound. */
const copied = (document: JsonObject, operation: Operation): number =>
  operation.op === 'copy' ? Buffer.byteLength(JSON.stringify(jsonPatch.getValueByPointer(document, operation.from) ?? null)) : 0;

/** `object` after the patch. Throws StatusError 400 when it is no patch, 422 when it does not apply or a test fails. */
export const applyJsonPatch = (object: JsonObject, patch: unknown): JsonObject => {
  const operations = checked(patch);
  let document = structuredClone(object);
  let grown = 0;
  for (const [index, operation] of operations.entries()) {
    try {
      grown += copied(document, operation);
      if (grown > MAX_BODY) throw tooLarge(MAX_BODY);
      document = jsonPatch.applyOperation(document, operation, true, true, true, index).newDocument;
    } catch (error) {
      if (error instanceof StatusError) throw error;
      throw new StatusError(422, 'Invalid', 'the server rejected our request due to an error in our request', {});
    }
  }
  if (!isObject(document)) throw badRequest('the patched value is not an object');
  return document;
};
