import { RpcError, type Implementation } from '#wire';
import {
  CommonResponse_ResponseStatus,
  HeaderValueOption_HeaderAppendAction,
  type ExternalProcessor,
  type HttpHeaders,
  type ProcessingRequest,
} from '#wire/xds';
import type { EngineMetadata } from '#model';
import { unpricedHeader } from '#policy';
import { createJudge, type Admitted, type Denied, type EngineOptions } from './judge.ts';
import type { RequestHead } from './request.ts';

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

/** `bodiless`: Envoy waits for an answer about the headers, since no body follows them. */
const admission = ({ body, setHeaders: set, removeHeaders, metadata: engine }: Admitted, bodiless: boolean): Response => {
  const response = {
    status: CommonResponse_ResponseStatus.CONTINUE,
    headerMutation: { setHeaders: setHeaders(set), removeHeaders: [...removeHeaders] },
    clearRouteCache: true,
    ...(body && { bodyMutation: { mutation: { case: 'body' as const, value: body } } }),
  };
  return { response: { case: bodiless ? 'requestHeaders' : 'requestBody', value: { response } }, dynamicMetadata: metadata(engine) };
};

const PROCEED: Response = { response: { case: 'requestHeaders', value: { response: { status: CommonResponse_ResponseStatus.CONTINUE } } } };
const NO_BODY = new Uint8Array();

/**
 * The engine: one stream a request, headers first, then the whole body (mode BUFFERED). The stream ends with OK only after
 * the verdict was sent; every other end is an error status, which makes Envoy refuse the request (`failure_mode_allow: false`).
 */
export const createEngine = (options: EngineOptions): Engine => {
  const judge = createJudge(options);

  const verdict = async (head: RequestHead, body: Uint8Array | undefined, signal: AbortSignal): Promise<Response> => {
    const outcome = await judge.whole(head, body ?? NO_BODY, signal);
    return outcome.verdict === 'Denied' ? denial(outcome) : admission(outcome, body === undefined);
  };

  return {
    async *process(requests: AsyncIterable<ProcessingRequest>, context) {
      let head: RequestHead | undefined;
      let held: Disposable | undefined;
      try {
        for await (const { request } of requests) {
          if (request.case === 'requestHeaders' && !head) {
            head = headOf(request.value, context.metadata(GATEWAY_METADATA) ?? '');
            const first = await judge.head(head, request.value.endOfStream);
            if ('verdict' in first) return yield denial(first);
            held = first;
            if (request.value.endOfStream) return yield await verdict(head, undefined, context.signal);
            yield PROCEED;
          } else if (request.case === 'requestBody' && head) {
            return yield await verdict(head, request.value.body, context.signal);
          } else throw new RpcError('INVALID_ARGUMENT', `unexpected ${request.case ?? 'message'}`);
        }
        throw new RpcError('ABORTED', 'the stream ended before its verdict');
      } catch (error) {
        if (!context.signal.aborted && !(error instanceof RpcError)) options.log.error('judging a request failed', { err: error, decision: head?.id });
        throw error;
      } finally {
        held?.[Symbol.dispose]();
      }
    },
  };
};
