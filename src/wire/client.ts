import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { createConnection } from 'node:net';
import { messageOf } from '#lib';
import { create, fromBinary, toBinary, type DescMethod, type DescService, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { drained, frameOf, frames, MIB, pathOf } from './frame.ts';
import { RpcError } from './status.ts';

/**
 * gRPC clients on Unix sockets from protobuf-es service descriptors: `connect` gives an object of async functions. Unary =
 * promise; a streamed side is an async iterable. Messages have the shapes of model records; errors are RpcError.
 */

export interface CallOptions {
  /** Gives the call up: a unary one rejects with CANCELLED, a stream ends. */
  readonly signal?: AbortSignal;
}

type Caller<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: MessageInitShape<M['input']>, options?: CallOptions & { timeoutMs?: number }) => Promise<MessageShape<M['output']>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: MessageInitShape<M['input']>, options?: CallOptions) => AsyncIterable<MessageShape<M['output']>>
    : (requests: AsyncIterable<MessageInitShape<M['input']>>, options?: CallOptions) => AsyncIterable<MessageShape<M['output']>>;

/** A connected service. `close` ends its connection, and with it what still waits. */
export type Client<S extends DescService> = { readonly [K in keyof S['method']]: Caller<S['method'][K]> } & { close(): void };

/** Calls on one connection; the ids of its streams end at 2^31, every other one ours. A flood of DNS questions gets there in days. */
const CALLS = 2 ** 29;

/** A client of one service on a Unix socket. It connects when used, and anew with the next call after its connection was lost or is worn out. */
export const connect = <S extends DescService>(service: S, socket: string, { calls = CALLS }: { readonly calls?: number } = {}): Client<S> => {
  const connection = new Connection(socket, calls);
  const result: Record<string, unknown> = { close: () => connection.close() };
  for (const method of service.methods) result[method.localName] = callerOf(connection, service, method);
  return result as Client<S>;
};

const callerOf = (connection: Connection, service: DescService, method: DescMethod): unknown => {
  const path = pathOf(service, method);
  const encode = (value: unknown): Buffer => frameOf(toBinary(method.input, create(method.input, value as never)));
  const decode = (bytes: Uint8Array): unknown => {
    try {
      return fromBinary(method.output, bytes);
    } catch (error) {
      throw new RpcError('INTERNAL', `the answer is not understood: ${messageOf(error)}`);
    }
  };
  if (method.methodKind === 'unary') {
    return (request: unknown, options: CallOptions & { timeoutMs?: number } = {}) => unary(connection, path, encode(request), decode, options);
  }
  const requests =
    method.methodKind === 'server_streaming' ? (request: unknown) => only(encode(request)) : (all: AsyncIterable<unknown>) => mapped(all, encode);
  return (request: never, options: CallOptions = {}) => streaming(connection, path, requests(request), decode, options);
};

async function* only<T>(value: T): AsyncGenerator<T, void> {
  yield value;
}

async function* mapped<T, U>(values: AsyncIterable<T>, map: (value: T) => U): AsyncGenerator<U, void> {
  for await (const value of values) yield map(value);
}

const unary = (
  connection: Connection,
  path: string,
  request: Buffer,
  decode: (bytes: Uint8Array) => unknown,
  { signal, timeoutMs }: CallOptions & { timeoutMs?: number },
): Promise<unknown> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(givenUp());
    const stream = connection.request(path);
    const verdict = verdictOf(stream);
    let answer: Uint8Array | undefined;
    const over = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
    };
    // Told at once: the close of the stream may be long in coming when the peer does not read.
    const fail = (error: Error): void => {
      over();
      reject(error);
      giveUp(stream);
    };
    const cancel = (): void => fail(givenUp());
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => fail(new RpcError('DEADLINE_EXCEEDED', `no answer within ${timeoutMs} ms`)), timeoutMs);
    signal?.addEventListener('abort', cancel, { once: true });
    const take = frames((bytes) => (answer = bytes));
    stream.on('data', (chunk: Buffer) => {
      try {
        take(chunk);
      } catch (error) {
        fail(error as Error);
      }
    });
    stream.once('close', () => {
      over();
      const error = verdict();
      try {
        if (error) reject(error);
        else if (answer) resolve(decode(answer));
        else reject(new RpcError('INTERNAL', 'the answer has no message'));
      } catch (cause) {
        reject(cause as Error);
      }
    });
    stream.end(request);
  });

