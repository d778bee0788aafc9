import type { IncomingMessage, ServerResponse } from 'node:http';
import { decode, DecodeError, fromStored, get, isObject, mergePatch, storedKind, toStored, type Decoded, type JsonObject } from '#admission';
import { apiVersionOf, type Kind } from '#api';
import type { Clock } from '#lib';
import type { Served } from './catalogue.ts';
import { mediaType, objectFormat, readBody, sendObject, type Answer } from './http.ts';
import { applyJsonPatch } from './json-patch.ts';
import type { DeleteOptions, Objects, Target, WriteOptions } from './objects.ts';
import { decodeProtobuf } from './protobuf.ts';
import type { ResourceRequest } from './route.ts';
import { fromScale, toScale } from './scale.ts';
import { labelsOf, parseSelector } from './selectors.ts';
import { badRequest, expired, invalidOption, methodNotAllowed, resourceName, unsupportedMedia } from './status.ts';
import type { StoredObject } from './store.ts';
import { toTable } from './table.ts';
import { startVersion, watchStore, type EventStream } from './watch.ts';

/** HTTP for resources that are stored. */

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly answer: Answer;
}

const PATCH_TYPES = ['application/json-patch+json', 'application/merge-patch+json', 'application/apply-patch+yaml'];

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
const jsonBody = async ({ request }: Exchange): Promise<unknown> => {
  try {
    return decode(await readBody(request), 'json').value;
  } catch (error) {
    if (error instanceof DecodeError) throw badRequest(`the body cannot be read: ${error.message}`);
    throw error;
  }
};

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
  const validation = query.get('fieldValidation') || 'Warn';
  if (validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') {
    throw invalidOption(options, {
      field: 'fieldValidation',
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(validation)}: supported values: "Ignore", "Strict", "Warn"`,
    });
  }
  const agent = (request.headers['user-agent'] ?? 'unknown').split('/')[0]!;
  const manager = query.get('fieldManager') || agent;
  if (manager.length > 128)
    throw invalidOption(options, { field: 'fieldManager', reason: 'FieldValueTooLong', message: 'Too long: may not be more than 128 bytes' });
  return {
    manager,
    fieldValidation: validation,
    dryRun: isDryRun(query.getAll('dryRun'), options),
    force: query.get('force') === 'true',
    warn: (text) => response.appendHeader('Warning', `299 - ${JSON.stringify(text)}`),
  };
};

const deleteOptions = async ({ request, query }: Exchange): Promise<DeleteOptions> => {
  const body = await readBody(request);
  let given: unknown = {};
  if (body.length > 0) {
    try {
      const format = objectFormat(request, true);
      given = format === 'protobuf' ? decodeProtobuf(body) : decode(body, format).value;
    } catch (error) {
      if (error instanceof DecodeError) throw badRequest(`the DeleteOptions are not valid: ${error.message}`);
      throw error;
    }
  }
  const policy = get(given, 'propagationPolicy') ?? query.get('propagationPolicy') ?? (query.get('orphanDependents') === 'true' ? 'Orphan' : 'Background');
  if (policy !== 'Background' && policy !== 'Foreground' && policy !== 'Orphan') {
    throw invalidOption('DeleteOptions', {
      field: 'propagationPolicy',
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(policy)}: supported values: "Background", "Foreground", "Orphan"`,
    });
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
    if (typeof version !== 'string' || typeof namespace !== 'string' || typeof name !== 'string') throw new Error('fields are missing');
    return { version, namespace, name };
  } catch {
    throw badRequest('invalid continue token: it was not made by this server');
  }
};

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
    if (subresource && !['get', 'update', 'patch'].includes(verb)) throw methodNotAllowed();
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
          { columns, includeObject: query.get('includeObject') ?? 'Metadata', now: this.#clock.now() },
        )
      : fromStored(kind!, stored);
    sendObject(response, status, body, answer.format);
  }

  #list({ kind, namespace }: Target, served: Served, { response, query, answer }: Exchange): void {
    const { store } = this.#objects;
    startVersion(query, store.version);
    const selector = parseSelector(query, served.stored);
    const limit = Math.max(0, Number(query.get('limit') ?? 0) || 0);
    const token = query.get('continue') ? readToken(query.get('continue')!) : undefined;
    if (token && Number(token.version) > store.version) throw expired('The provided continue parameter is too old to display a consistent list result.');
    // The version of the first page is the one to watch from: what changed since is then seen again.
    const version = token?.version ?? String(store.version);
    const found = store.list(resourceName(kind), { namespace: namespace || selector.namespace, name: selector.name, after: token });
    const selected = selector.everything ? found : found.filter((object) => selector.matches(placeOf(object), labelsOf(object), object));
    const page = limit > 0 ? selected.slice(0, limit) : selected;
    const left = selected.length - page.length;
    const metadata = {
      resourceVersion: version,
      ...(left > 0 && { continue: Buffer.from(JSON.stringify({ version, ...placeOf(page.at(-1)!) })).toString('base64url') }),
      ...(left > 0 && selector.everything && { remainingItemCount: left }),
    };
    const body = answer.table
      ? toTable(page, metadata, { columns: served.columns, includeObject: query.get('includeObject') ?? 'Metadata', now: this.#clock.now() })
      : { apiVersion: apiVersionOf(served), kind: `${kind.kind}List`, metadata, items: page.map((object) => fromStored(served.stored!, object)) };
    sendObject(response, 200, body, answer.format);
  }

  #watch({ kind, namespace }: Target, served: Served, { response, query, answer }: Exchange): EventStream {
    const scope = { resource: resourceName(kind), namespace, selector: parseSelector(query, served.stored) };
    return watchStore(this.#objects.store, scope, response, {
      apiVersion: apiVersionOf(served),
      kind: kind.kind,
      show: (object) => fromStored(served.stored!, object),
      columns: served.columns,
      asTable: answer.table,
      includeObject: query.get('includeObject') ?? 'Metadata',
      query,
      now: () => this.#clock.now(),
    });
  }

  async #write(verb: 'create' | 'update', target: Target, served: Served, exchange: Exchange): Promise<void> {
    if (verb === 'create' && target.name !== '') throw methodNotAllowed();
    if (verb === 'update' && target.name === '') throw badRequest('name must be provided');
    if (target.kind.namespaced && target.namespace === '') throw badRequest('namespace must be provided');
    const options = writeOptions(exchange, verb);
    const format = objectFormat(exchange.request, served.stored!.native === true);
    if (target.subresource === 'scale') return this.#scale(target, served, exchange, fromScale(target.kind, await jsonBody(exchange)), options);
    const body = decodeObject(served.stored!, await readBody(exchange.request), format);
    if (verb === 'create') this.#send(exchange, served, 201, this.#objects.create(target, body, options));
    else this.#send(exchange, served, 200, this.#objects.update(target, body, options));
  }

  async #patch(target: Target, served: Served, exchange: Exchange): Promise<void> {
    const type = mediaType(exchange.request);
    if (!PATCH_TYPES.includes(type)) throw unsupportedMedia(PATCH_TYPES);
    const options = writeOptions(exchange, 'patch');
    if (type === 'application/apply-patch+yaml') {
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
      const wanted = type === 'application/json-patch+json' ? applyJsonPatch(scale, patch) : mergePatch(scale, patch);
      // The version is that of the patch, if it has one: the one read just now would never be stale.
      const given = get(get(patch, 'metadata'), 'resourceVersion');
      return this.#scale(target, served, exchange, fromScale(target.kind, { ...(wanted as object), metadata: { resourceVersion: given } }), options);
    }
    if (type === 'application/json-patch+json') {
      const patch = await jsonBody(exchange);
      const patched = (object: StoredObject) => toStored(served.stored!, applyJsonPatch(fromStored(served.stored!, object) as unknown as StoredObject, patch));
      this.#send(exchange, served, 200, this.#objects.change(target, patched, options));
      return;
    }
    const patch = decodeObject(served.stored!, await readBody(exchange.request), 'json');
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
    for (const object of selected) this.#objects.delete({ kind, ...placeOf(object), subresource: '' }, options);
    const metadata = { resourceVersion: String(this.#objects.store.version) };
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
