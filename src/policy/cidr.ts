import { isIP } from 'node:net';

/** Ranges of addresses as numbers, IPv4 and IPv6. */
export interface Cidr {
  readonly family: 4 | 6;
  /** Network address; the bits after the prefix are 0. */
  readonly network: bigint;
  readonly prefix: number;
}

export interface Address {
  readonly family: 4 | 6;
  readonly value: bigint;
}

export const widthOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

const dotted = (text: string): bigint => text.split('.').reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);

const groups = (text: string): readonly bigint[] =>
  text === '' ? [] : text.split(':').flatMap((group) => (group.includes('.') ? [dotted(group) >> 16n, dotted(group) & 0xffffn] : BigInt(`0x${group}`)));

/** An address in its usual notation; undefined for anything else, a zone, a leading zero. */
export const parseAddress = (text: string): Address | undefined => {
  const family = isIP(text);
  if (family === 4) return { family, value: dotted(text) };
  if (family !== 6 || text.includes('%')) return undefined;
  const [head = '', tail] = text.split('::');
  const [front, back] = [groups(head), groups(tail ?? '')];
  const all = [...front, ...Array<bigint>(8 - front.length - back.length).fill(0n), ...back];
  return { family, value: all.reduce((value, group) => (value << 16n) | group, 0n) };
};

const networkOf = (family: 4 | 6, value: bigint, prefix: number): bigint => {
  const host = BigInt(widthOf(family) - prefix);
  return (value >> host) << host;
};

/** A range, or one address alone; bits after the prefix are dropped. */
export const parseCidr = (text: string): Cidr | undefined => {
  const [address = '', length, ...more] = text.split('/');
  const parsed = parseAddress(address);
  if (!parsed || more.length > 0) return undefined;
  const width = widthOf(parsed.family);
  if (length !== undefined && (!/^(?:0|[1-9]\d{0,2})$/.test(length) || Number(length) > width)) return undefined;
  const prefix = length === undefined ? width : Number(length);
  return { family: parsed.family, network: networkOf(parsed.family, parsed.value, prefix), prefix };
};

/** The network of an address at a prefix length: equal for all addresses of one range. */
export const networkAt = ({ family, value }: Address, prefix: number): bigint => networkOf(family, value, prefix);

export const cidrContains = ({ family, network, prefix }: Cidr, address: Address): boolean =>
  family === address.family && networkAt(address, prefix) === network;

/** Shortened as URLs write it, which is how RFC 5952 does. */
const formatV6 = (value: bigint): string => {
  const text = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - index * 16)) & 0xffffn).toString(16)).join(':');
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
};

export const formatAddress = ({ family, value }: Address): string =>
  family === 6 ? formatV6(value) : [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');

/** `network/prefix`, in one spelling for each range. */
export const formatCidr = ({ family, network, prefix }: Cidr): string => `${formatAddress({ family, value: network })}/${prefix}`;
