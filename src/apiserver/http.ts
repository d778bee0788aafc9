import type { IncomingMessage, ServerResponse } from 'node:http';
import { stringify } from 'yaml';
import { PROTOBUF } from './protobuf.ts';
import { badRequest, notAcceptable, StatusError, tooLarge, unsupportedMedia } from './status.ts';

/** Bodies and media types. */

/** The most a body may have. */
export const MAX_BODY = 3 * 1024 * 1024;

/** Reads a request body. Throws StatusError 413 beyond `limit`, 415 when it is compressed. */
export const readBody = async (request: IncomingMessage, limit = MAX_BODY): Promise<Uint8Array> => {
  if (request.headers['content-encoding'] && request.headers['content-encoding'] !== 'identity')
    throw unsupportedMedia(['application/json', 'application/yaml']);
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

/** The media type of a body, lower case, without parameters. */
export const mediaType = (request: IncomingMessage): string => (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();

/** The format of a request object; protobuf is for built-in kinds only. */
export const objectFormat = (request: IncomingMessage, native: boolean): 'json' | 'yaml' | 'protobuf' => {
  const type = mediaType(request);
  if (type === '' || type === 'application/json') return 'json';
  if (type === 'application/yaml') return 'yaml';
  if (type === PROTOBUF && native) return 'protobuf';
  throw unsupportedMedia(['application/json', 'application/yaml', ...(native ? [PROTOBUF] : [])]);
};

export interface Answer {
  readonly format: 'json' | 'yaml';
  /** A Table was asked for. */
  readonly table: boolean;
  /** Nothing but metadata was asked for. */
  readonly partial: boolean;
  /** Version of meta.k8s.io that a Table has. */
  readonly metaVersion: 'v1' | 'v1beta1';
  /** Aggregated discovery was asked for. */
  readonly aggregated: boolean;
}

const FORMS: readonly (string | undefined)[] = [undefined, 'Table', 'PartialObjectMetadata', 'PartialObjectMetadataList', 'APIGroupDiscoveryList'];

/** Picks the first acceptable form. Throws StatusError 406. */
export const negotiate = (accept: string | undefined): Answer => {
  for (const part of (accept ?? '*/*').split(',')) {
    const [type, ...parameters] = part.split(';').map((piece) => piece.trim());
    const parameter = (name: string): string | undefined => parameters.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
    const [as, version] = [parameter('as'), parameter('v')];
    if (!FORMS.includes(as) || (as === 'APIGroupDiscoveryList' && version !== 'v2')) continue;
    const plain = { format: 'json', table: false, partial: false, aggregated: false, metaVersion: 'v1' } as const;
    if (type === 'application/json' || type === '*/*' || type === 'application/*') {
      return {
        ...plain,
        table: as === 'Table',
        partial: as?.startsWith('Partial') ?? false,
        aggregated: as === 'APIGroupDiscoveryList',
        metaVersion: version === 'v1beta1' ? 'v1beta1' : 'v1',
      };
    }
    if (type === 'application/yaml') return { ...plain, format: 'yaml' };
  }
  throw notAcceptable();
};

export const sendText = (response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void => {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
};

export const sendObject = (
  response: ServerResponse,
  status: number,
  object: object,
  format: Answer['format'] = 'json',
  headers: Readonly<Record<string, string>> = {},
): void =>
  sendText(response, status, format === 'yaml' ? stringify(object) : JSON.stringify(object), {
    'Content-Type': `application/${format}`,
    'Cache-Control': 'no-cache, private',
    ...headers,
  });

export const sendError = (response: ServerResponse, error: StatusError): void => {
  const after = error.details?.retryAfterSeconds;
  const headers: Record<string, string> = after === undefined ? {} : { 'Retry-After': String(after) };
  sendObject(response, error.code, error.body(), 'json', headers);
};

/** A segment of the path. Throws StatusError 400. */
export const decodeSegment = (segment: string): string => {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest(`invalid path segment ${JSON.stringify(segment)}`);
  }
};
