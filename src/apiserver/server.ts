import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { KINDS, type ExtraGroup, type Kind } from '#api';
import { kubeTime, messageOf, sha256Hex, systemClock, type Clock, type Logger } from '#lib';
import { allows, authenticate, authorise, type Attributes, type Principal } from './access.ts';
import { Catalogue } from './catalogue.ts';
import { Collector } from './collector.ts';
import * as discovery from './discovery.ts';
import { Expirer } from './expirer.ts';
import { ExtraHandler } from './extra-handler.ts';
import { decodeSegment, negotiate, sendError, sendObject, sendText, type Answer } from './http.ts';
import { Objects, PERMANENT_NAMESPACES } from './objects.ts';
import { openApi, OPENAPI_V2, type OpenApi } from './openapi.ts';
import { REVIEWS } from './reviews.ts';
import { route } from './route.ts';
import { SERVICES } from './services.ts';
import { badRequest, methodNotAllowed, StatusError } from './status.ts';
import { Store } from './store.ts';
import { StoredHandler } from './stored-handler.ts';

export interface ApiServerOptions {
  /** SQLite file; made with mode 0600 when it does not exist. */
  readonly database: string;
  /** PEM. `ca` is the authority of client certificates. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly kinds?: readonly Kind[];
  readonly extraGroups?: readonly ExtraGroup[];
  readonly log: Logger;
  readonly clock?: Clock;
  /** How many changes a watch can go back. */
  readonly keepChanges?: number;
  /** Told of each request for objects, before it is served, and whether it is allowed. */
  readonly audit?: (principal: Principal, attributes: Attributes, allowed: boolean) => void;
}

export interface ApiServer extends AsyncDisposable {
  /** Starts to serve; resolves to the port. */
  listen(port: number, host?: string): Promise<number>;
}

/** What the server says it is: the Kubernetes version whose behaviour it follows. */
const VERSION = {
  major: '1',
  minor: '32',
  gitVersion: 'v1.32.0+clrk',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: 'node',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};
const JSON_ANSWER: Answer = negotiate('application/json');
/** What is no request still gets an answer of the usual form. */
const refuseBytes = (error: NodeJS.ErrnoException, socket: Duplex): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const long = error.code === 'HPE_HEADER_OVERFLOW';
  const status = long
    ? new StatusError(431, 'RequestHeaderFieldsTooLarge', 'the head of the request is too long')
    : badRequest(`this is no HTTP request: ${error.message}`);
  const body = JSON.stringify(status.body());
  const head = `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code]}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`;
  socket.end(head + body);
};

const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** An embedded Kubernetes API server: kinds in SQLite, TLS with client certificates, kubectl and client-go as clients. */
export const createApiServer = (options: ApiServerOptions): ApiServer => new EmbeddedServer(options);

class EmbeddedServer implements ApiServer {
  readonly #log: Logger;
  readonly #audit: NonNullable<ApiServerOptions['audit']>;
  readonly #catalogue: Catalogue;
  readonly #openApi: OpenApi;
  readonly #store: Store;
  readonly #collector: Collector;
  readonly #expirer: Expirer;
  readonly #stored: StoredHandler;
  readonly #extra: ExtraHandler;
  readonly #server: Server;
  readonly #stopping = new AbortController();
  /** Watches that go on; they end with the server. */
  readonly #streams = new Set<{ end(): void }>();

  constructor({ database, tls, kinds = KINDS, extraGroups = [], log, clock = systemClock, keepChanges, audit = () => {} }: ApiServerOptions) {
    this.#audit = audit;
    this.#log = log;
    this.#catalogue = new Catalogue(kinds, [...REVIEWS, SERVICES, ...extraGroups]);
    this.#openApi = openApi(this.#catalogue);
    this.#store = new Store(database, keepChanges);
    const objects = new Objects(this.#store, clock);
    this.#makeNamespaces(objects, clock);
    this.#collector = new Collector(objects, this.#catalogue, log);
    this.#expirer = new Expirer(objects, kinds, clock, log);
    this.#stored = new StoredHandler(objects, clock);
    this.#extra = new ExtraHandler(clock);
    this.#server = createServer(
      { ca: tls.ca, cert: tls.cert, key: tls.key, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2', keepAliveTimeout: 120_000 },
      (request, response) => void this.#serve(request, response),
    );
    // Watches last as long as they say; only the head of a request has a deadline.
    this.#server.requestTimeout = 0;
    this.#server.on('clientError', refuseBytes);
    this.#server.on('tlsClientError', (error) => log.debug(`TLS: ${messageOf(error)}`));
  }

  async listen(port: number, host = '127.0.0.1'): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the server stops'));
    for (const stream of this.#streams) stream.end();
    this.#collector.close();
    this.#expirer.close();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeIdleConnections();
      setTimeout(() => this.#server.closeAllConnections(), 200).unref();
    });
    this.#store.close();
  }

