import type { MCPRoute } from '#api';
import type { Claim, Denial } from '#model';
import { keyOf } from './attach.ts';
import { canonicalHost } from './host.ts';

const HTTPS_PORT = 443;
const HTTP_PORT = 80;

/** A name or `*.x`; a wilder first label counts as `*`, which claims more; other globs are no claim. */
const hostPattern = (text: string): string | undefined => {
  const [first = '', ...rest] = text.toLowerCase().split('.');
  const below = canonicalHost(rest.join('.'));
  return first.includes('*') || first.includes('?') ? below && `*.${below}` : canonicalHost(text);
};

/** `https://mcp.example.com:8443/*` -> its host and port. */
const ofServer = (pattern: string): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(?:(https?):\/\/)?([^/?#@:]+)(?::(\d{1,5}))?(?:[/?#]|$)/i.exec(pattern);
  const host = match?.[2] === undefined ? undefined : hostPattern(match[2]);
  if (host === undefined) return undefined;
  return { host, port: match?.[3] ? Number(match[3]) : match?.[1]?.toLowerCase() === 'http' ? HTTP_PORT : HTTPS_PORT };
};

/** Hosts that an MCPRoute has for itself: its `hostnames`, and those of its `servers`. One that names neither claims nothing. */
export const claimsOf = (route: MCPRoute, denied: Denial | undefined): readonly Claim[] => {
  const { namespace, name } = keyOf(route);
  const servers = route.spec.rules.flatMap(({ matches = [] }) => matches.flatMap((match) => match.servers ?? [])).flatMap((server) => ofServer(server) ?? []);
  const hostnames = (route.spec.hostnames ?? []).map((host) => ({ host, port: HTTPS_PORT }));
  const byPort = Map.groupBy([...hostnames, ...servers], ({ port }) => port);
  return [...byPort]
    .toSorted(([a], [b]) => a - b)
    .map(([port, named]) => ({
      route: `MCPRoute/${namespace}/${name}`,
      hosts: [...new Set(named.map(({ host }) => host))].sort(),
      port,
      ...(denied && { denied }),
    }));
};
