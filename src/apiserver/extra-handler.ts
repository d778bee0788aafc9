import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { ExtraRequest, ExtraResource, ExtraResponse, ExtraVerb, ExtraWatchEvent } from '#api';
import type { Clock } from '#lib';
import type { Principal } from './access.ts';
import type { Served } from './catalogue.ts';
import { readBody, sendObject } from './http.ts';
import { get, isObject, type JsonObject } from '#admission';
import { listOptions } from './list-options.ts';
import type { ResourceRequest } from './route.ts';
import { labelsOf, parseSelector, type Selector } from './selectors.ts';
import { methodNotAllowed, StatusError } from './status.ts';
import type { Exchange } from './stored-handler.ts';
import { includeObject, toTable } from './table.ts';
import { EventStream } from './watch.ts';

/** HTTP for resources that a handler answers (`ExtraGroup`). */

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const placeOf = (object: JsonObject) => ({ namespace: textOf(get(object['metadata'], 'namespace')), name: textOf(get(object['metadata'], 'name')) });
const versionOf = (object: JsonObject): number => Number(get(object['metadata'], 'resourceVersion') ?? 0) || 0;

const isVerb = (verb: string): verb is ExtraVerb => verb === 'get' || verb === 'list' || verb === 'watch' || verb === 'create';

/** The verb, if the resource (or subresource) has it. Throws StatusError 405. */
const allowedVerb = (extra: ExtraResource, verb: string, subresource: string): ExtraVerb => {
  const verbs = subresource ? extra.subresources?.find(({ name }) => name === subresource)?.verbs : extra.verbs;
  if (!isVerb(verb) || !verbs?.includes(verb)) throw methodNotAllowed();
  return verb;
};

const pipe = async (body: AsyncIterable<Uint8Array>, response: ServerResponse, signal: AbortSignal): Promise<void> => {
  try {
    for await (const chunk of body) {
      if (signal.aborted) return;
      if (!response.write(chunk)) await once(response, 'drain', { signal });
    }
    response.end();
  } catch {
    // Without the last chunk the answer cannot be taken for a complete one.
    response.destroy();
  }
};

export class ExtraHandler {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Answers the request. `signal` is the end of the server. */
  async handle(target: ResourceRequest, extra: ExtraResource, exchange: Exchange, principal: Principal, signal: AbortSignal): Promise<void> {
    const { served, namespace, name, subresource } = target;
    const verb = allowedVerb(extra, target.verb, subresource);
    const selector = parseSelector(exchange.query);
    const limit = extra.subresources?.find((candidate) => candidate.name === subresource)?.maxBodyBytes;
    const gone = new AbortController();
    exchange.response.once('close', () => gone.abort(new Error('the caller went away')));
    const request: ExtraRequest = {
      verb,
      namespace: namespace || (selector.namespace ?? ''),
      name: name || (selector.name ?? ''),
      subresource,
      query: exchange.query,
      headers: Object.fromEntries(
        Object.entries(exchange.request.headers).map(([header, value]) => [header, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
      ),
      body: await readBody(exchange.request, limit),
      principal,
      signal: AbortSignal.any([signal, gone.signal]),
    };
    await this.#answer(await extra.handle(request), { ...target, served }, selector, exchange, request);
  }

  async #answer(answer: ExtraResponse, { served, verb }: ResourceRequest, selector: Selector, exchange: Exchange, request: ExtraRequest): Promise<void> {
    const { response } = exchange;
    if ('failure' in answer) throw new StatusError(answer.failure.code, answer.failure.reason, answer.failure.message);
    if ('stream' in answer) {
      response.writeHead(answer.stream.status, answer.stream.headers);
      return pipe(answer.stream.body, response, request.signal);
    }
    if ('watch' in answer) return this.#watch(answer.watch, served, selector, exchange, request);
    if ('object' in answer) {
      const object = this.#stamp(served, answer.object as unknown as JsonObject, request.subresource);
      const table = exchange.answer.table && !request.subresource;
      return sendObject(
        response,
        verb === 'create' ? 201 : 200,
        table ? this.#table(served, [object], { resourceVersion: String(versionOf(object)) }, exchange) : object,
        exchange.answer.format,
      );
    }
    const items = answer.list
      .map((item) => this.#stamp(served, item as unknown as JsonObject, ''))
      .filter((item) => selector.matches(placeOf(item), labelsOf(item)));
    const metadata = {
      resourceVersion: answer.resourceVersion ?? String(items.reduce((highest, item) => Math.max(highest, versionOf(item)), 0)),
      ...(answer.continue && { continue: answer.continue }),
    };
    const list = { apiVersion: `${served.group}/${served.version}`, kind: `${served.kind}List`, metadata, items };
    sendObject(response, 200, exchange.answer.table ? this.#table(served, items, metadata, exchange) : list, exchange.answer.format);
  }

  /** An object as this group serves it: an alias in another group has another apiVersion. */
  #stamp(served: Served, object: JsonObject, subresource: string): JsonObject {
    if (subresource) return object;
    const { apiVersion: _, kind: __, ...rest } = object;
    return { apiVersion: `${served.group}/${served.version}`, kind: served.kind, ...rest };
  }

  #table({ columns }: Served, objects: readonly JsonObject[], metadata: JsonObject, { query }: Exchange): object {
    return toTable(objects, metadata, { columns, includeObject: includeObject(query), now: this.#clock.now() });
  }

  async #watch(
    events: AsyncIterable<ExtraWatchEvent>,
    served: Served,
    selector: Selector,
    { response, query, answer }: Exchange,
    request: ExtraRequest,
  ): Promise<void> {
    const { timeoutSeconds } = listOptions(query, true);
    const stream = new EventStream(response, {
      apiVersion: `${served.group}/${served.version}`,
      kind: served.kind,
      columns: served.columns,
      asTable: answer.table,
      includeObject: includeObject(query),
      query,
      timeoutSeconds,
      sendInitialEvents: false,
      now: () => this.#clock.now(),
    });
    const seen = Number(query.get('resourceVersion') ?? 0) || 0;
    const iterator = events[Symbol.asyncIterator]();
    stream.onEnd(() => void iterator.return?.().catch(() => {}));
    const ended = new Promise<{ done: true; value: undefined }>((resolve) => stream.onEnd(() => resolve({ done: true, value: undefined })));
    request.signal.addEventListener('abort', () => stream.end(), { once: true });
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), ended]);
        if (next.done || !isObject(next.value.object)) break;
        const object = this.#stamp(served, next.value.object as unknown as JsonObject, '');
        if (seen > 0 && versionOf(object) <= seen) continue;
        if (selector.matches(placeOf(object), labelsOf(object))) stream.send(next.value.type, object);
      }
    } catch (error) {
      if (!request.signal.aborted) stream.fail(new StatusError(500, 'InternalError', error instanceof Error ? error.message : String(error)));
    } finally {
      stream.end();
    }
  }
}