  #makeNamespaces(objects: Objects, clock: Clock): void {
    const kind = this.#catalogue.find('', 'v1', 'namespaces')?.stored;
    if (!kind) return;
    for (const name of PERMANENT_NAMESPACES) {
      if (this.#store.get({ resource: 'namespaces', namespace: '', name })) continue;
      this.#log.debug(`making namespace ${name}`, { time: kubeTime(clock.now()) });
      const value = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { 'kubernetes.io/metadata.name': name } } };
      objects.create(
        { kind, namespace: '', name, subresource: '' },
        { value, duplicates: [] },
        { manager: 'clrk', fieldValidation: 'Strict', dryRun: false, warn: () => {} },
      );
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => {});
    response.on('error', () => {});
    try {
      await this.#dispatch(request, response);
    } catch (error) {
      if (error instanceof StatusError) {
        // The rest of a refused body is not read.
        if (error.code === 413) response.setHeader('Connection', 'close');
        return sendError(response, error);
      }
      if (response.destroyed) return;
      this.#log.error(`${request.method} ${(request.url ?? '').split('?')[0]} failed`, { err: error });
      sendError(response, new StatusError(500, 'InternalError', `Internal error occurred: ${messageOf(error)}`));
    }
  }

  async #dispatch(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const principal = authenticate(request);
    const [path = '/', search = ''] = (request.url ?? '/').split('?', 2);
    const query = new URLSearchParams(search);
    const method = request.method ?? 'GET';
    const target = route(this.#catalogue, method, path, query);
    if (!target) return this.#fixed(request, response, method, path);
    const { served, verb, namespace, name, subresource } = target;
    const attributes = { verb, group: served.group, resource: served.plural, subresource, namespace, name };
    this.#audit(principal, attributes, allows(principal, attributes));
    authorise(principal, attributes);
    // The handler of a subresource (`invoke`) decides itself what it answers with.
    const answer = served.extra && subresource ? JSON_ANSWER : negotiate(request.headers.accept);
    const exchange = { request, response, query, answer };
    if (!served.stored) return this.#extraRequest(target, exchange, principal);
    const stream = await this.#stored.handle(target, served.stored, exchange);
    if (!stream) return;
    this.#streams.add(stream);
    stream.onEnd(() => this.#streams.delete(stream));
  }

  async #extraRequest(target: Parameters<ExtraHandler['handle']>[0], exchange: Parameters<ExtraHandler['handle']>[2], principal: Principal): Promise<void> {
    const { extra } = target.served;
    if (extra) await this.#extra.handle(target, extra, exchange, principal, this.#stopping.signal);
  }

  /** What is the same for everybody: health, version, discovery, OpenAPI. */
  #fixed(request: IncomingMessage, response: ServerResponse, method: string, path: string): void {
    if (/^\/(healthz|readyz|livez)(\/.*)?$/.test(path)) return sendText(response, 200, 'ok');
    const text = (object: object): void => this.#cached(request, response, JSON.stringify(object));
    const known = this.#document(request, response, path, text);
    if (!known) return sendText(response, 404, '404 page not found\n');
    if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed();
    known();
  }

  #document(request: IncomingMessage, response: ServerResponse, path: string, text: (object: object) => void): (() => void) | undefined {
    const aggregated = (core: boolean, legacy: () => object) => () => {
      const { aggregated: wanted } = negotiate(request.headers.accept);
      if (!wanted) return text(legacy());
      this.#cached(request, response, JSON.stringify(discovery.aggregated(this.#catalogue, core)), AGGREGATED);
    };
    const [, root, ...rest] = path.replace(/\/$/, '').split('/').map(decodeSegment);
    if (root === undefined || root === '') return () => text({ paths: this.#paths() });
    if (root === 'version' && rest.length === 0) return () => sendObject(response, 200, VERSION);
    if (root === 'api' && rest.length === 0) return aggregated(true, discovery.coreVersions);
    if (root === 'apis' && rest.length === 0) return aggregated(false, () => discovery.apiGroups(this.#catalogue));
    if (root === 'openapi' && rest.length === 1 && rest[0] === 'v2') {
      const { protobuf, protobufType, json } = OPENAPI_V2;
      if (!request.headers.accept?.includes('protobuf')) return () => text(json);
      return () => void response.writeHead(200, { 'Content-Type': protobufType, 'Content-Length': protobuf.length }).end(protobuf);
    }
    if (root === 'openapi' && rest[0] === 'v3') {
      if (rest.length === 1) return () => text(this.#openApi.root);
      const found = this.#openApi.documents.get(rest.slice(1).join('/'));
      return found && (() => this.#cached(request, response, found.text));
    }
    if (root === 'apis' && rest.length === 1) {
      const group = discovery.apiGroup(this.#catalogue, rest[0]!);
      return group && (() => text(group));
    }
    const version =
      root === 'api' && rest.length === 1
        ? this.#catalogue.groupVersion('', rest[0]!)
        : root === 'apis' && rest.length === 2
          ? this.#catalogue.groupVersion(rest[0]!, rest[1]!)
          : undefined;
    return version && (() => text(discovery.apiResources(version)));
  }

  /** What there is to read beside objects. */
  #paths(): string[] {
    const versions = this.#catalogue.groupVersions.map(({ group, version }) => (group ? `/apis/${group}/${version}` : `/api/${version}`));
    const groups = versions.filter((path) => path.startsWith('/apis/')).map((path) => path.slice(0, path.lastIndexOf('/')));
    return [...new Set(['/api', '/apis', ...versions, ...groups, '/healthz', '/livez', '/openapi/v2', '/openapi/v3', '/readyz', '/version'])].toSorted();
  }

  #cached(request: IncomingMessage, response: ServerResponse, body: string, type = 'application/json'): void {
    const etag = `"${sha256Hex(body).toUpperCase()}"`;
    const headers = { 'Content-Type': type, ETag: etag, Vary: 'Accept', 'Cache-Control': 'public' };
    if (request.headers['if-none-match'] !== etag) return sendText(response, 200, body, headers);
    response.writeHead(304, headers);
    response.end();
  }
}
