import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { messageOf, systemCode, type Logger } from '#lib';
import type { InvokeAnswer, InvokeRequest } from '#model';
import { errorAnswer, overloaded } from './answer.ts';
import { readBody } from './body.ts';
import { refusalOf } from './caller-guard.ts';
import type { Invoker } from './invoker.ts';
import { isTriggerPath, TARGET_HEADER, targetOf } from './target.ts';

const HOST = '127.0.0.1';
/**
 * Bytes and milliseconds. A caller that sends slowly is answered 408 and cut off; one that takes nothing of its answer for
 * `slowReaderMs` is cut off.
 */
const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 5_000,
  slowReaderMs: 60_000,
};
const MAX_HEADERS = 100;
/** Connections at a time; those beyond are closed at once. */
const MAX_CONNECTIONS = 2_048;
const CLOSE_MS = 500;

export interface Ingress extends AsyncDisposable {
  readonly port: number;
}

type Invoking = Pick<Invoker, 'invoke' | 'refuseBody' | 'inFlight'>;

/**
 * Serves `POST /NAMESPACE/AGENT`, and `POST /` with the header `X-Clrk-TaskAgent`, on loopback, on `preferredPort` when that is
 * free. A run whose output is already being sent and which then fails ends the connection without the last chunk (RFC 9112
 * section 8: the message is incomplete).
 */
export const startIngress = async (options: { invoker: Invoking; preferredPort?: number; limits?: Partial<typeof LIMITS>; log: Logger }): Promise<Ingress> => {
  const { invoker, log } = options;
  const limits = { ...LIMITS, ...options.limits };
  let address: AddressInfo;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    if (isPipelined(request, response)) return;
    const answer: Answering = (to, left) => send(response, to, limits.slowReaderMs, left);
    serve(invoker, address, { request, response, answer }).catch((error: unknown) => {
      if (!response.destroyed) log.error(`a trigger was not answered: ${messageOf(error)}`, { err: error });
      response.destroy();
    });
  };
  const server = createServer(limits, onRequest);
  // Node would drop those beyond the count without a word, a guarded one perhaps; maxHeaderSize bounds them.
  server.maxHeadersCount = 0;
  server.maxConnections = MAX_CONNECTIONS;
  // The body of a request that is refused is not asked for; whether the caller then sends it is not known, so the connection ends.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    response.shouldKeepAlive = false;
    onRequest(request, response);
  });
  address = await listen(server, options.preferredPort ?? 0);
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // Answers that are being written have a moment to leave.
      const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
      await closed.finally(() => clearTimeout(timer));
    },
  };
};

const listen = async (server: Server, port: number): Promise<AddressInfo> => {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, HOST, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    if (port === 0 || !['EADDRINUSE', 'EACCES'].includes(systemCode(error) ?? '')) throw error;
    return listen(server, 0);
  }
  return server.address() as AddressInfo;
};

/**
 * A request behind one that is not answered yet: no client may do that with POST (RFC 9112 section 9.3.2), and what looks like
 * it can be the rest of a body that two parties count differently. The connection ends, and with it the first request.
 */
const isPipelined = (request: IncomingMessage, response: ServerResponse): boolean => {
  if (response.socket === request.socket) return false;
  request.socket.destroy();
  return true;
};

type Answering = (answer: InvokeAnswer, left?: () => void) => Promise<void>;

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly answer: Answering;
}

const serve = async (invoker: Invoking, address: AddressInfo, { request, response, answer }: Call): Promise<void> => {
  const { method = '', url = '' } = request;
  const bad = (message: string, reason: string): Promise<void> => answer(errorAnswer('BadTrigger', { message }, { reason }));
  if (request.rawHeaders.length > 2 * MAX_HEADERS) return bad(`A request has at most ${MAX_HEADERS} headers.`, 'TooManyHeaders');
  const refused = refusalOf(request, address.address, address.port);
  if (refused) return answer(errorAnswer('CallerRefused', { message: refused.message }, { reason: refused.reason }));
  if (method !== 'POST' && isTriggerPath(url)) {
    return answer(errorAnswer('MethodNotAllowed', { method }, { reason: 'MethodNotAllowed', headers: { allow: 'POST' } }));
  }
  const target = targetOf(url, request.headersDistinct[TARGET_HEADER]);
  if ('reason' in target) {
    if (target.reason !== 'PathNotFound') return bad(target.message, target.reason);
    return answer(errorAnswer('PathNotFound', {}, { reason: 'PathNotFound' }));
  }
  const trigger: Omit<InvokeRequest, 'body'> = {
    ...target,
    headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')])),
    trigger: 'HTTP',
    source: request.socket.remoteAddress ?? 'ingress',
  };
  const body = await readBody(request, response, invoker.inFlight);
  if (body === 'TooLarge') return answer(await invoker.refuseBody(trigger));
  if (body === 'Overloaded') return answer(overloaded());

  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('the caller went away'));
  });
  let result: InvokeAnswer;
  try {
    result = await invoker.invoke({ ...trigger, body }, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    throw error;
  }
  // An answer that is held until its caller takes it counts; one that is streamed is bounded by what its worker may send.
  const held = Number(result.headers['content-length'] ?? 0);
  invoker.inFlight.add(held);
  await answer(result, () => invoker.inFlight.release(held));
};

/** Writes an answer as fast as its reader takes it; `left` is called when it has left, or nobody takes it. A body that fails takes the connection with it. */
const send = async (response: ServerResponse, answer: InvokeAnswer, slowReaderMs: number, left: () => void = () => {}): Promise<void> => {
  if (response.destroyed) return left();
  const closed = new Promise<void>((resolve) => response.once('close', resolve));
  void closed.then(left);
  response.writeHead(answer.status, { ...answer.headers, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  try {
    for await (const chunk of answer.body) {
      if (response.destroyed) return;
      if (response.write(chunk)) continue;
      const slow = setTimeout(() => response.destroy(), slowReaderMs);
      await Promise.race([new Promise<void>((resolve) => response.once('drain', resolve)), closed]);
      clearTimeout(slow);
    }
  } catch {
    response.destroy();
    return;
  }
  response.setTimeout(slowReaderMs);
  response.end();
};
