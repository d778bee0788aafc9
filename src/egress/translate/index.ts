// egress/translate: consumes a PolicySet and where things are on this worker; produces Envoy's resources as literals.
// Owns: the shape of Envoy's configuration. Pure: the same input gives the same bytes, tested by golden pairs.
import type { ResourceJson } from '#wire/xds';
import { clusters, secretNames } from './clusters.ts';
import type { TranslateInput } from './input.ts';
import { listeners } from './listener.ts';
import { routeTables } from './routes.ts';
import { udpClusters, udpListeners } from './udp.ts';

export { SAFE_OPERATORS } from './access-log.ts';
export { bootstrap } from './bootstrap.ts';
export { UPSTREAM_CA } from './clusters.ts';
export { gatewayName, type BootstrapInput, type TranslateInput } from './input.ts';

/** What a gateway's Envoy gets by ADS, but for secrets, of which only the names are known here. */
export interface Translated {
  readonly clusters: readonly ResourceJson[];
  readonly listeners: readonly ResourceJson[];
  readonly routes: readonly ResourceJson[];
  readonly secrets: readonly string[];
}

export const translate = (input: TranslateInput): Translated => ({
  clusters: [...clusters(input), ...udpClusters(input.relays, input.serviceOf)],
  listeners: [...listeners(input), ...udpListeners(input, input.relays)],
  routes: routeTables(input),
  secrets: secretNames(input),
});
