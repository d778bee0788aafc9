import { BlockList, isIPv4 } from 'node:net';

/** Ranges no alias may name: this host, link-local and cloud metadata, sandboxes, gateway slices, multicast, reserved. */
const NEVER: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['192.0.0.0', 24],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
];

/** Private ranges: fine for an alias, never for an answer of public DNS (rebinding). Source: RFC 1918. */
const PRIVATE: readonly (readonly [string, number])[] = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
];

const blockList = (ranges: readonly (readonly [string, number])[]): BlockList => {
  const list = new BlockList();
  for (const [network, prefix] of ranges) list.addSubnet(network, prefix, 'ipv4');
  return list;
};
const never = blockList(NEVER);
const dialable = blockList([...NEVER, ...PRIVATE]);

/** Whether a hostAlias must not name this address; anything but a dotted IPv4 address is forbidden. */
export const isForbiddenAlias = (ip: string): boolean => !isIPv4(ip) || never.check(ip, 'ipv4');

/** Whether an address that public DNS gave must not be dialled. */
export const isForbiddenUpstream = (ip: string): boolean => !isIPv4(ip) || dialable.check(ip, 'ipv4');

/** The same ranges as `network/prefix`, for guards that are configuration rather than code. */
export const FORBIDDEN_ALIAS_CIDRS: readonly string[] = NEVER.map(([network, prefix]) => `${network}/${prefix}`);
export const FORBIDDEN_UPSTREAM_CIDRS: readonly string[] = [...NEVER, ...PRIVATE].map(([network, prefix]) => `${network}/${prefix}`);
