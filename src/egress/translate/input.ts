import type { PolicySet } from '#model';
import type { Slice } from '../slices.ts';
import type { UdpRelay } from '../steering/index.ts';
import type { HostUpstream } from '../upstreams.ts';

/** All that the Envoy of one gateway depends on. */
export interface TranslateInput {
  readonly policy: PolicySet;
  /** Index of the gateway on its worker. */
  readonly index: number;
  readonly slice: Slice;
  /** File of the gateway namespace, in which the listener is opened. */
  readonly netns: string;
  readonly accessLog: string;
  /** Addresses of the worker itself: never dialled, not even by an alias. */
  readonly ownAddresses: readonly string[];
  /** Names that AI and MCP routes claim by a pattern, and that somebody asked for. */
  readonly names: readonly string[];
  /** Values by name, and why one is not there. Only a key that signs is put into a resource; the others travel by SDS. */
  readonly credentials: { readonly values: ReadonlyMap<string, string>; readonly unavailable: ReadonlyMap<string, string> };
  /** Destinations over UDP. */
  readonly relays: readonly UdpRelay[];
  /** Names the endpoints of an upstream (EDS). */
  readonly serviceOf: (upstream: HostUpstream) => string;
  /** A sentence when a service leads to nothing but forbidden addresses; else empty. */
  readonly forbidden: (service: string) => string;
}

export interface BootstrapInput {
  /** `namespace/name`; also Envoy's node id, by which it gets its resources. */
  readonly gateway: string;
  readonly adminSocket: string;
  readonly xdsSocket: string;
  readonly engineSocket: string;
}

/** The name of a gateway, `namespace/name`. */
export const gatewayName = ({ gateway }: PolicySet): string => `${gateway.namespace}/${gateway.name}`;

/** The chains that read requests, inside TLS and in the clear: of admitted destinations, and of the deny slice. */
export type RouteTable = 'l7' | 'http' | 'deny' | 'http-deny';
