import { globMatch } from '#lib';
import { canonicalHostGlob, hostMatches } from './host-glob.ts';

/** `endpoints` of a match: which calls of an API, by path, or by host and path. */
export interface Endpoint {
  /** A name, or a pattern of `host-glob`; absent = whichever host the provider has. */
  readonly host?: string;
  /** Glob; absent = every path. */
  readonly path?: string;
}

/**
 * `/v1/*` and `*` are paths, `api.example.com/v1/*` and `*.example.com` have a host: what is before the first `/` is one when it
 * has a dot and is a host name. No path can be meant by such a text, since every path begins with `/`.
 */
export const parseEndpoint = (text: string): Endpoint => {
  if (text === '*') return {};
  const bare = text.replace(/^https:\/\//i, '');
  const slash = bare.indexOf('/');
  const first = slash < 0 ? bare : bare.slice(0, slash);
  const host = first.includes('.') ? canonicalHostGlob(first) : undefined;
  if (host === undefined) return { path: text };
  return { host, ...(slash >= 0 && { path: bare.slice(slash) }) };
};

const cache = new Map<string, Endpoint>();
const parsed = (text: string): Endpoint => {
  let endpoint = cache.get(text);
  if (!endpoint) {
    if (cache.size > 10_000) cache.clear();
    cache.set(text, (endpoint = parseEndpoint(text)));
  }
  return endpoint;
};

/** Whether an endpoint of a match is about a request. */
export const endpointMatches = (text: string, request: { readonly host: string; readonly path: string }): boolean => {
  const { host, path } = parsed(text);
  return (host === undefined || hostMatches(host, request.host)) && (path === undefined || globMatch(path, request.path));
};
