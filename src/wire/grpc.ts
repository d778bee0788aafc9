import * as grpc from '@grpc/grpc-js';
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
import { MAX_MESSAGE_BYTES, pathOf } from './server.ts';

/**
 * gRPC clients on Unix sockets from protobuf-es service descriptors: `connect` gives an object of async functions. Unary =
 * promise; a streamed side is an async iterable. Messages have the shapes of model records.
 */

type Caller<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: MessageInitShape<M['input']>, options?: { signal?: AbortSignal; timeoutMs?: number }) => Promise<MessageShape<M['output']>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: MessageInitShape<M['input']>, options?: { signal?: AbortSignal }) => AsyncIterable<MessageShape<M['output']>>
    : (requests: AsyncIterable<MessageInitShape<M['input']>>, options?: { signal?: AbortSignal }) => AsyncIterable<MessageShape<M['output']>>;

/** A connected service. `close` ends its connection. */
export type Client<S extends DescService> = { readonly [K in keyof S['method']]: Caller<S['method'][K]> } & { close(): void };

const encode =
  (schema: DescMessage) =>
  (value: unknown): Buffer =>
    Buffer.from(toBinary(schema, create(schema, value as never)));
const decode =
  (schema: DescMessage) =>
  (bytes: Buffer): unknown =>
    fromBinary(schema, bytes);

const OPTIONS = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc-node.flow_control_window': 1 << 20,
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

const callerOf = (client: grpc.Client, service: DescService, method: DescMethod): unknown => {
  const at = pathOf(service, method);
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

const pump = async (from: AsyncIterable<unknown>, to: grpc.ClientDuplexStream<unknown, unknown>): Promise<void> => {
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
