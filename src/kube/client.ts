import { Agent, request as undiciRequest, type Dispatcher } from 'undici';
import { apiVersionOf, type KubeObject, type ObjectMeta } from '#api';
import { ClrkError, messageOf } from '#lib';
import { toApiError } from './api-error.ts';
import { listQuery, pathOf, queryOf, type ListOptions, type ResourceKind } from './paths.ts';
import { readWatch, type WatchEvent } from './watch.ts';

/** Where an API server is and who calls it. PEM texts. */
export interface ClientConfig {
  /** `https://127.0.0.1:6443`, without a slash at the end. */
  readonly server: string;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly token?: string | undefined;
  /** Name the server's certificate is verified against, when it is not the host of `server`. */
  readonly serverName?: string | undefined;
  /** Name of the program, which servers record as the manager of fields it writes; `clrk` by default. */
  readonly userAgent?: string;
}

export interface KubeList<T> {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly T[];
}

export interface RawOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly signal?: AbortSignal;
  /** Longest silence before the answer's head and inside its body, in milliseconds; 0 (the default) = no limit. */
  readonly idleMs?: number;
}

export interface RawResponse {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read to its end or destroyed. */
  readonly body: Dispatcher.ResponseData['body'];
}

export interface ApplyOptions {
  readonly fieldManager: string;
  /** Take over fields that another manager owns. */
  readonly force?: boolean;
  /** The server answers as if, and keeps nothing. */
  readonly dryRun?: boolean;
}

export interface DeleteOptions {
  /** What happens to the objects it owns; the server's default when absent. */
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  /** Refused with Conflict when the object is another one by now. */
  readonly uid?: string;
  readonly dryRun?: boolean;
}

/** What is written: as little of an object as the call needs. `apiVersion` and `kind` come from the kind. */
export type Writable = { readonly metadata: Pick<ObjectMeta, 'name'> & Partial<ObjectMeta>; readonly [field: string]: unknown };
type Body<T extends KubeObject> = T | Writable;

/** A Kubernetes API server. Refusals throw ApiError, an unreachable server ClrkError ApiUnreachable. */
export interface Client extends AsyncDisposable {
  readonly config: ClientConfig;
  /** undefined when there is none. */
  get<T extends KubeObject>(kind: ResourceKind<T>, namespace: string, name: string): Promise<T | undefined>;
  list<T extends KubeObject>(kind: ResourceKind<T>, options?: ListOptions): Promise<KubeList<T>>;
  create<T extends KubeObject>(kind: ResourceKind<T>, object: Body<T>): Promise<T>;
  /** Replaces the whole object; a `metadata.resourceVersion` that is not the current one is refused with Conflict. */
  update<T extends KubeObject>(kind: ResourceKind<T>, object: Body<T>): Promise<T>;
  /** JSON merge patch (RFC 7386). */
  patch<T extends KubeObject>(kind: ResourceKind<T>, namespace: string, name: string, patch: object): Promise<T>;
  patchStatus<T extends KubeObject>(kind: ResourceKind<T>, namespace: string, name: string, status: object): Promise<T>;
  /** Server-side apply: makes or changes the object so that exactly these fields are ours. */
  apply<T extends KubeObject>(kind: ResourceKind<T>, object: Body<T>, options: ApplyOptions): Promise<T>;
  applyStatus<T extends KubeObject>(kind: ResourceKind<T>, object: Body<T>, options: ApplyOptions): Promise<T>;
  /** False when there was none. */
  delete(kind: ResourceKind, namespace: string, name: string, options?: DeleteOptions): Promise<boolean>;
  /** Ends when the server ends the watch; a refusal, also one inside the stream (410), throws ApiError. */
  watch<T extends KubeObject>(
    kind: ResourceKind<T>,
    options: ListOptions & { readonly timeoutSeconds?: number; readonly allowWatchBookmarks?: boolean },
  ): AsyncGenerator<WatchEvent<T>, void>;
  /** Any call; the answer comes whatever its status. */
  request(method: string, path: string, options?: RawOptions): Promise<RawResponse>;
  /** Any call with a JSON answer; a status of 400 or more throws ApiError. */
  json<T>(method: string, path: string, options?: RawOptions): Promise<T>;
}

const jsonBody = (body: object, type = 'application/json'): RawOptions => ({ headers: { 'content-type': type }, body: JSON.stringify(body) });

const deleteBody = ({ propagationPolicy, uid, dryRun }: DeleteOptions): object => ({
  apiVersion: 'v1',
  kind: 'DeleteOptions',
  ...(propagationPolicy && { propagationPolicy }),
  ...(uid && { preconditions: { uid } }),
  ...(dryRun && { dryRun: ['All'] }),
});

