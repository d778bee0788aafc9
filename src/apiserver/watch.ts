import type { ServerResponse } from 'node:http';
import type { Column } from '#api';
import { get, withMetadata, type JsonObject } from '#admission';
import { labelsOf, type Selector } from './selectors.ts';
import { expired, StatusError, versionTooLarge, badRequest } from './status.ts';
import type { Change, ChangeType, Store } from './store.ts';
import { toTable, type IncludeObject } from './table.ts';

/** Watches: newline-delimited events over one long response. */

export interface WatchOptions {
  readonly apiVersion: string;
  readonly kind: string;
  readonly columns: readonly Column[];
  readonly asTable: boolean;
  readonly includeObject: IncludeObject;
  readonly metaVersion?: 'v1' | 'v1beta1';
  readonly query: URLSearchParams;
  /** 0 = as long as the server likes. */
  readonly timeoutSeconds: number;
  readonly sendInitialEvents: boolean;
  readonly now: () => number;
  /** How an object is shown; as it is by default. */
  readonly show?: (object: JsonObject) => JsonObject;
}

/** A client that does not read is cut off here; it will list again. */
const MAX_BUFFERED = 32 * 1024 * 1024;
const BOOKMARK_MS = 60_000;
const DEFAULT_TIMEOUT_S = 2700;
const MAX_TIMEOUT_S = 86_400;

/** One response that carries events. */
export class EventStream {
  /** How long the watch lasts, in milliseconds. */
  readonly timeoutMs: number;
  readonly #response: ServerResponse;
  readonly #options: WatchOptions;
  #first = true;
  #timer: NodeJS.Timeout | undefined;
  readonly #ended: (() => void)[] = [];

  constructor(response: ServerResponse, options: WatchOptions) {
    this.#response = response;
    this.#options = options;
    response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache, private' });
    response.flushHeaders();
    this.timeoutMs = Math.min(options.timeoutSeconds || DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S) * 1000;
    this.#timer = setTimeout(() => this.end(), this.timeoutMs);
    response.once('close', () => this.end());
  }

  onEnd(callback: () => void): void {
    this.#ended.push(callback);
  }

  send(type: ChangeType, object: JsonObject): void {
    const { asTable, now, show = (whole) => whole } = this.#options;
    const metadata = { resourceVersion: get(object['metadata'], 'resourceVersion') };
    this.#write({ type, object: asTable ? toTable([object], metadata, { ...this.#options, now: now(), withDefinitions: this.#first }) : show(object) });
    this.#first = false;
  }

  bookmark(version: number, initialEnd = false): void {
    const { apiVersion, kind, asTable, now } = this.#options;
    const metadata = { resourceVersion: String(version), ...(initialEnd && { annotations: { 'k8s.io/initial-events-end': 'true' } }) };
    const object = asTable ? toTable([{ metadata }], metadata, { ...this.#options, now: now(), withDefinitions: this.#first }) : { kind, apiVersion, metadata };
    this.#write({ type: 'BOOKMARK', object });
    this.#first = false;
  }

  fail(error: StatusError): void {
    this.#write({ type: 'ERROR', object: error.body() });
    this.end();
  }

  end(): void {
    if (!this.#timer) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const callback of this.#ended.splice(0)) callback();
    this.#response.end();
  }

  #write(event: object): void {
    if (!this.#timer) return;
    this.#response.write(`${JSON.stringify(event)}\n`);
    if (this.#response.writableLength > MAX_BUFFERED) {
      this.end();
      this.#response.destroy();
    }
  }
}

/** The version a list or watch starts at: undefined = from the current state. Throws for nonsense and for the future. */
export const startVersion = (query: URLSearchParams, current: number): number | undefined => {
  const text = query.get('resourceVersion') ?? '';
  if (text === '' || text === '0') return undefined;
  if (!/^\d{1,15}$/.test(text)) {
    const shown = JSON.stringify(text);
    throw badRequest(`invalid resource version: resourceVersion: Invalid value: ${shown}: strconv.ParseUint: parsing ${shown}: invalid syntax`);
  }
  const version = Number(text);
  if (version > current) throw versionTooLarge(text, String(current));
  return version;
};

/** The event a watch with this selector sees for a change, if any: leaving the selection is a deletion, entering an addition. */
const seenAs = (change: Change, selector: Selector): ChangeType | undefined => {
  const now = selector.matches(change, labelsOf(change.object), change.object);
  const before = change.labelsBefore !== undefined && selector.matches(change, change.labelsBefore, change.object);
  if (change.type === 'DELETED') return before ? 'DELETED' : undefined;
  if (now) return before ? 'MODIFIED' : 'ADDED';
  return before ? 'DELETED' : undefined;
};

/** What left the selection, with the labels by which it was in it. */
const asItWas = ({ object, labelsBefore }: Change): JsonObject =>
  withMetadata(object, { labels: Object.keys(labelsBefore ?? {}).length > 0 ? labelsBefore : undefined });

export interface WatchScope {
  /** `taskagents.clrk.apoxy.dev` */
  readonly resource: string;
  /** Empty = all. */
  readonly namespace: string;
  readonly selector: Selector;
}

/** Serves a watch of stored objects. Everything up to the subscription happens in one turn, so nothing falls in between. */
export const watchStore = (store: Store, scope: WatchScope, response: ServerResponse, options: WatchOptions): EventStream => {
  const { resource, namespace, selector } = scope;
  const from = startVersion(options.query, store.version);
  const initial = from === undefined || options.sendInitialEvents;
  const missed = initial ? [] : store.since(resource, from);
  const stream = new EventStream(response, options);
  if (!missed) {
    stream.fail(expired(`too old resource version: ${from} (${store.version})`));
    return stream;
  }
  let sent = store.version;
  const deliver = (change: Change): void => {
    if (change.resource !== resource || (namespace && change.namespace !== namespace)) return;
    const type = seenAs(change, selector);
    if (type) stream.send(type, type === 'DELETED' && change.type !== 'DELETED' ? asItWas(change) : change.object);
    sent = Math.max(sent, change.version);
  };
  if (initial) {
    for (const object of store.list(resource, { namespace: namespace || selector.namespace, name: selector.name })) {
      const { name, namespace: own } = object.metadata;
      if (selector.matches({ name, namespace: String(own ?? '') }, labelsOf(object), object)) stream.send('ADDED', object);
    }
  } else for (const change of missed) deliver(change);

  const bookmarks = options.query.get('allowWatchBookmarks') === 'true';
  if (initial && bookmarks && options.sendInitialEvents) stream.bookmark(store.version, true);
  stream.onEnd(store.subscribe(deliver));
  if (bookmarks) {
    let marked = sent;
    const mark = (): void => {
      if (store.version > marked) stream.bookmark((marked = store.version));
    };
    const timer = setInterval(mark, BOOKMARK_MS);
    const last = setTimeout(mark, Math.max(0, stream.timeoutMs - 2000));
    stream.onEnd(() => {
      clearInterval(timer);
      clearTimeout(last);
    });
  }
  return stream;
};
