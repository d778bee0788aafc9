import { RpcError } from '#wire';
import { CommonResponse_ResponseStatus, type HttpHeaders, type ProcessingRequest } from '#wire/xds';
import type { Engine } from '../engine/index.ts';
import { CREDENTIAL_NAMESPACE, ECHO_HEADER } from '../translate/credential-lua.ts';
import { needlesOf, type EchoKind } from './echo.ts';
import { StreamRedactor } from './stream-redactor.ts';

type Response = ReturnType<Engine['process']> extends AsyncIterable<infer Message> ? Message : never;

const { CONTINUE } = CommonResponse_ResponseStatus;

const headerOf = ({ headers }: HttpHeaders, name: string): string | undefined => {
  const found = headers?.headers.find(({ key }) => key === name);
  return found && (found.rawValue.byteLength > 0 ? Buffer.from(found.rawValue).toString('latin1') : found.value);
};

/** Local replies of the gateway say why (`details`). */
const WITHHOLD: Response = { response: { case: 'immediateResponse', value: { status: { code: 502 }, details: 'redaction_failed' } } };

/** Lengths change; the encoding of what is left is none. */
const PROCEED: Response = {
  response: { case: 'responseHeaders', value: { response: { status: CONTINUE, headerMutation: { removeHeaders: ['content-length'] } } } },
};

/**
 * Searches the whole body of one answer as it passes (mode FULL_DUPLEX_STREAMED, answers alone). The answer's own header says what
 * was injected. Any error ends the stream with a status, and Envoy ends the answer (`failure_mode_allow: false`).
 */
export async function* redactStream(requests: AsyncIterable<ProcessingRequest>, kind: string): AsyncGenerator<Response, void> {
  let redactor: StreamRedactor | undefined;
  let told = false;
  const body = (bytes: Uint8Array, endOfStream: boolean): Response => {
    const tell = !told && redactor!.found;
    told ||= tell;
    return {
      response: {
        case: 'responseBody',
        value: { response: { bodyMutation: { mutation: { case: 'streamedResponse', value: { body: bytes, endOfStream } } } } },
      },
      ...(tell && { dynamicMetadata: { [CREDENTIAL_NAMESPACE]: { echoedBody: true } } }),
    };
  };
  for await (const { request } of requests) {
    switch (request.case) {
      case 'responseHeaders': {
        const encoding = headerOf(request.value, 'content-encoding')?.toLowerCase() ?? 'identity';
        if (encoding !== 'identity' && !request.value.endOfStream) return yield WITHHOLD;
        redactor = new StreamRedactor(needlesOf(kind as EchoKind, headerOf(request.value, ECHO_HEADER) ?? ''));
        yield request.value.endOfStream ? { response: { case: 'responseHeaders', value: {} } } : PROCEED;
        break;
      }
      case 'responseBody': {
        if (!redactor) throw new RpcError('INVALID_ARGUMENT', 'a body before its headers');
        const { endOfStream } = request.value;
        const passed = redactor.push(request.value.body);
        if (endOfStream) return yield body(Buffer.concat([passed, redactor.end()]), true);
        if (passed.length > 0) yield body(passed, false);
        break;
      }
      case 'responseTrailers': {
        if (!redactor) throw new RpcError('INVALID_ARGUMENT', 'trailers before headers');
        const rest = redactor.end();
        if (rest.length > 0) yield body(rest, false);
        // The script looks at what they say.
        return yield { response: { case: 'responseTrailers', value: {} } };
      }
      default:
        throw new RpcError('INVALID_ARGUMENT', `unexpected ${request.case ?? 'message'}`);
    }
  }
}
