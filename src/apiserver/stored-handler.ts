import type { IncomingMessage, ServerResponse } from 'node:http';
import { decode, DecodeError, fromStored, get, isObject, mergePatch, storedKind, toStored, type Decoded, type JsonObject } from '#admission';
import { apiVersionOf, type Kind } from '#api';
import type { Clock } from '#lib';
import type { Served } from './catalogue.ts';
import { mediaType, objectFormat, readBody, sendObject, type Answer } from './http.ts';
import { applyJsonPatch, unknownMembers } from './json-patch.ts';
import { listOptions } from './list-options.ts';
import type { DeleteOptions, Objects, Target, WriteOptions } from './objects.ts';
import { decodeProtobuf } from './protobuf.ts';
import type { ResourceRequest } from './route.ts';
import { fromScale, toScale } from './scale.ts';
import { labelsOf, parseSelector } from './selectors.ts';
import {
  badRequest,
  expired,
  invalidOption,
  methodNotAllowed,
  nameMissing,
  resourceName,
  unsupportedMedia,
  verbNotSupported,
  type StatusError,
} from './status.ts';
import type { StoredObject } from './store.ts';
import { includeObject, partial, toTable } from './table.ts';
import { startVersion, watchStore, type EventStream } from './watch.ts';

/** HTTP for resources that are stored. */

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly answer: Answer;
}

const APPLY = 'application/apply-patch+yaml';
const JSON_PATCH = 'application/json-patch+json';
const PATCH_TYPES = [JSON_PATCH, 'application/merge-patch+json', APPLY];

/** A body as it is stored; `kind` is that of the request. */
const decodeObject = (kind: Kind, body: Uint8Array, format: 'json' | 'yaml' | 'protobuf'): Decoded => {
  try {
    const { value, duplicates } = format === 'protobuf' ? { value: decodeProtobuf(body), duplicates: [] } : decode(body, format);
    return { value: toStored(kind, value), duplicates };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw badRequest(`the object provided is unrecognized (must be of type ${kind.kind}): couldn't get version/kind; ${format} parse error: ${error.message}`);
  }
};

/** A body that is JSON whatever its media type says it is for. */
const jsonDocument = async ({ request }: Exchange): Promise<Decoded> => {
  try {
    return decode(await readBody(request), 'json');
  } catch (error) {
    if (error instanceof DecodeError) throw badRequest(`error decoding patch: ${error.message}`);
    throw error;
  }
};
const jsonBody = async (exchange: Exchange): Promise<unknown> => (await jsonDocument(exchange)).value;

const isDryRun = (values: readonly string[], options: Parameters<typeof invalidOption>[0]): boolean => {
  if (values.some((value) => value !== 'All')) {
    throw invalidOption(options, {
      field: 'dryRun',
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(values)}: supported values: "All"`,
    });
  }
  return values.length > 0;
};

const OPTIONS_KIND = { create: 'CreateOptions', update: 'UpdateOptions', patch: 'PatchOptions' } as const;

const writeOptions = ({ request, response, query }: Exchange, verb: keyof typeof OPTIONS_KIND): WriteOptions => {
  const options = OPTIONS_KIND[verb];
  if (verb === 'patch' && query.has('force') && mediaType(request) !== APPLY) {
    throw invalidOption(options, { field: 'force', reason: 'FieldValueForbidden', message: 'Forbidden: may not be specified for non-apply patch' });
  }
  const validation = query.get('fieldValidation') || 'Warn';
  if (validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') {
    throw invalidOption(options, {
      field: 'fieldValidation',
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(validation)}: supported values: "", "Ignore", "Strict", "Warn"`,
    });
  }
  const agent = (request.headers['user-agent'] ?? 'unknown').split('/')[0]!;
  const manager = query.get('fieldManager') || agent;
  if (manager.length > 128)
    throw invalidOption(options, { field: 'fieldManager', reason: 'FieldValueTooLong', message: 'Too long: may not be more than 128 bytes' });
  const strange = [...manager].findIndex((letter) => /\p{C}/u.test(letter));
  if (strange >= 0) {
    const code = [...manager][strange]!.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
    const shown = JSON.stringify(manager).replaceAll(/\\u00([0-9a-f]{2})/g, '\\x$1');
    const message = `Invalid value: ${shown}: invalid character U+${code} (at position ${strange})`;
    throw invalidOption(options, { field: 'fieldManager', reason: 'FieldValueInvalid', message });
  }
  return {
    manager,
    fieldValidation: validation,
    dryRun: isDryRun(query.getAll('dryRun'), options),
    force: query.get('force') === 'true',
    warn: (text) => response.appendHeader('Warning', `299 - ${JSON.stringify(text)}`),
  };
};

