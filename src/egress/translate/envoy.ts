import type { ResourceJson } from '#wire/xds';

/** Literals of Envoy's API, written as in its YAML. */
export type Json = { readonly [field: string]: unknown };

export const any = (type: string, fields: Json = {}): ResourceJson => ({ '@type': `type.googleapis.com/${type}`, ...fields });

/** A TypedExtensionConfig, or anything of the same shape (filters, access loggers). */
export const extension = (name: string, type: string, fields: Json = {}): Json => ({ name, typed_config: any(type, fields) });

/** A duration as JSON has it, from milliseconds. */
export const duration = (ms: number): string => `${ms / 1000}s`;

/** Configuration that comes over the one ADS stream. */
export const ADS: Json = { resource_api_version: 'V3', ads: {} };

/** `network/prefix` as a CidrRange. */
export const cidr = (text: string): Json => {
  const [address_prefix, prefix] = text.split('/');
  return { address_prefix, prefix_len: Number(prefix) };
};

/** How long a connection or request waits for its verdict when `egress` does not answer. */
export const VERDICT_TIMEOUT = '2s';

/**
 * What one side of a connection may hold in memory when the other does not read; a sandbox has up to a thousand. What AI routes hold
 * back has a limit of its own.
 */
export const CONNECTION_BUFFER = 256 * 1024;
