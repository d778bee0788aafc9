import { RpcError, type Implementation } from '#wire';
import {
  CommonResponse_ResponseStatus,
  HeaderValueOption_HeaderAppendAction,
  ProcessingMode_BodySendMode,
  type ExternalProcessor,
  type HttpHeaders,
  type ProcessingRequest,
} from '#wire/xds';
import type { EngineMetadata } from '#model';
import { unpricedHeader } from '#policy';
import { createJudge, type Admitted, type Denied, type EngineOptions } from './judge.ts';
import { Refusal, type RequestHead } from './request.ts';
import { ShortBodies, type ShortBody } from './short-bodies.ts';

/** Implementation of `envoy.service.ext_proc.v3.ExternalProcessor`. */
export type Engine = Implementation<typeof ExternalProcessor>;

type Response = ReturnType<Engine['process']> extends AsyncIterable<infer Message> ? Message : never;

/** Stream metadata (`grpc_service.initial_metadata`) that names the gateway, `namespace/name`. */
export const GATEWAY_METADATA = 'x-clrk-gateway';
/** Namespace of the dynamic metadata that carries EngineMetadata to the access log. */
export const METADATA_NAMESPACE = 'clrk.engine';

const utf8 = new TextDecoder();

/** Envoy sends values as bytes; several lines of one header are joined as RFC 9110 5.3 says. */
const headersOf = ({ headers }: HttpHeaders): ReadonlyMap<string, string> => {
  const map = new Map<string, string>();
  for (const { key, value, rawValue } of headers?.headers ?? []) {
    const text = rawValue.byteLength > 0 ? utf8.decode(rawValue) : value;
    map.set(key, map.has(key) ? `${map.get(key)}, ${text}` : text);
  }
  return map;
};

/** Where MCP repeats in headers what a message is about. */
const MCP_HEADERS = { session: 'mcp-session-id', protocol: 'mcp-protocol-version', method: 'mcp-method', name: 'mcp-name' } as const;
const mcpHeaders = (headers: ReadonlyMap<string, string>): RequestHead['mcp'] =>
  Object.fromEntries(Object.entries(MCP_HEADERS).flatMap(([field, name]) => (headers.has(name) ? [[field, headers.get(name)!]] : [])));

const headOf = (message: HttpHeaders, gateway: string): RequestHead => {
  const headers = headersOf(message);
  const id = headers.get('x-clrk-id');
  const source = headers.get('x-clrk-source');
  const path = headers.get(':path') ?? '';
  const unpriced = unpricedHeader(headers);
  // Without these the request cannot be attributed: the stream fails, and Envoy refuses the request.
  if (!gateway || !id || !source) throw new RpcError('INVALID_ARGUMENT', 'stream without gateway, decision id or source');
  return {
    gateway,
    id,
    source,
    destination: headers.get('x-clrk-destination') ?? '',
    method: headers.get(':method') ?? '',
    authority: headers.get(':authority') ?? '',
    path: path.replace(/\?.*$/s, ''),
    query: path.includes('?') ? path.slice(path.indexOf('?') + 1) : '',
    contentType: headers.get('content-type') ?? '',
    contentEncoding: headers.get('content-encoding') ?? '',
    contentLength: headers.get('content-length') ?? '',
    ...(unpriced !== undefined && { unpriced }),
    mcp: mcpHeaders(headers),
  };
};

// It is JSON; only its type, which has no index signature, does not say so.
const metadata = (engine: EngineMetadata) => ({ [METADATA_NAMESPACE]: { ...engine } }) as unknown as NonNullable<Response['dynamicMetadata']>;

const setHeaders = (headers: Readonly<Record<string, string>>) =>
  Object.entries(headers).map(([key, value]) => ({
    header: { key, rawValue: Buffer.from(value) },
    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
  }));

const denial = ({ status, reason, headers, body, metadata: engine }: Denied): Response => ({
  response: {
    case: 'immediateResponse',
    value: { status: { code: status }, headers: { setHeaders: setHeaders(headers) }, body: Buffer.from(body), details: reason },
  },
  dynamicMetadata: metadata(engine),
});

/** How a request came to the engine: without body; with its body held back by Envoy; with one that was sent at once; the same, and trailers. */
type Way = 'bodiless' | 'held' | 'at-once' | 'trailed';