const readDeleteOptions = async (request: IncomingMessage): Promise<unknown> => {
  const body = await readBody(request);
  if (body.length === 0) return {};
  const format = objectFormat(request, true);
  let given: unknown;
  try {
    given = format === 'protobuf' ? decodeProtobuf(body) : decode(body, format).value;
  } catch (error) {
    if (error instanceof DecodeError) throw badRequest(`couldn't get version/kind; ${format} parse error: ${error.message}`);
    throw error;
  }
  if (!isObject(given)) throw badRequest("couldn't get version/kind; the DeleteOptions are not an object");
  const kind = given['kind'] ?? 'DeleteOptions';
  if (kind !== 'DeleteOptions') throw badRequest(`no kind ${JSON.stringify(kind)} is known as the body of a deletion: it takes DeleteOptions`);
  return given;
};

const deleteOptions = async ({ request, query }: Exchange): Promise<DeleteOptions> => {
  const given = await readDeleteOptions(request);
  const named = get(given, 'propagationPolicy') ?? query.get('propagationPolicy') ?? undefined;
  const orphan = get(given, 'orphanDependents') ?? (query.has('orphanDependents') ? query.get('orphanDependents') === 'true' : undefined);
  const policy = named ?? (orphan === true ? 'Orphan' : 'Background');
  if (policy !== 'Background' && policy !== 'Foreground' && policy !== 'Orphan') {
    throw invalidOption('DeleteOptions', {
      field: 'propagationPolicy',
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(policy)}: supported values: "Foreground", "Background", "Orphan", "nil"`,
    });
  }
  if (named !== undefined && orphan !== undefined) {
    const message = `Invalid value: ${JSON.stringify(policy)}: orphanDependents and deletionPropagation cannot be both set`;
    throw invalidOption('DeleteOptions', { field: 'propagationPolicy', reason: 'FieldValueInvalid', message });
  }
  const preconditions = get(given, 'preconditions');
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const dryRun = get(given, 'dryRun');
  return {
    propagationPolicy: policy,
    uid: text(get(preconditions, 'uid')),
    resourceVersion: text(get(preconditions, 'resourceVersion')),
    dryRun: isDryRun([...query.getAll('dryRun'), ...(Array.isArray(dryRun) ? dryRun.map(String) : [])], 'DeleteOptions'),
  };
};

interface Token {
  readonly version: string;
  readonly namespace: string;
  readonly name: string;
}

const readToken = (text: string): Token => {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown;
    if (!isObject(token)) throw new Error('not an object');
    const [version, namespace, name] = [token['version'], token['namespace'], token['name']];
    if (typeof version !== 'string' || !/^\d{0,15}$/.test(version) || typeof namespace !== 'string' || typeof name !== 'string')
      throw new Error('fields are missing');
    return { version, namespace, name };
  } catch {
    throw badRequest('invalid continue token: it was not made by this server');
  }
};

/** A stored object as it was asked for, Tables apart. */
const shown = ({ partial: metadataOnly }: Answer, kind: Kind, object: JsonObject): JsonObject => (metadataOnly ? partial(object) : fromStored(kind, object));
const PARTIAL_LIST = { apiVersion: 'meta.k8s.io/v1', kind: 'PartialObjectMetadataList' } as const;

const writeToken = (token: Token): string => Buffer.from(JSON.stringify(token)).toString('base64url');

/** 410 with a token that goes on with the objects as they are now. */
const tokenExpired = ({ namespace, name }: Token): StatusError =>
  expired(
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
    { continue: writeToken({ version: '', namespace, name }) },
  );

export class StoredHandler {
  readonly #objects: Objects;
  readonly #clock: Clock;

  constructor(objects: Objects, clock: Clock) {
    this.#objects = objects;
    this.#clock = clock;
  }

  /** Answers the request; a watch goes on and is returned. */
  async handle({ served, verb, namespace, name, subresource }: ResourceRequest, kind: Kind, exchange: Exchange): Promise<EventStream | undefined> {
    const target: Target = { kind: storedKind(kind), namespace, name, subresource };
    if (subresource && !['get', 'update', 'patch'].includes(verb)) throw verbNotSupported(kind, verb);
    switch (verb) {
      case 'get':
        startVersion(exchange.query, this.#objects.store.version);
        if (subresource === 'scale') sendObject(exchange.response, 200, toScale(kind, this.#objects.get(target)), exchange.answer.format);
        else this.#send(exchange, served, 200, this.#objects.get(target));
        return;
      case 'list':
        this.#list(target, served, exchange);
        return;
      case 'watch':
        return this.#watch(target, served, exchange);
      case 'create':
      case 'update':
        await this.#write(verb, target, served, exchange);
        return;
      case 'patch':
        await this.#patch(target, served, exchange);
        return;
      case 'delete':
        await this.#delete(target, served, exchange);
        return;
      case 'deletecollection':
        await this.#deleteAll(target, served, exchange);
        return;
      default:
        throw methodNotAllowed();
    }
  }

  #send({ response, answer, query }: Exchange, { columns, stored: kind }: Served, status: number, object: object): void {
    const stored = object as StoredObject;
    const body = answer.table
      ? toTable(
          [stored],
          { resourceVersion: stored.metadata.resourceVersion },
          { columns, includeObject: includeObject(query), metaVersion: answer.metaVersion, now: this.#clock.now() },
        )
      : shown(answer, kind!, stored);
    sendObject(response, status, body, answer.format);
  }

  #list({ kind, namespace }: Target, served: Served, { response, query, answer }: Exchange): void {
    const { store } = this.#objects;
    const { limit, continue: given, exact } = listOptions(query, false);
    const from = startVersion(query, store.version);
    if (exact && from !== store.version) throw expired('The resourceVersion for the provided list is too old.');
    const selector = parseSelector(query, served.stored);
    const token = given ? readToken(given) : undefined;
    if (token && token.version !== '' && (Number(token.version) > store.version || Number(token.version) < store.oldest)) throw tokenExpired(token);
    // The version of the first page is the one to watch from: what changed since is then seen again.
    const version = token?.version || String(store.version);
    const found = store.list(resourceName(kind), { namespace: namespace || selector.namespace, name: selector.name, after: token });
    const selected = selector.everything ? found : found.filter((object) => selector.matches(placeOf(object), labelsOf(object), object));
    const page = limit > 0 ? selected.slice(0, limit) : selected;
    const left = selected.length - page.length;
    const metadata = {
      resourceVersion: version,
      ...(left > 0 && { continue: writeToken({ version, ...placeOf(page.at(-1)!) }) }),
      ...(left > 0 && selector.everything && { remainingItemCount: left }),
    };
    const body = answer.table
      ? toTable(page, metadata, { columns: served.columns, includeObject: includeObject(query), metaVersion: answer.metaVersion, now: this.#clock.now() })
      : {
          ...(answer.partial ? PARTIAL_LIST : { apiVersion: apiVersionOf(served), kind: `${kind.kind}List` }),
          metadata,
          items: page.map((object) => shown(answer, served.stored!, object)),
        };
    sendObject(response, 200, body, answer.format);
  }

  #watch({ kind, namespace }: Target, served: Served, { response, query, answer }: Exchange): EventStream {
    const { timeoutSeconds, sendInitialEvents } = listOptions(query, true);
    const scope = { resource: resourceName(kind), namespace, selector: parseSelector(query, served.stored) };
    return watchStore(this.#objects.store, scope, response, {
      apiVersion: apiVersionOf(served),
      kind: kind.kind,
      show: (object) => shown(answer, served.stored!, object),
      metaVersion: answer.metaVersion,
      columns: served.columns,
      asTable: answer.table,
      includeObject: includeObject(query),
      query,
      timeoutSeconds,
      sendInitialEvents,
      now: () => this.#clock.now(),
    });
  }

  async #write(verb: 'create' | 'update', target: Target, served: Served, exchange: Exchange): Promise<void> {
    if (verb === 'create' && target.name !== '') throw methodNotAllowed();
    if (verb === 'update' && target.name === '') throw badRequest('name must be provided');
    if (target.kind.namespaced && target.namespace === '') throw badRequest('namespace must be provided');
    const options = writeOptions(exchange, verb);
    const format = objectFormat(exchange.request, served.stored!.native === true);
    if (target.subresource === 'scale') {
      const scale = await jsonBody(exchange);
      if (!get(get(scale, 'metadata'), 'name')) throw nameMissing(target.name);
      return this.#scale(target, served, exchange, fromScale(target.kind, scale), options);
    }
    const body = decodeObject(served.stored!, await readBody(exchange.request), format);
    if (verb === 'create') this.#send(exchange, served, 201, this.#objects.create(target, body, options));
    else this.#send(exchange, served, 200, this.#objects.update(target, body, options));
  }

  async #patch(target: Target, served: Served, exchange: Exchange): Promise<void> {
    const type = mediaType(exchange.request);
    if (!PATCH_TYPES.includes(type)) throw unsupportedMedia(PATCH_TYPES);
    const options = writeOptions(exchange, 'patch');
    if (type === APPLY) {
      if (!exchange.query.get('fieldManager')) {
        throw invalidOption('PatchOptions', { field: 'fieldManager', reason: 'FieldValueRequired', message: 'Required value: is required for apply patch' });
      }
      const { object, created } = this.#objects.apply(target, decodeObject(served.stored!, await readBody(exchange.request), 'yaml'), options);
      this.#send(exchange, served, created ? 201 : 200, object);
      return;
    }
    if (target.subresource === 'scale') {
      const patch = await jsonBody(exchange);
      const scale = toScale(target.kind, this.#objects.get(target));
      const wanted = type === JSON_PATCH ? applyJsonPatch(scale, patch) : mergePatch(scale, patch);
      // The version is that of the patch, if it has one: the one read just now would never be stale.
      const given = get(get(patch, 'metadata'), 'resourceVersion');
      return this.#scale(target, served, exchange, fromScale(target.kind, { ...(wanted as object), metadata: { resourceVersion: given } }), options);
    }
    if (type === JSON_PATCH) {
      const { value: patch, duplicates } = await jsonDocument(exchange);
      const patchProblems = [...duplicates.map((path) => `duplicate field ${JSON.stringify(path)}`), ...unknownMembers(patch)].map(
        (text) => `json patch ${text}`,
      );
      const patched = (object: StoredObject) => toStored(served.stored!, applyJsonPatch(fromStored(served.stored!, object) as unknown as StoredObject, patch));
      this.#send(exchange, served, 200, this.#objects.change(target, patched, { ...options, patchProblems }));
      return;
    }
    const { value, duplicates } = await jsonDocument(exchange);
    const patch = { value: toStored(served.stored!, value), duplicates };
    this.#send(exchange, served, 200, this.#objects.mergePatch(target, patch, options));
  }

  /** Writes the number a Scale holds, and answers with the Scale of what came of it. */
  #scale(target: Target, served: Served, { response, answer }: Exchange, patch: JsonObject, options: WriteOptions): void {
    const object = this.#objects.mergePatch(target, { value: patch, duplicates: [] }, options) as StoredObject;
    sendObject(response, 200, toScale(served.stored!, object), answer.format);
  }

  async #delete(target: Target, served: Served, exchange: Exchange): Promise<void> {
    const { name } = target;
    const { object, gone } = this.#objects.delete(target, await deleteOptions(exchange));
    const details = { name, ...(served.group && { group: served.group }), kind: served.plural, uid: object.metadata.uid };
    const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
    sendObject(exchange.response, 200, gone ? status : fromStored(served.stored!, object), exchange.answer.format);
  }

  async #deleteAll({ kind, namespace }: Target, served: Served, exchange: Exchange): Promise<void> {
    const selector = parseSelector(exchange.query, served.stored);
    const options = await deleteOptions(exchange);
    const found = this.#objects.store.list(resourceName(kind), { namespace: namespace || selector.namespace, name: selector.name });
    const selected = found.filter((object) => selector.matches(placeOf(object), labelsOf(object), object));
    const metadata = { resourceVersion: String(this.#objects.store.version) };
    for (const object of selected) this.#objects.delete({ kind, ...placeOf(object), subresource: '' }, options);
    sendObject(
      exchange.response,
      200,
      { apiVersion: apiVersionOf(served), kind: `${served.kind}List`, metadata, items: selected.map((object) => fromStored(served.stored!, object)) },
      exchange.answer.format,
    );
  }
}

const placeOf = ({ metadata }: StoredObject): { namespace: string; name: string } => ({
  namespace: typeof metadata['namespace'] === 'string' ? metadata['namespace'] : '',
  name: metadata.name,
});
