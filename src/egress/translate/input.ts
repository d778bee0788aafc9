import type { PolicySet } from '#model';
import type { Slice } from '../slices.ts';

/** All that the Envoy of one gateway depends on. Credential values are not in it: they travel by SDS alone. */
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
  /** Names of the credentials whose values are there. */
  readonly credentials: ReadonlySet<string>;
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

/** The two route tables: of admitted names, and of the deny slice. */
export type RouteTable = 'l7' | 'deny';
