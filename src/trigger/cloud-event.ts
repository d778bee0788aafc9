import { rfc3339 } from '#lib';
import type { InvokeRequest } from '#model';

/**
 * The envelope an agent reads on stdin: CloudEvents 1.0, structured mode.
 * Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md and its formats/json-format.md, bindings/http-protocol-binding.md
 */

/** The request claims to be a CloudEvent and is none. The message says why. */
export class EventError extends Error {}

const STRUCTURED = 'application/cloudevents+json';
const TYPE = 'dev.apoxy.clrk.taskagent.invoke';
/** Attribute names are lower-case letters and digits. */
const ATTRIBUTE = /^[a-z0-9]+$/;
/** Attributes a `ce-` header cannot set: ours alone, or given by the body itself. */
const RESERVED: ReadonlySet<string> = new Set(['specversion', 'id', 'datacontenttype', 'data', 'database64']);
const TIMESTAMP = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** The envelope of a request as UTF-8 JSON. A JSON body goes into `data` byte for byte. Throws EventError. */
export const encodeEvent = (request: InvokeRequest, id: string, time: number): Uint8Array => {
  const contentType = request.headers['content-type'] ?? '';
  const defaults = {
    specversion: '1.0',
    id,
    source: `clrk://${request.namespace}/${request.agent}`,
    type: TYPE,
    subject: request.trigger.toLowerCase(),
    time: rfc3339(time),
  };
  if (mediaType(contentType) === STRUCTURED) return Buffer.from(`${JSON.stringify({ ...defaults, ...structured(request.body), id })}\n`);
  const attributes = { ...defaults, ...extensions(request.headers) };
  const head = JSON.stringify(attributes).slice(0, -1);
  return Buffer.from(`${head}${dataOf(request.body, contentType)}}\n`);
};

const mediaType = (contentType: string): string => contentType.split(';', 1)[0]!.trim().toLowerCase();

/** The attributes and data of a structured-mode event somebody sent. */
const structured = (body: Uint8Array): Record<string, unknown> => {
  const event = parseJson(utf8(body))?.value;
  if (event === null || typeof event !== 'object' || Array.isArray(event)) throw new EventError('The body is not a CloudEvent: it is not a JSON object.');
  if (!('specversion' in event) || event.specversion !== '1.0') throw new EventError('The body is not a CloudEvent of specversion 1.0.');
  if ('data' in event && 'data_base64' in event) throw new EventError('A CloudEvent has either data or data_base64, not both.');
  for (const [name, value] of Object.entries(event)) {
    if (name === 'data' || name === 'data_base64') continue;
    if (!ATTRIBUTE.test(name)) throw new EventError(`${JSON.stringify(name)} is not the name of a CloudEvents attribute.`);
    if (!['string', 'number', 'boolean'].includes(typeof value)) throw new EventError(`The CloudEvents attribute ${name} is not a string, number or boolean.`);
  }
  return event as Record<string, unknown>;
};

/** Binary mode: `ce-foo: bar` becomes attribute `foo`. Names that cannot be attributes are left out. */
const extensions = (headers: InvokeRequest['headers']): Record<string, string> => {
  const found: Record<string, string> = {};
  for (const [header, value] of Object.entries(headers)) {
    const name = header.startsWith('ce-') ? header.slice(3) : '';
    if (!ATTRIBUTE.test(name) || RESERVED.has(name)) continue;
    const text = percentDecode(value);
    if (text === '' || (name === 'time' && !TIMESTAMP.test(text))) continue;
    found[name] = text;
  }
  return found;
};

/** Header values are percent-encoded UTF-8 (HTTP binding 3.1.3.2); one that is not stays as it came. */
const percentDecode = (value: string): string => {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
};

/** `,"datacontenttype":…,"data":…`, or nothing for an empty body. */
const dataOf = (body: Uint8Array, contentType: string): string => {
  if (body.byteLength === 0) return '';
  const type = mediaType(contentType);
  const text = utf8(body);
  const typed = (value: string): string => `,"datacontenttype":${JSON.stringify(value)}`;
  const isJson = type === '' || type === 'application/json' || type.endsWith('+json');
  if (isJson && parseJson(text)) return `${typed(contentType || 'application/json')},"data":${text}`;
  const isText = type.startsWith('text/') || type === 'application/x-www-form-urlencoded' || type === 'application/xml' || type.endsWith('+xml');
  if (isText && text !== undefined && isUtf8(contentType)) return `${typed(contentType)},"data":${JSON.stringify(text)}`;
  return `${typed(contentType || 'application/octet-stream')},"data_base64":"${Buffer.from(body).toString('base64')}"`;
};

const isUtf8 = (contentType: string): boolean => {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType)?.[1]?.toLowerCase();
  return charset === undefined || charset === 'utf-8' || charset === 'utf8' || charset === 'us-ascii';
};

/** The text of valid UTF-8 (a byte order mark stays out of it), else undefined. */
const utf8 = (bytes: Uint8Array): string | undefined => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
};

const parseJson = (text: string | undefined): { value: unknown } | undefined => {
  if (text === undefined) return undefined;
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
};
