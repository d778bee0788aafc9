import { isIP } from 'node:net';
import type { ConnectionFacts, ExplainQuestion, McpFacts } from '#model';
import { canonicalHost } from './host.ts';
import { RESOURCE_METHODS, TOOL_METHOD } from './mcp-match.ts';

/** What an agent would do, read from the words of a person: the facts of a connection, and of a request on it. */
export interface Question {
  /** In canonical spelling. */
  readonly asked: string;
  readonly connection: Omit<ConnectionFacts, 'agent'>;
  readonly request?: { readonly method: string; readonly path: string; readonly model?: string; readonly mcp?: McpFacts };
}

const SCHEMES: Readonly<Record<string, { readonly speaks: 'tls' | 'plain'; readonly port: number }>> = {
  'https:': { speaks: 'tls', port: 443 },
  'wss:': { speaks: 'tls', port: 443 },
  'http:': { speaks: 'plain', port: 80 },
  'ws:': { speaks: 'plain', port: 80 },
};
const TRANSPORTS: Readonly<Record<string, ConnectionFacts['transport']>> = { tcp: 'TCP', udp: 'UDP' };

/** RFC 9110, 5.6.2: a method is a token. */
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;
const quoted = (text: string): string => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);

/** An address, or a name as policy spells it; undefined for what is neither. */
const placeOf = (text: string): Pick<ConnectionFacts, 'host' | 'address'> | undefined => {
  const bare = text.replace(/^\[(.*)\]$/, '$1');
  // The spelling of addresses is that of URLs: one for each address.
  if (isIP(bare) === 6) return bare.includes('%') ? undefined : { address: new URL(`http://[${bare}]/`).hostname.slice(1, -1) };
  if (isIP(bare) === 4) return { address: bare };
  const host = text.includes(':') ? undefined : canonicalHost(text);
  return host === undefined ? undefined : { host };
};

const noPlace = (text: string): string =>
  `${quoted(text)} is neither a host name nor an IP address, so that no route can name it: host names have letters, digits, hyphens and dots`;

/** The server name that is said: what was given (empty = none), else the name of the URL, as clients do; never an address. */
const serverName = (given: string | undefined, host: string | undefined): string | undefined => (given === undefined ? host : given.toLowerCase() || undefined);

/** The message to an MCP server that is asked about: a tool is called and a resource read unless the method says otherwise. */
const parseMessage = (method: string, { mcpMethod, tool, resource }: ExplainQuestion): McpFacts | string | undefined => {
  if (mcpMethod === undefined && tool === undefined && resource === undefined) return undefined;
  if (method !== 'POST') return '--mcp-method, --tool and --resource are for messages to MCP servers, which are sent with POST';
  if (tool !== undefined && resource !== undefined) return 'a message is about a tool or a resource, not both: leave --tool or --resource away';
  const message = mcpMethod ?? (tool === undefined ? RESOURCE_METHODS[0]! : TOOL_METHOD);
  if (tool !== undefined && message !== TOOL_METHOD) return `--tool is for ${TOOL_METHOD}, not for ${quoted(message)}`;
  if (resource !== undefined && !RESOURCE_METHODS.includes(message)) return `--resource is for ${RESOURCE_METHODS.join(', ')}, not for ${quoted(message)}`;
  return { method: message, ...(tool !== undefined && { tool }), ...(resource !== undefined && { resource }) };
};

const messageText = ({ method, tool, resource }: McpFacts): string => {
  const about = tool ?? resource;
  return ` with message ${method}${about === undefined ? '' : ` of ${quoted(about)}`}`;
};

const parseRequest = (question: ExplainQuestion): Question | string => {
  const { method = '', url = '', sni, model } = question;
  if (!METHOD.test(method)) return `${quoted(method)} is not an HTTP method (GET, POST, …), tcp or udp`;
  const parsed = URL.parse(url);
  const scheme = parsed && SCHEMES[parsed.protocol];
  if (!parsed || !scheme) return `${quoted(url)} is not a URL that begins with https://, http://, wss:// or ws://`;
  if (parsed.username || parsed.password) return 'a URL with a user or password in it is not explained: leave them away, they take no part in a decision';
  const place = placeOf(parsed.hostname);
  if (!place) return noPlace(parsed.hostname);
  if (scheme.speaks === 'plain' && sni !== undefined) return `--sni is for TLS, and ${parsed.protocol}// has none`;
  const upper = method.toUpperCase();
  const mcp = parseMessage(upper, question);
  if (typeof mcp === 'string') return mcp;
  const name = scheme.speaks === 'tls' ? serverName(sni, place.host) : undefined;
  const port = parsed.port === '' ? scheme.port : Number(parsed.port);
  const said = scheme.speaks === 'tls' && name !== place.host ? ` with server name ${name === undefined ? 'absent' : quoted(name)}` : '';
  return {
    asked: `${upper} ${parsed.protocol}//${parsed.host}${parsed.pathname}${model ? ` for model ${quoted(model)}` : ''}${mcp ? messageText(mcp) : ''}${said}`,
    connection: { transport: 'TCP', port, ...place, speaks: scheme.speaks, ...(name !== undefined && { sni: name }) },
    request: { method: upper, path: parsed.pathname, ...(model && { model }), ...(mcp && { mcp }) },
  };
};

const DESTINATION = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/;

const parseConnection = ({ protocol = '', destination = '', sni, model, mcpMethod, tool, resource }: ExplainQuestion): Question | string => {
  const transport = TRANSPORTS[protocol.toLowerCase()];
  if (!transport) return `${quoted(protocol)} is neither tcp nor udp`;
  if (model !== undefined) return '--model is for requests: give a method and a URL';
  if ((mcpMethod ?? tool ?? resource) !== undefined) return '--mcp-method, --tool and --resource are for requests: give POST and a URL';
  if (sni !== undefined && transport === 'UDP') return '--sni is for TLS, and there is none over UDP';
  const [, text = '', digits = ''] = DESTINATION.exec(destination) ?? [];
  if (digits === '') return `${quoted(destination)} is not HOST:PORT, for example db.example.com:5432, 10.40.0.5:5432 or [2001:db8::5]:5432`;
  const place = placeOf(text);
  if (!place) return noPlace(text);
  const port = Number(digits);
  if (port < 1 || port > 65_535) return `${digits} is not a port from 1 to 65535`;
  const name = sni === undefined ? undefined : serverName(sni, undefined);
  const tls = sni === undefined ? '' : name === undefined ? ', TLS without a server name' : `, TLS with server name ${quoted(name)}`;
  const where = place.host ?? (isIP(place.address!) === 6 ? `[${place.address}]` : place.address);
  return {
    asked: `${protocol.toLowerCase()} ${where}:${port}${tls}`,
    connection: { transport, port, ...place, speaks: sni === undefined ? 'plain' : 'tls', ...(name !== undefined && { sni: name }) },
  };
};

/** The facts a question is about, or what is wrong with it, as a sentence without its full stop. */
export const parseQuestion = (question: ExplainQuestion): Question | string =>
  question.url === undefined ? parseConnection(question) : parseRequest(question);
