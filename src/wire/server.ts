import http2, { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { create, fromBinary, toBinary, type DescMethod, type DescService, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { AsyncQueue } from '#lib';
import { drained, frameOf, frames, MIB, pathOf } from './frame.ts';
import { RpcError, status } from './status.ts';

/**
 * gRPC servers on Unix sockets, straight on `node:http2`: a call costs a quarter of one by grpc-js [measured], and Envoy makes
 * one for every request of an agent. Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, without
 * compression (never offered, so never used). Deadlines are the caller's: it resets the stream, which aborts the signal.
 */

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

/** A server of one or more services on a Unix socket. Ends with `await using`. */
export interface RpcServer extends AsyncDisposable {
  /** `served` chooses among the methods, for a socket whose clients may call only some; others answer UNIMPLEMENTED. */
  add<S extends DescService>(service: S, implementation: Implementation<S>, served?: (method: string) => boolean): RpcServer;
  /** Who may enter the socket's directory may call: the socket is open to its group, which the directory hands on. */
  listen(socket: string): Promise<void>;
}

interface Method {
  readonly desc: DescMethod;
  readonly implement: (request: unknown, context: CallContext) => unknown;
}

export const createRpcServer = (): RpcServer => {
  const methods = new Map<string, Method>();
  const sessions = new Set<ServerHttp2Session>();
  // Envoy ends ext_proc streams with RST_STREAM, and Node's rapid-reset guard would then close the shared connection; only our
  // own processes reach these sockets. The same goes for the bound on what a session may hold: messages are bounded instead.
  // The two reset options are missing in @types/node.
  const options = { streamResetBurst: 1e9, streamResetRate: 1e9, maxSessionMemory: Number.MAX_SAFE_INTEGER, settings: { initialWindowSize: MIB } };
  const server = http2.createServer(options);
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => {}); // each of its streams hears of it
    session.setLocalWindowSize(16 * MIB);
  });
  server.on('sessionError', () => {});
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const method = methods.get(headers[':path'] ?? '');
    const call = new Call(stream, headers);
    if (!headers['content-type']?.startsWith('application/grpc')) call.refuse(415);
    else if (!method) call.end(new RpcError('UNIMPLEMENTED', `no method ${headers[':path']}`));
    else void serve(method, call);
  });
  const self: RpcServer = {
    add(service, implementation, served = () => true) {
      for (const desc of service.methods.filter(({ localName }) => served(localName)))
        methods.set(pathOf(service, desc), { desc, implement: implementation[desc.localName as keyof typeof implementation] as never });
      return self;
    },
    async listen(socket) {
      // Made by the parent, with owner and group. A server that stands alone (a test) makes one nobody else enters.
      mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
      rmSync(socket, { force: true });
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socket, resolve));
      chmodSync(socket, 0o660);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const session of sessions) session.destroy();
    },
  };
  return self;
};

const serve = async ({ desc, implement }: Method, call: Call): Promise<void> => {
  const requests = call.messages(desc);
  try {
    if (desc.methodKind === 'unary') await call.write(desc, await implement(await only(requests), call));
    else {
      const input = desc.methodKind === 'server_streaming' ? await only(requests) : requests;
      for await (const message of implement(input, call) as AsyncIterable<unknown>) {
        if (call.aborted) return;
        await call.write(desc, message);
      }
    }
    call.end();
  } catch (error) {
    call.end(error);
  }
};

/** The one message of a call that is not a stream. */
const only = async (messages: AsyncIterable<unknown>): Promise<unknown> => {
  for await (const message of messages) return message;
  throw new RpcError('INVALID_ARGUMENT', 'a call without a message');
};

/** One call. Its response headers go out with the first message, so that both are one write. */
class Call implements CallContext {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  #abort: AbortController | undefined;
  #ended = false;
  /** The caller went away before the call had ended. */
  aborted = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.#stream = stream;
    this.#headers = headers;
    stream.on('error', () => {}); // followed by close
    stream.once('close', () => {
      if (this.#ended) return;
      this.aborted = true;
      this.#abort?.abort();
    });
  }

  /** A stream that is gone, but has not said so yet, throws when it is answered. */
  get #over(): boolean {
    return this.#ended || this.aborted || this.#stream.destroyed;
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.aborted) this.#abort.abort();
    return this.#abort.signal;
  }

  metadata(key: string): string | undefined {
    const value = this.#headers[key];
    return Array.isArray(value) ? value[0] : value;
  }

  /** What the caller sends, until it ends or goes away (both end the iteration; a handler must not read intent into either). */
  messages({ input }: DescMethod): AsyncIterable<unknown> {
    const queue = new AsyncQueue<unknown>();
    const take = frames((bytes) => queue.push(fromBinary(input, bytes)));
    this.#stream.on('data', (chunk: Buffer) => {
      try {
        take(chunk);
      } catch (error) {
        queue.end();
        this.end(error);
      }
    });
    this.#stream.once('end', () => queue.end());
    this.#stream.once('close', () => queue.end());
    return queue;
  }

  /** Resolves when the stream takes more, or never will. */
  async write({ output }: DescMethod, value: unknown): Promise<void> {
    if (this.#over) return;
    this.#begin();
    if (!this.#stream.write(frameOf(toBinary(output, create(output, value as never))))) await drained(this.#stream);
  }

  #begin(): void {
    if (!this.#stream.headersSent) this.#stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  }

  /** Ends the call with OK, or with the status of an error. */
  end(error?: unknown): void {
    if (this.#over) return;
    this.#ended = true;
    const trailers = trailersOf(error);
    if (!this.#stream.headersSent) {
      this.#stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...trailers }, { endStream: true });
      return;
    }
    this.#stream.once('wantTrailers', () => this.#stream.sendTrailers(trailers));
    this.#stream.end();
  }

  /** Not gRPC at all. */
  refuse(code: number): void {
    this.#ended = true;
    this.#stream.respond({ ':status': code }, { endStream: true });
  }
}

const trailersOf = (error: unknown): Record<string, string> => {
  if (error === undefined) return { 'grpc-status': '0' };
  const code = error instanceof RpcError ? error.code : status.INTERNAL;
  return { 'grpc-status': String(code), 'grpc-message': encodeURI((error instanceof Error ? error.message : String(error)).toWellFormed()) };
};