/** Ordinary calls may be silent this long. */
const IDLE_MS = 30_000;

const agentOf = ({ ca, cert, key, serverName }: ClientConfig): Agent =>
  new Agent({
    // HTTP/1.1: a watch holds a connection of its own, everything else reuses one.
    allowH2: false,
    keepAliveTimeout: 30_000,
    connect: { timeout: 10_000, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(serverName && { servername: serverName }) },
  });

/** A client of one API server. Connections are made when used. */
export const createClient = (config: ClientConfig): Client => {
  const agent = agentOf(config);
  const authorization = config.token ? { authorization: `Bearer ${config.token}` } : {};

  const request = async (method: string, path: string, { headers, body, signal, idleMs = 0 }: RawOptions = {}): Promise<RawResponse> => {
    try {
      const answer = await undiciRequest(`${config.server}${path}`, {
        dispatcher: agent,
        method: method as Dispatcher.HttpMethod,
        headers: { accept: 'application/json', 'user-agent': config.userAgent ?? 'clrk', ...headers, ...authorization },
        body: body ?? null,
        signal: signal ?? null,
        headersTimeout: idleMs,
        bodyTimeout: idleMs,
      });
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw new ClrkError('ApiUnreachable', { url: config.server, cause: messageOf(error) }, { cause: error });
    }
  };

  const json = async <T>(method: string, path: string, options: RawOptions = {}): Promise<T> => {
    const response = await request(method, path, { idleMs: IDLE_MS, ...options });
    const text = await response.body.text();
    if (response.status >= 400) throw toApiError(response.status, text);
    return JSON.parse(text) as T;
  };

  const send = <T>(method: string, path: string, body: object, type?: string): Promise<T> => json<T>(method, path, jsonBody(body, type));
  const whole = (kind: ResourceKind, object: Writable | KubeObject): object => ({ ...object, apiVersion: apiVersionOf(kind), kind: kind.kind });
  const at = (kind: ResourceKind, { metadata }: Writable | KubeObject, subresource?: string): string =>
    pathOf(kind, metadata.namespace, metadata.name, subresource);
  const applyTo = <T>(path: string, body: object, { fieldManager, force, dryRun }: ApplyOptions): Promise<T> =>
    send(
      'PATCH',
      `${path}${queryOf({ fieldManager, force: force ? true : undefined, dryRun: dryRun ? 'All' : undefined, fieldValidation: 'Strict' })}`,
      // YAML of an apply patch: JSON is a part of it.
      body,
      'application/apply-patch+yaml',
    );
  const orAbsent = <T>(error: unknown, value: T): T => {
    if (error instanceof Error && 'code' in error && error.code === 404) return value;
    throw error;
  };

  return {
    config,
    request,
    json,
    get: (kind, namespace, name) => json<never>('GET', pathOf(kind, namespace, name)).catch((error) => orAbsent(error, undefined)),
    list: (kind, options = {}) =>
      json('GET', `${pathOf(kind, options.namespace)}${queryOf(listQuery(options))}`, { ...(options.signal && { signal: options.signal }) }),
    create: (kind, object) => send('POST', pathOf(kind, object.metadata.namespace), whole(kind, object)),
    update: (kind, object) => send('PUT', at(kind, object), whole(kind, object)),
    patch: (kind, namespace, name, patch) => send('PATCH', pathOf(kind, namespace, name), patch, 'application/merge-patch+json'),
    patchStatus: (kind, namespace, name, status) => send('PATCH', pathOf(kind, namespace, name, 'status'), { status }, 'application/merge-patch+json'),
    apply: (kind, object, options) => applyTo(at(kind, object), whole(kind, object), options),
    applyStatus: (kind, object, options) => applyTo(at(kind, object, 'status'), whole(kind, object), options),
    delete: (kind, namespace, name, options) =>
      json('DELETE', pathOf(kind, namespace, name), options && jsonBody(deleteBody(options))).then(
        () => true,
        (error) => orAbsent(error, false),
      ),
    async *watch(kind, { timeoutSeconds = 240, allowWatchBookmarks = true, ...options }) {
      const query = queryOf({ ...listQuery(options), watch: true, allowWatchBookmarks, timeoutSeconds });
      // A quiet watch may say nothing until it times out; a server that says nothing after that is gone.
      const idleMs = (timeoutSeconds + 30) * 1000;
      const response = await request('GET', `${pathOf(kind, options.namespace)}${query}`, { idleMs, ...(options.signal && { signal: options.signal }) });
      if (response.status >= 400) throw toApiError(response.status, await response.body.text());
      yield* readWatch(response.body);
    },
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
};
