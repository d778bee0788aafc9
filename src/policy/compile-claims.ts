import type { MCPRoute } from '#api';
import type { Claim, Denial } from '#model';
import { keyOf } from './attach.ts';
import { canonicalHost } from './host.ts';

/** A name or `*.x`; a wilder first label counts as `*`, which claims more; other globs are no claim. */
const hostPattern = (text: string): string | undefined => {
  const [first = '', ...rest] = text.toLowerCase().split('.');
  const below = canonicalHost(rest.join('.'));
  return first.includes('*') || first.includes('?') ? below && `*.${below}` : canonicalHost(text);
};

/** `https://mcp.example.com:8443/*` -> its host. */
const ofServer = (pattern: string): string | readonly never[] => {
  const [, host = ''] = /^(?:https?:\/\/)?([^/?#@:]+)(?::\d{1,5})?(?:[/?#]|$)/i.exec(pattern) ?? [];
  return hostPattern(host) ?? [];
};

/** Hosts that an MCPRoute has for itself: its `hostnames`, and those of its `servers`. One that names neither claims nothing. */
export const claimsOf = (route: MCPRoute, denied: Denial | undefined): readonly Claim[] => {
  const { namespace, name } = keyOf(route);
  const servers = route.spec.rules.flatMap(({ matches = [] }) => matches.flatMap((match) => match.servers ?? [])).flatMap(ofServer);
  const hosts = [...new Set([...(route.spec.hostnames ?? []), ...servers])].sort();
  return hosts.length === 0 ? [] : [{ route: `MCPRoute/${namespace}/${name}`, hosts, ...(denied && { denied }) }];
};
