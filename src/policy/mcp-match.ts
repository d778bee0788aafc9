import { compilePattern, textMatch, type Pattern } from '#lib';
import type { McpFacts, McpMatch, NamePatterns, RequestFacts } from '#model';
import { AI_PORT } from './claimed.ts';
import { mcpServerMatches, namesPath } from './mcp-server.ts';

/** Whether a match of an MCPRoute is about a request. */

/** Methods about one resource, which they name in `params.uri`. */
export const RESOURCE_METHODS: readonly string[] = ['resources/read', 'resources/subscribe', 'resources/unsubscribe'];
export const TOOL_METHOD = 'tools/call';

/** What tells an agent which tools and resources there are: admitted where some of them are. */
const LISTS = { tools: ['tools/list'], resources: ['resources/list', 'resources/templates/list'] } as const;

/** A stream of the server's, as revisions without sessions have it. Each resource it names is judged as one of `resources/subscribe`. */
export const LISTEN_METHOD = 'subscriptions/listen';

/** `server/discover` is what `initialize` is, where there are no sessions. */
const HANDSHAKE: readonly string[] = ['initialize', 'server/discover', 'ping', LISTEN_METHOD];

/** What sets up and keeps a session, and asks the server for nothing. */
export const isHandshake = ({ method }: McpFacts): boolean => method === undefined || HANDSHAKE.includes(method) || method.startsWith('notifications/');

const regexes = new Map<string, Pattern | undefined>();
const regexOf = (text: string): Pattern | undefined => {
  if (!regexes.has(text)) {
    if (regexes.size > 10_000) regexes.clear();
    const compiled = compilePattern(text);
    regexes.set(text, 'invalid' in compiled ? undefined : compiled);
  }
  return regexes.get(text);
};

/** Whether a name is one of these. `broken`: what a pattern that is none says; admission lets none in. */
export const isNamed = ({ globs = [], regexes: patterns = [] }: NamePatterns, name: string, broken = false): boolean =>
  globs.some((glob) => textMatch(glob, name)) || patterns.some((pattern) => regexOf(pattern)?.test(name) ?? broken);

/** Segments of dots, also with parameters (`..;x`), wherever they are: some servers take all of a URI for a path. */
const DOTS = /(?:^|[/:?#])\.{1,2}(?:[/;?#]|$)/;

const DISGUISED = /[ \u007f]|%(?:25)*(?:2f|2e|5c)/i;
// oxlint-disable-next-line no-control-regex -- control characters are what it finds
const CONTROL = /[\\\u0000-\u001f]/;

/**
 * A URI that servers could take for another one: with dots for segments, slashes or dots in disguise, or control characters. No pattern
 * is about it.
 */
const isPlainUri = (uri: string): boolean => {
  try {
    const path = decodeURIComponent(uri.replace(/[?#].*$/s, ''));
    return uri.isWellFormed() && !DISGUISED.test(uri) && !/%/.test(path) && ![uri, path].some((text) => CONTROL.test(text) || DOTS.test(text));
  } catch {
    return false;
  }
};

/** What of a match does not fit. */
export type McpMiss = 'Refused' | 'Server' | 'Method' | 'Tool' | 'Resource';

/** Whether the URL of a request is one of a match. */
export const serverMiss = ({ refused, servers }: McpMatch, facts: Pick<RequestFacts, 'host' | 'port' | 'path'>): 'Refused' | 'Server' | undefined => {
  if (refused !== undefined) return 'Refused';
  const there = servers?.length ? servers.some((server) => mcpServerMatches(server, facts)) : facts.port === AI_PORT;
  return there ? undefined : 'Server';
};

const messageMiss = ({ methods, tools, resources }: McpMatch, facts: McpFacts): 'Method' | 'Tool' | 'Resource' | undefined => {
  const { method = '', tool, resource } = facts;
  if (isHandshake(facts)) return undefined;
  if (methods?.length && !methods.some((glob) => textMatch(glob, method))) return 'Method';
  if (method === TOOL_METHOD && tools) return tool !== undefined && isNamed(tools, tool) ? undefined : 'Tool';
  if (RESOURCE_METHODS.includes(method) && resources?.length) {
    return resource !== undefined && isPlainUri(resource) && resources.some((glob) => textMatch(glob, resource)) ? undefined : 'Resource';
  }
  // What is named stands for what it is about: without `methods`, tools and resources are all there is.
  const about = [...(tools ? LISTS.tools : []), ...(resources?.length ? LISTS.resources : [])] as readonly string[];
  return methods?.length || about.length === 0 || about.includes(method) ? undefined : 'Method';
};

/** What is sent and not known is no handshake, and nothing a match could name. */
const UNKNOWN: McpFacts = { method: '' };
export const mcpFactsOf = ({ method, mcp }: RequestFacts): McpFacts => mcp ?? (method === 'POST' ? UNKNOWN : {});

/**
 * Without a message nothing tells a request to an MCP server from one to another API at its host: GET and DELETE are let through only to
 * paths that a match names.
 */
const isElsewhere = ({ servers = [] }: McpMatch, facts: RequestFacts): boolean =>
  facts.method !== 'POST' && !servers.some((server) => namesPath(server) && mcpServerMatches(server, facts));

/** What of a match does not fit a request; the server comes first. */
export const mcpMiss = (match: McpMatch, facts: RequestFacts): McpMiss | undefined =>
  serverMiss(match, facts) ?? (isElsewhere(match, facts) ? 'Server' : messageMiss(match, mcpFactsOf(facts)));
