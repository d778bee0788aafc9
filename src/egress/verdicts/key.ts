import { isIPv4 } from 'node:net';

/**
 * What a connection is judged by, as the name of the cluster Envoy asks for when it sees the first of its kind:
 * `<kind>/<block>/<address>:<port>/<name>/<hour>`, for example `tls/100.64.16.0/20/198.18.0.5:443/api.example.com/202633012`.
 * Every part is Envoy's own observation but for `name`, which the client sends; it must agree with the address.
 */
export interface VerdictKey {
  /**
   * `tcp`: not looked at (no TLS hello, or a socket without inspector). `tcps`: TLS that a TCP listener takes. `pass`: TLS that is
   * passed through. `tls`: a request inside TLS that ended here. `http`: a request in the clear.
   */
  readonly kind: VerdictKind;
  /** Block of the agent, CIDR. */
  readonly block: string;
  /** Address as it was dialled. */
  readonly address: string;
  readonly port: number;
  /** SNI or, of `http`, the Host; lower case as far as the client sent it so, unchecked. Empty when there is none. */
  readonly name: string;
  /** When it was asked for, to the hour. Keys of earlier hours are forgotten: Envoy asks for a name only once. */
  readonly hour: string;
}

export const VERDICT_KINDS = ['tcp', 'tcps', 'pass', 'tls', 'http'] as const;
export type VerdictKind = (typeof VERDICT_KINDS)[number];

const KEY = new RegExp(`^(${VERDICT_KINDS.join('|')})/(\\d{1,3}(?:\\.\\d{1,3}){3}/20)/(\\d{1,3}(?:\\.\\d{1,3}){3}):(\\d{1,5})/(.*)/(\\d{9})$`, 's');

/** Whether a cluster is a verdict, and none of the snapshot's. */
export const isVerdictName = (name: string): boolean => /^(?:tcps?|pass|tls|http)\//.test(name);

export const parseVerdictKey = (text: string): VerdictKey | undefined => {
  const [, kind, block, address, port, name, hour] = KEY.exec(text) ?? [];
  if (kind === undefined || !isIPv4(address!) || Number(port) > 65_535) return undefined;
  // Envoy writes a dash for what is not there; no host name is one.
  return { kind: kind as VerdictKind, block: block!, address: address!, port: Number(port), name: name === '-' ? '' : name!, hour: hour! };
};

/** The hour a time falls in, as `%START_TIME(%Y%j%H)%` writes it (UTC). */
export const hourOf = (ms: number): string => {
  const date = new Date(ms);
  const day = Math.floor((Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
  return `${date.getUTCFullYear()}${String(day).padStart(3, '0')}${String(date.getUTCHours()).padStart(2, '0')}`;
};

/** Envoy's operators for the parts of a key that it knows of every connection; `name` is an operator or a placeholder. */
export const keyFormat = (kind: VerdictKind, name: string): string =>
  `${kind}/%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(20)%/%DOWNSTREAM_LOCAL_ADDRESS%/${name}/%START_TIME(%Y%j%H)%`;