async function* streaming(
  connection: Connection,
  path: string,
  requests: AsyncIterable<Buffer>,
  decode: (bytes: Uint8Array) => unknown,
  { signal }: CallOptions,
): AsyncGenerator<unknown, void> {
  if (signal?.aborted) return;
  const stream = connection.request(path);
  const verdict = verdictOf(stream);
  const closed = new Promise<void>((resolve) => stream.once('close', resolve));
  const cancel = (): void => giveUp(stream);
  signal?.addEventListener('abort', cancel, { once: true });
  void pump(requests, stream);
  let messages: unknown[] = [];
  const take = frames((bytes) => messages.push(decode(bytes)));
  try {
    // As fast as the reader takes them: an unread stream is not read on.
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      take(chunk);
      const taken = messages;
      messages = [];
      for (const message of taken) {
        if (signal?.aborted) return;
        yield message;
      }
    }
    // The server's last word, which it may say while we could still send.
    giveUp(stream, http2.constants.NGHTTP2_NO_ERROR);
    await closed;
  } catch (error) {
    if (signal?.aborted) return;
    // Why it broke off is known once it is closed.
    cancel();
    await closed;
    throw error instanceof RpcError ? error : (verdict() ?? error);
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
  const error = signal?.aborted ? undefined : verdict();
  if (error) throw error;
}

const pump = async (requests: AsyncIterable<Buffer>, stream: ClientHttp2Stream): Promise<void> => {
  try {
    for await (const request of requests) {
      if (stream.destroyed || stream.writableEnded) return;
      if (!stream.write(request)) await drained(stream);
    }
    stream.end();
  } catch {
    giveUp(stream);
  }
};

/**
 * Resets a call. Node closes a stream only when the reset is on its way, which a peer that does not read puts off for ever; so
 * it is destroyed, too, once the reset is in the session's hands.
 */
const giveUp = (stream: ClientHttp2Stream, code: number = http2.constants.NGHTTP2_CANCEL): void => {
  stream.close(code);
  setImmediate(() => stream.destroy());
};

const givenUp = (): RpcError => new RpcError('CANCELLED', 'the call was given up');

/** Listens to how a call ends; after its close, the error it ended with, or undefined. */
const verdictOf = (stream: ClientHttp2Stream): (() => RpcError | undefined) => {
  let said: IncomingHttpHeaders = {};
  let broken: Error | undefined;
  stream.once('response', (headers) => (said = headers));
  stream.once('trailers', (headers) => (said = headers));
  stream.on('error', (error) => (broken ??= error));
  return () => {
    const code = said['grpc-status'];
    if (code === '0') return undefined;
    if (code !== undefined) return RpcError.of(Number(code), textOf(said['grpc-message']));
    const http = String(said[':status'] ?? 200);
    if (http !== '200') return new RpcError('UNKNOWN', `the answer has HTTP status ${http}`);
    return new RpcError('UNAVAILABLE', broken?.message ?? 'the connection was lost');
  };
};

const textOf = (encoded: string | string[] | undefined): string => {
  const text = String(encoded ?? '');
  try {
    return decodeURI(text);
  } catch {
    return text;
  }
};

/** One HTTP/2 session, made when it is needed, and others that only end their calls. */
class Connection {
  readonly #socket: string;
  readonly #calls: number;
  readonly #sessions = new Set<ClientHttp2Session>();
  #session: ClientHttp2Session | undefined;
  #made = 0;
  #closed = false;

  constructor(socket: string, calls: number) {
    this.#socket = socket;
    this.#calls = calls;
  }

  request(path: string): ClientHttp2Stream {
    return this.#connected().request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  }

  #connected(): ClientHttp2Session {
    if (this.#closed) throw new RpcError('UNAVAILABLE', 'the client was closed');
    const current = this.#session;
    if (current && !current.closed && !current.destroyed && this.#made++ < this.#calls) return current;
    current?.close();
    this.#made = 1;
    const session = http2.connect('http://clrk', {
      createConnection: () => createConnection(this.#socket),
      // Messages are bounded instead.
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
      peerMaxConcurrentStreams: 2 ** 31 - 1,
      settings: { initialWindowSize: MIB, enablePush: false },
    });
    session.on('error', () => {}); // each of its calls hears of it
    session.once('connect', () => session.destroyed || session.setLocalWindowSize(16 * MIB)); // it may have been closed meanwhile
    session.once('close', () => {
      this.#sessions.delete(session);
      if (this.#session === session) this.#session = undefined;
    });
    this.#sessions.add(session);
    return (this.#session = session);
  }

  close(): void {
    this.#closed = true;
    for (const session of this.#sessions) session.destroy();
  }
}
