import { textMatch } from '#lib';
import { AI_PORT } from './claimed.ts';
import { canonicalHostGlob, hostMatches } from './host-glob.ts';
import { canonicalHost } from './host.ts';

/** `servers` of a match: URLs of MCP servers. */
export interface McpServer {
  /** A name, or a pattern of `host-glob`. */
  readonly host: string;
  readonly port: number;
  /** In it `*` stands for any text. */
  readonly path: string;
}

const EVERY_PATH = '/*';
const URL_PATTERN = /^https:\/\/([^/?#@:\s]+)(?::(\d{1,5}))?(\/[^?#\s]*)?$/i;

/** `https://mcp.example.com/mcp`, `https://*.example.com:8443/*`; without a path every path is meant. Undefined for what is no such URL. */
export const parseMcpServer = (text: string): McpServer | undefined => {
  const [, name = '', digits, path = EVERY_PATH] = URL_PATTERN.exec(text) ?? [];
  const host = canonicalHost(name) ?? canonicalHostGlob(name);
  const port = digits === undefined ? AI_PORT : Number(digits);
  return host !== undefined && port > 0 && port < 65_536 ? { host, port, path } : undefined;
};

const cache = new Map<string, McpServer | undefined>();
const parsed = (text: string): McpServer | undefined => {
  if (!cache.has(text)) {
    if (cache.size > 10_000) cache.clear();
    cache.set(text, parseMcpServer(text));
  }
  return cache.get(text);
};

/** What a server could take for another path than the one that is compared: slashes and dots in disguise. Envoy has resolved plain dots. */
const AMBIGUOUS_PATH = /%2f|%5c|%2e|%00|\\|\/\.{1,2}(?:[/;]|$)/i;

/** Whether a URL pattern is about a request. */
export const mcpServerMatches = (text: string, request: { readonly host: string; readonly port: number; readonly path: string }): boolean => {
  const server = parsed(text);
  if (!server || server.port !== request.port || !hostMatches(server.host, request.host)) return false;
  return server.path === EVERY_PATH || (textMatch(server.path, request.path) && (server.path === request.path || !AMBIGUOUS_PATH.test(request.path)));
};

/** Whether a URL pattern says which paths of its host are a server's. */
export const namesPath = (text: string): boolean => !/^\/\*+$/.test(parsed(text)?.path ?? EVERY_PATH);

/** Hosts that two names or patterns both stand for, as the narrower of them; undefined when there is none. In a pattern `*` stays inside a label. */
export const commonHost = (a: string, b: string): string | undefined => {
  // What stands for a `*` here is in no pattern.
  const covers = (glob: string, host: string): boolean => hostMatches(glob, host.replaceAll('*', 'q0zx9'));
  return covers(b, a) ? a : covers(a, b) ? b : undefined;
};
