import http2 from 'node:http2';
import { chmodSync, rmSync } from 'node:fs';
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { AsyncQueue } from '#lib';

/**
 * gRPC over Unix sockets from protobuf-es service descriptors: `serve` takes an object of async functions, `connect` gives one.
 * Unary = promise; a streamed side is an async iterable. Messages have the shapes of model records.
 */

// Envoy ends each ext_proc stream with RST_STREAM, and Node's rapid-reset guard would then close the shared connection.
// grpc-js has no option for it, so its http2 server is made with the guard raised: only our own processes reach these sockets.
const createServer = http2.createServer as unknown as (options: object, listener?: unknown) => http2.Http2Server;
(http2 as { createServer: unknown }).createServer = (options: object, listener?: unknown) =>
  createServer({ ...options, streamResetBurst: 1e9, streamResetRate: 1e9 }, listener);
const grpc = await import('@grpc/grpc-js');
export const status = grpc.status;

type Input<M extends DescMethod> = MessageShape<M['input']>;
type Output<M extends DescMethod> = MessageInitShape<M['output']>;
export interface CallContext {
  readonly signal: AbortSignal;
  /** Request metadata (lower-case keys). */
  metadata(key: string): string | undefined;
}

type Handler<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: Input<M>, context: CallContext) => Promise<Output<M>> | Output<M>
  : M['methodKind'] extends 'server_streaming'
    ? (request: Input<M>, context: CallContext) => AsyncIterable<Output<M>>
    : (requests: AsyncIterable<Input<M>>, context: CallContext) => AsyncIterable<Output<M>>;

/** The handlers of a service: one function for each method, by its local name. */
export type Implementation<S extends DescService> = { readonly [K in keyof S['method']]: Handler<S['method'][K]> };

type Caller<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: MessageInitShape<M['input']>, options?: { signal?: AbortSignal; timeoutMs?: number }) => Promise<MessageShape<M['output']>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: MessageInitShape<M['input']>, options?: { signal?: AbortSignal }) => AsyncIterable<MessageShape<M['output']>>
    : (requests: AsyncIterable<MessageInitShape<M['input']>>, options?: { signal?: AbortSignal }) => AsyncIterable<MessageShape<M['output']>>;

/** A connected service. `close` ends its connection. */
export type Client<S extends DescService> = { readonly [K in keyof S['method']]: Caller<S['method'][K]> } & { close(): void };

const path = (service: DescService, method: DescMethod): string => `/${service.typeName}/${method.name}`;
const encode =
  (schema: DescMessage) =>
  (value: unknown): Buffer =>
    Buffer.from(toBinary(schema, create(schema, value as never)));
const decode =
  (schema: DescMessage) =>
  (bytes: Buffer): unknown =>
    fromBinary(schema, bytes);

const OPTIONS = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.max_send_message_length': 64 * 1024 * 1024,
  'grpc-node.flow_control_window': 1 << 20,
};

/** An error a handler throws to answer with a chosen gRPC status. Other errors answer INTERNAL with their message. */
export class RpcError extends Error {
  readonly code: number;
  constructor(code: keyof typeof grpc.status, message: string) {
    super(message);
    this.code = grpc.status[code];
  }
}

const toStatus = (error: unknown): { code: number; details: string } => ({
  code: error instanceof RpcError ? error.code : grpc.status.INTERNAL,
  details: error instanceof Error ? error.message : String(error),
});

/** A server of one or more services on a Unix socket (mode 0600 unless said). Ends with `await using`. */
export interface RpcServer extends AsyncDisposable {
  add<S extends DescService>(service: S, implementation: Implementation<S>): RpcServer;
  listen(socket: string, mode?: number): Promise<void>;
}

export const createRpcServer = (): RpcServer => {
  const server = new grpc.Server(OPTIONS);
  const self: RpcServer = {
    add(service, implementation) {
      const methods: Record<string, unknown> = {};
      const handlers: Record<string, unknown> = {};
      for (const method of service.methods) {
        const key = method.localName as keyof typeof implementation & string;
        methods[key] = {
          path: path(service, method),
          requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
          responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
          requestDeserialize: decode(method.input),
          responseSerialize: encode(method.output),
          requestSerialize: encode(method.input),
          responseDeserialize: decode(method.output),
        };
        handlers[key] = handlerOf(method, implementation[key] as never);
      }
      server.addService(methods as never, handlers as never);
      return self;
    },
    async listen(socket, mode = 0o600) {
      rmSync(socket, { force: true });
      await new Promise<void>((resolve, reject) =>
        server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())),
      );
      chmodSync(socket, mode);
    },
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
  return self;
};

