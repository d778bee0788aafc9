import { cidrContains, parseAddress, parseCidr, type Address, type Cidr } from './cidr.ts';

/** Ranges nothing may name: this host, link-local and cloud metadata, carrier NAT, our own slices, multicast, reserved. */
const NEVER_V4 = [
  '0.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  // The host agent of Azure: metadata at an address that looks public.
  '168.63.129.16/32',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
];

/**
 * Everything but global unicast (2000::/3) and unique local (fc00::/7), so also loopback, IPv4-mapped addresses, NAT64, link-local
 * and multicast; of these two, what stands for IPv4 addresses (6to4, Teredo) and the metadata services of AWS and Google.
 * Source: https://www.iana.org/assignments/iana-ipv6-special-registry
 */
const NEVER_V6 = [
  '::/3',
  '4000::/2',
  '8000::/2',
  'c000::/3',
  'e000::/4',
  'f000::/5',
  'f800::/6',
  'fe00::/7',
  '2001::/23',
  '2002::/16',
  'fd00:ec2::/32',
  'fd20:ce::/32',
];

/** Private ranges: for an alias, or a match that names them; never for an answer of public DNS (rebinding). RFC 1918, RFC 4193. */
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'];

/** Ranges no upstream may be in, whatever names it; for guards that are configuration rather than code. */
export const FORBIDDEN_ALIAS_CIDRS: readonly string[] = [...NEVER_V4, ...NEVER_V6];
/** The same and the private ranges. */
export const FORBIDDEN_UPSTREAM_CIDRS: readonly string[] = [...FORBIDDEN_ALIAS_CIDRS, ...PRIVATE];

const parsed = (ranges: readonly string[]): readonly Cidr[] => ranges.flatMap((range) => parseCidr(range) ?? []);
/** For comparing whole ranges with them. */
export const FORBIDDEN_RANGES = parsed(FORBIDDEN_ALIAS_CIDRS);
const privateRanges = parsed(PRIVATE);

const isIn = (ranges: readonly Cidr[], address: Address): boolean => ranges.some((range) => cidrContains(range, address));

/** Whether nothing may name this address, neither a hostAlias nor a route; anything but a plain IPv4 or IPv6 address is forbidden. */
export const isForbiddenAlias = (ip: string): boolean => {
  const address = parseAddress(ip);
  return !address || isIn(FORBIDDEN_RANGES, address);
};

/** Whether an address is of a private network. */
export const isPrivate = (ip: string): boolean => {
  const address = parseAddress(ip);
  return address !== undefined && isIn(privateRanges, address);
};

export interface Permission {
  /** A hostAlias names the address. */
  readonly alias?: boolean;
  /** CIDRs of the match that admits the name, as a decision has them: the address must be in one, and may be private. */
  readonly ranges?: readonly string[];
  /** Addresses of the worker itself. */
  readonly own?: readonly string[];
}

/** Whether an address that a name resolved to must not be dialled. Without permission: only public addresses may. */
export const isForbiddenUpstream = (ip: string, { alias = false, ranges, own = [] }: Permission = {}): boolean => {
  const address = parseAddress(ip);
  if (!address || isIn(FORBIDDEN_RANGES, address) || own.includes(ip)) return true;
  return ranges ? !isIn(parsed(ranges), address) : isIn(privateRanges, address) && !alias;
};
