import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { messageOf, systemCode, type Logger } from '#lib';
import type { InvokeAnswer, InvokeRequest } from '#model';
import { errorAnswer } from './answer.ts';
import { refusalOf } from './caller-guard.ts';
import { MAX_BODY_BYTES } from './limits.ts';
import type { Invoker } from './invoker.ts';

const HOST = '127.0.0.1';
/** A namespace (RFC 1123 label) and an agent (RFC 1123 subdomain). */
const PATH = /^\/([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\/([a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)(?:\?.*)?$/;
/** A caller that sends slowly is answered 408 and cut off. Bytes and milliseconds. */
const LIMITS = { maxHeaderSize: 16 * 1024, headersTimeout: 10_000, requestTimeout: 60_000, keepAliveTimeout: 5_000, connectionsCheckingInterval: 5_000 };
/** How much of a body that is too large is read and thrown away, so that its sender sees the answer and not a reset. */
const MAX_DRAINED_BYTES = 4 * MAX_BODY_BYTES;
/** A caller that takes nothing of its answer for this long after the run ended is cut off. */
const SLOW_READER_MS = 30_000;
const CLOSE_MS = 500;

export interface Ingress extends AsyncDisposable {
  readonly port: number;
}

/**
 * Serves `POST /NAMESPACE/AGENT` on loopback, on `preferredPort` when that is free. A run whose output is already being sent and
 * which then fails ends the connection without the last chunk (RFC 9112 section 8: the message is incomplete).
 */
export const startIngress = async (options: { invoker: Pick<Invoker, 'invoke' | 'refuseBody'>; preferredPort?: number; log: Logger }): Promise<Ingress> => {
  const { invoker, log } = options;
  let address: AddressInfo;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    serve(invoker, address, request, response).catch((error: unknown) => {
      if (!response.destroyed) log.error(`a trigger was not answered: ${messageOf(error)}`, { err: error });
      response.destroy();
    });
  };
  const server = createServer(LIMITS, onRequest);
  server.maxHeadersCount = 100;
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

const serve = async (
  invoker: Pick<Invoker, 'invoke' | 'refuseBody'>,
  address: AddressInfo,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const refused = refusalOf(request, address.address, address.port);
  if (refused) return send(response, errorAnswer('CallerRefused', { message: refused.message }, { reason: refused.reason }));
  const path = PATH.exec(request.url ?? '');
  if (!path) return send(response, errorAnswer('PathNotFound', {}, { reason: 'PathNotFound' }));
  if (request.method !== 'POST') {
    const details = { reason: 'MethodNotAllowed', headers: { allow: 'POST' } };
    return send(response, errorAnswer('MethodNotAllowed', { method: request.method ?? '' }, details));
  }
  const trigger: Omit<InvokeRequest, 'body'> = {
    namespace: path[1]!,
    agent: path[2]!,
    headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')])),
    trigger: 'HTTP',
    source: request.socket.remoteAddress ?? 'ingress',
  };
  const body = await readBody(request, response);
  if (!body) return send(response, await invoker.refuseBody(trigger));

  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('the caller went away'));
  });
  let answer: InvokeAnswer;
  try {
    answer = await invoker.invoke({ ...trigger, body }, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    throw error;
  }
  await send(response, answer);
};

/** The body, or undefined when it is too large. Rejects when the caller goes away. */
const readBody = async (request: IncomingMessage, response: ServerResponse): Promise<Uint8Array | undefined> => {
  const announced = Number(request.headers['content-length'] ?? 0);
  const waits = request.headers.expect?.toLowerCase() === '100-continue';
  if (announced > MAX_BODY_BYTES && (waits || announced > MAX_DRAINED_BYTES)) {
    response.shouldKeepAlive = false;
    return undefined;
  }
  if (waits) response.writeContinue();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    else chunks.length = 0;
    if (size > MAX_DRAINED_BYTES) {
      response.shouldKeepAlive = false;
      return undefined;
    }
  }
  return size > MAX_BODY_BYTES ? undefined : Buffer.concat(chunks);
};

/** Writes an answer as fast as its reader takes it. A body that fails takes the connection with it. */
const send = async (response: ServerResponse, answer: InvokeAnswer): Promise<void> => {
  if (response.destroyed) return;
  const closed = new Promise<void>((resolve) => response.once('close', resolve));
  response.writeHead(answer.status, { ...answer.headers, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  try {
    for await (const chunk of answer.body) {
      if (response.destroyed) return;
      if (!response.write(chunk)) await Promise.race([new Promise<void>((resolve) => response.once('drain', resolve)), closed]);
    }
  } catch {
    response.destroy();
    return;
  }
  response.setTimeout(SLOW_READER_MS);
  response.end();
};