const handlerOf = (method: DescMethod, implement: (request: unknown, context: CallContext) => unknown) => {
  const contextOf = (call: { metadata: { get(key: string): unknown[] }; on(event: 'cancelled', listener: () => void): unknown }): CallContext => {
    const abort = new AbortController();
    call.on('cancelled', () => abort.abort());
    return { signal: abort.signal, metadata: (key) => call.metadata.get(key)[0]?.toString() };
  };
  if (method.methodKind === 'unary') {
    return async (call: never, callback: (error: object | null, value?: unknown) => void) => {
      try {
        callback(null, await implement((call as { request: unknown }).request, contextOf(call)));
      } catch (error) {
        callback(toStatus(error));
      }
    };
  }
  return async (call: never) => {
    const stream = call as import('@grpc/grpc-js').ServerDuplexStream<unknown, unknown>;
    const context = contextOf(call);
    const input = method.methodKind === 'server_streaming' ? (stream as unknown as { request: unknown }).request : readable(stream);
    try {
      for await (const message of implement(input, context) as AsyncIterable<unknown>) {
        if (context.signal.aborted) return;
        if (!stream.write(message)) await drained(stream);
      }
      stream.end();
    } catch (error) {
      if (!context.signal.aborted) stream.emit('error', toStatus(error));
    }
  };
};

/** What a peer sends, until it ends or goes away (both end the iteration; a server must not read intent into either). */
const readable = (stream: NodeJS.EventEmitter): AsyncIterable<unknown> => {
  const queue = new AsyncQueue<unknown>();
  stream.on('data', (message: unknown) => queue.push(message));
  for (const event of ['end', 'error', 'cancelled', 'close']) stream.on(event, () => queue.end());
  return queue;
};

/** Resolves when a stream takes more, or never will. */
const drained = (stream: NodeJS.EventEmitter): Promise<void> =>
  new Promise((resolve) => {
    const events = ['drain', 'cancelled', 'close'];
    const done = (): void => {
      for (const event of events) stream.off(event, done);
      resolve();
    };
    for (const event of events) stream.on(event, done);
  });

/** A client of one service on a Unix socket. It connects when used and reconnects by itself within half a second. */
export const connect = <S extends DescService>(service: S, socket: string): Client<S> => {
  const client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), {
    ...OPTIONS,
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 500,
  });
  const result: Record<string, unknown> = { close: () => client.close() };
  for (const method of service.methods) result[method.localName] = callerOf(client, service, method);
  return result as Client<S>;
};

const callerOf = (client: import('@grpc/grpc-js').Client, service: DescService, method: DescMethod): unknown => {
  const at = path(service, method);
  const serialize = encode(method.input);
  const deserialize = decode(method.output);
  if (method.methodKind === 'unary') {
    return (request: unknown, options: { signal?: AbortSignal; timeoutMs?: number } = {}) =>
      new Promise((resolve, reject) => {
        const deadline = options.timeoutMs ? { deadline: Date.now() + options.timeoutMs } : {};
        const call = client.makeUnaryRequest(at, serialize, deserialize, request, deadline, (error, value) => {
          options.signal?.removeEventListener('abort', cancel);
          if (error) reject(error);
          else resolve(value);
        });
        const cancel = (): void => call.cancel();
        options.signal?.addEventListener('abort', cancel, { once: true });
      });
  }
  return async function* (request: unknown, options: { signal?: AbortSignal } = {}): AsyncGenerator<unknown, void> {
    const call =
      method.methodKind === 'server_streaming'
        ? client.makeServerStreamRequest(at, serialize, deserialize, request, {})
        : client.makeBidiStreamRequest(at, serialize, deserialize, {});
    const cancel = (): void => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
    if (method.methodKind !== 'server_streaming') void pump(request as AsyncIterable<unknown>, call as never);
    try {
      for await (const message of call) yield message;
    } catch (error) {
      if (!options.signal?.aborted) throw error;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  };
};

const pump = async (from: AsyncIterable<unknown>, to: import('@grpc/grpc-js').ClientDuplexStream<unknown, unknown>): Promise<void> => {
  try {
    for await (const message of from) {
      if (to.destroyed || to.writableEnded) return;
      if (!to.write(message)) await drained(to);
    }
    to.end();
  } catch {
    to.cancel();
  }
};
