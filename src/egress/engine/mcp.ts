import type { McpFacts, McpMetadata } from '#model';
import { isJsonObject, isRawNumber, LISTEN_METHOD, MCP_HTTP_METHODS, RESOURCE_METHODS, TOOL_METHOD, type Json } from '#policy';
import { checkContentType, checkIdentity, parseJson, Refusal, type RequestHead } from './request.ts';

/**
 * Reads requests to MCP servers (streamable HTTP): a POST of JSON-RPC messages, a GET for a stream of the server's, a DELETE that ends a
 * session. What a server could read as something else than is judged here is refused.
 * Sources: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports and …/2026-07-28/…, which has no sessions.
 */

/** One JSON-RPC message. */
export interface McpMessage {
  readonly facts: McpFacts;
  /** Of a request, which is answered; absent of notifications and of answers to the server. */
  readonly id?: Json;
  /** Why its parameters cannot be judged. */
  readonly problem?: string;
}

export interface McpRequest {
  readonly messages: readonly McpMessage[];
  /** They came in an array, and are answered in one. */
  readonly batch: boolean;
  /** What was read, written anew; absent when there is no body. */
  readonly forwarded?: Uint8Array;
}

const MAX_BATCH = 64;
/** What the messages of a batch may ask for together: each is judged while others wait. */
const MAX_ASKED = 2 * MAX_BATCH;
const MAX_NAME = 256;
const MAX_METHOD = 128;
/** Of an id: a refusal repeats it. */
const MAX_ID = 1_024;
const MAX_URI = 8_192;
const FIELDS: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'params', 'result', 'error']);
/** Fields of parameters that are judged; some servers would take a key in other letters, or what follows a NUL in it, for one of them. */
const JUDGED_FIELDS: ReadonlySet<string> = new Set(['name', 'uri']);

/** Letters that are the same to a reader without case, such as ſ and s, or the sign for Kelvin and k. */
const folded = (key: string): string => key.toUpperCase().toLowerCase();

const ASCII = /^[\x21-\x7e]*$/;

const invalid = (message: string): Refusal => new Refusal(400, 'InvalidMessage', message);

/** A text that means nothing else to somebody who trims or cuts it. */
const isPlain = (value: Json | undefined, most: number): value is string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what it finds
  typeof value === 'string' && value.length > 0 && value.length <= most && value.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]|^\s|\s$/.test(value);

const notPlain = (field: string, most: number): string =>
  `params.${field} must be a text of 1 to ${most} characters, without control characters and without space around it.`;

/** What a request is about, or why that cannot be said. */
const factsOf = (method: string, params: Json | undefined): Pick<McpMessage, 'facts' | 'problem'> => {
  const isCall = method === TOOL_METHOD;
  if (!isJudged(method)) return { facts: { method } };
  const bad = (problem: string) => ({ facts: { method }, problem });
  if (!isJsonObject(params)) return bad(`${method} needs params.`);
  const other = Object.keys(params).find((key) => !ASCII.test(key) || (!JUDGED_FIELDS.has(key) && JUDGED_FIELDS.has(folded(key))));
  if (other !== undefined) return bad(`params has ${JSON.stringify(other.slice(0, 100))}, which some servers read as the name of another field.`);
  const { name, uri } = params;
  if (isCall) return isPlain(name, MAX_NAME) ? { facts: { method, tool: name } } : bad(notPlain('name', MAX_NAME));
  return isPlain(uri, MAX_URI) ? { facts: { method, resource: uri } } : bad(notPlain('uri', MAX_URI));
};

/** What `params.notifications` of a stream may have; resources are named in the last. */
const HEARD: ReadonlySet<string> = new Set(['toolsListChanged', 'promptsListChanged', 'resourcesListChanged', 'resourceSubscriptions']);

/** To hear of a resource is judged as a subscription to it. */
const heardOf = (params: Json | undefined): readonly McpMessage[] => {
  const facts = { method: LISTEN_METHOD };
  const odd = isJsonObject(params)
    ? Object.keys(params).find((key) => !ASCII.test(key) || (key !== 'notifications' && folded(key) === 'notifications'))
    : undefined;
  const wanted = isJsonObject(params) ? params['notifications'] : undefined;
  if (odd !== undefined || !isJsonObject(wanted)) return [{ facts, problem: `${LISTEN_METHOD} needs params.notifications, an object.` }];
  const other = Object.keys(wanted).find((key) => !HEARD.has(key));
  if (other !== undefined) return [{ facts, problem: `params.notifications has no field ${JSON.stringify(other.slice(0, 100))}.` }];
  const uris = wanted['resourceSubscriptions'] ?? [];
  if (!Array.isArray(uris) || uris.length > MAX_BATCH)
    return [{ facts, problem: `params.notifications.resourceSubscriptions must be a list of at most ${MAX_BATCH} URIs.` }];
  return (uris as readonly Json[]).map((uri) => factsOf('resources/subscribe', { uri }));
};

/** What one message asks for, itself last. */
const askedBy = (message: McpMessage, element: Json): readonly McpMessage[] =>
  message.facts.method === LISTEN_METHOD && isJsonObject(element) ? [...heardOf(element['params']), message] : [message];