/** Each message Envoy waits for an answer to gets one. Where it waits for the last of several, nothing leaves before that. */
const admission = ({ body, setHeaders: set, removeHeaders, metadata: engine }: Admitted, way: Way): readonly Response[] => {
  const response = {
    status: CommonResponse_ResponseStatus.CONTINUE,
    headerMutation: { setHeaders: setHeaders(set), removeHeaders: [...removeHeaders] },
    clearRouteCache: true,
  };
  const dynamicMetadata = metadata(engine);
  if (way === 'held') {
    const bodyMutation = body && { mutation: { case: 'body' as const, value: body } };
    return [{ response: { case: 'requestBody', value: { response: { ...response, ...(bodyMutation && { bodyMutation }) } } }, dynamicMetadata }];
  }
  const head: Response = { response: { case: 'requestHeaders', value: { response } }, dynamicMetadata };
  if (way === 'bodiless') return [head];
  // Envoy has kept nothing of it, and a length it was given must be true.
  if (!body) throw new Error('a body was sent to the engine, and nothing is forwarded for it');
  const streamedResponse = { body, endOfStream: way === 'at-once' };
  const bodyMutation = { mutation: { case: 'streamedResponse' as const, value: streamedResponse } };
  const rest: Response = { response: { case: 'requestBody', value: { response: { bodyMutation } } } };
  return way === 'at-once' ? [head, rest] : [head, rest, { response: { case: 'requestTrailers', value: {} } }];
};

const PROCEED: Response = { response: { case: 'requestHeaders', value: { response: { status: CommonResponse_ResponseStatus.CONTINUE } } } };
const NO_BODY = new Uint8Array();

/** Envoy waits as long for an answer to what it sends at once, so the engine has a bound of its own. An engine that hangs is found by a ping. */
const ANSWER_MS = 2_000;

/** What is done about a request for one answer, in bounded time. */
const timely = async <T>(ms: number, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const abort = new AbortController();
  const gone = (): void => abort.abort(signal.reason);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new RpcError('DEADLINE_EXCEEDED', `no answer within ${ms} ms`);
    abort.abort(error);
    late.reject(error);
  }, ms);
  signal.addEventListener('abort', gone, { once: true });
  try {
    return await Promise.race([work(abort.signal), late.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', gone);
  }
};

/**
 * The engine: one stream a request, headers first, then the body: whole where Envoy has held it back (mode BUFFERED), or as it comes
 * (FULL_DUPLEX_STREAMED), and then all is answered together. The stream ends with OK only after the verdict was sent; every other
 * end is an error status, which makes Envoy refuse the request (`failure_mode_allow: false`).
 */
export const createEngine = (options: EngineOptions): Engine => {
  const judge = createJudge(options);
  const bodies = new ShortBodies();

  return {
    async *process(requests: AsyncIterable<ProcessingRequest>, context) {
      let head: RequestHead | undefined;
      let held: Disposable | undefined;
      let body: ShortBody | undefined;
      const within = <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> => timely(options.answerMs ?? ANSWER_MS, context.signal, work);
      const verdict = async (whole: Uint8Array, way: Way): Promise<readonly Response[]> => {
        const outcome = await within((signal) => judge.whole(head!, whole, signal));
        return outcome.verdict === 'Denied' ? [denial(outcome)] : admission(outcome, way);
      };
      try {
        for await (const { request, protocolConfig } of requests) {
          if (request.case === 'requestHeaders' && !head) {
            const { endOfStream } = request.value;
            head = headOf(request.value, context.metadata(GATEWAY_METADATA) ?? '');
            const first = await within(() => judge.head(head!, endOfStream));
            if ('verdict' in first) return yield denial(first);
            held = first;
            if (endOfStream) return yield* await verdict(NO_BODY, 'bodiless');
            if (protocolConfig?.requestBodyMode === ProcessingMode_BodySendMode.FULL_DUPLEX_STREAMED) body = bodies.begin(head);
            else yield PROCEED;
          } else if (request.case === 'requestBody' && head) {
            const { body: piece, endOfStream } = request.value;
            const whole = body ? body.add(piece, endOfStream) : piece;
            if (whole) return yield* await verdict(whole, body ? 'at-once' : 'held');
          } else if (request.case === 'requestTrailers' && body) {
            return yield* await verdict(body.add(NO_BODY, true)!, 'trailed');
          } else throw new RpcError('INVALID_ARGUMENT', `unexpected ${request.case ?? 'message'}`);
        }
        throw new RpcError('ABORTED', 'the stream ended before its verdict');
      } catch (error) {
        if (error instanceof Refusal && head) return yield denial(await within(() => judge.refuse(head!, error)));
        if (!context.signal.aborted && !(error instanceof RpcError)) options.log.error('judging a request failed', { err: error, decision: head?.id });
        throw error;
      } finally {
        held?.[Symbol.dispose]();
        body?.[Symbol.dispose]();
      }
    },
  };
};