const isId = (id: Json): boolean =>
  (isRawNumber(id) ? id.rawJSON.length : typeof id === 'string' ? id.length : typeof id === 'number' ? 1 : Infinity) <= MAX_ID;

const isJudged = (method: string): boolean => method === TOOL_METHOD || RESOURCE_METHODS.includes(method);

/** Of what is judged by more than its method. */
const IN_THESE_LETTERS: ReadonlySet<string> = new Set([TOOL_METHOD, ...RESOURCE_METHODS, LISTEN_METHOD]);

const messageOf = (element: Json): McpMessage => {
  if (!isJsonObject(element) || element['jsonrpc'] !== '2.0') throw invalid('A message must be an object with "jsonrpc": "2.0".');
  const odd = Object.keys(element).find((key) => !FIELDS.has(key));
  if (odd !== undefined) throw invalid(`A message has no field ${JSON.stringify(odd.slice(0, 100))}.`);
  const { id, method, params, result, error } = element;
  if (id !== undefined && !isId(id)) throw invalid(`The id of a message must be a text or a number, of at most ${MAX_ID} characters.`);
  if (params !== undefined && !isJsonObject(params)) throw invalid('The params of a message must be an object.');
  const answers = (result !== undefined) !== (error !== undefined);
  if (method === undefined) {
    if (id !== undefined && answers && params === undefined) return { facts: {} };
    throw invalid('A message must have a method, or the id of a request of the server with either result or error.');
  }
  if (result !== undefined || error !== undefined) throw invalid('A message with a method must have neither result nor error.');
  if (!isPlain(method, MAX_METHOD) || !ASCII.test(method))
    throw invalid(`The method of a message must be a text of 1 to ${MAX_METHOD} letters and signs of ASCII.`);
  if (IN_THESE_LETTERS.has(folded(method)) && !IN_THESE_LETTERS.has(method))
    throw invalid(`Some servers read the method ${JSON.stringify(method)} as ${folded(method)}.`);
  return { ...factsOf(method, params), ...(id !== undefined && { id }) };
};

/** `=?base64?…?=` where a name has letters that headers do not carry. */
const decodedName = (text: string): string => {
  const [, encoded] = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/.exec(text) ?? [];
  return encoded === undefined ? text : Buffer.from(encoded, 'base64').toString();
};

/** Headers that repeat what the one message of a request says must say the same: a server might go by them. */
const checkHeaders = ({ mcp }: RequestHead, messages: readonly McpMessage[]): void => {
  if (mcp.method === undefined && mcp.name === undefined) return;
  const { method, tool, resource } = messages[0]?.facts ?? {};
  const about = tool ?? resource;
  const same = (mcp.method === undefined || mcp.method === method) && (mcp.name === undefined || about === undefined || decodedName(mcp.name) === about);
  if (messages.length !== 1 || !same) throw new Refusal(400, 'HeaderMismatch', 'Mcp-Method and Mcp-Name must name what the one message in the body is about.');
};

/** Refuses, before the body is there, what is no request to an MCP server. */
export const checkMcpHead = (head: RequestHead): void => {
  if (!MCP_HTTP_METHODS.includes(head.method))
    throw new Refusal(405, 'MethodNotAllowed', `${head.method} is not a method of MCP over HTTP, which has ${MCP_HTTP_METHODS.join(', ')}.`);
  if (head.method !== 'POST') return;
  checkIdentity(head);
  checkContentType(head);
};

/** The messages of a request, one at least. */
export const readMcp = (head: RequestHead, body: Uint8Array): McpRequest => {
  if (head.method !== 'POST') {
    if (body.byteLength > 0) throw new Refusal(400, 'UnexpectedBody', `A ${head.method} to an MCP server has no body.`);
    checkHeaders(head, []);
    return { messages: [{ facts: {} }], batch: false };
  }
  const json = parseJson(body);
  const elements = Array.isArray(json) ? (json as readonly Json[]) : undefined;
  if (elements && (elements.length === 0 || elements.length > MAX_BATCH)) throw invalid(`A batch has 1 to ${MAX_BATCH} messages.`);
  const all = elements ?? [json];
  const messages = all.map(messageOf);
  checkHeaders(head, messages);
  const asked = messages.flatMap((message, at) => askedBy(message, all[at]!));
  if (asked.length > MAX_ASKED) throw invalid(`The messages of a batch must name at most ${MAX_ASKED} resources.`);
  return {
    messages: asked,
    batch: elements !== undefined,
    forwarded: Buffer.from(JSON.stringify(json)),
  };
};

const MAX_RECORDED = 256;
const cut = (text: string | undefined, most = MAX_RECORDED): string | undefined => text?.slice(0, most);

/** What a record says of a request: of several messages, of the one that was refused, or else of the last. */
export const mcpMetadata = ({ session, protocol }: RequestHead['mcp'], message: McpMessage | undefined): McpMetadata => {
  const { method, tool, resource } = message?.facts ?? {};
  const said = { method: cut(method), tool: cut(tool), resource: cut(resource, 2_048), session: cut(session), protocol: cut(protocol) };
  return Object.fromEntries(Object.entries(said).filter(([, text]) => text !== undefined)) as McpMetadata;
};
