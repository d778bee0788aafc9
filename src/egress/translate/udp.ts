import { createHash } from 'node:crypto';
import type { ResourceJson } from '#wire/xds';
import type { UdpRelay } from '../steering/index.ts';
import { accessLog } from './access-log.ts';
import { ADS, any, extension, type Json } from './envoy.ts';
import type { TranslateInput } from './input.ts';

/** A flow without a datagram for this long is over, and recorded. */
const IDLE = '30s';
/** Flows of one destination; each has a socket. One sandbox has a bound of its own in the gateway namespace. */
const MAX_SESSIONS = 4096;

/** `udp/198.18.0.5:123`, with a mark where what the name resolves to is confined. */
const relayName = ({ address, port, ranges }: UdpRelay): string =>
  `udp/${address}:${port}${ranges ? `/${createHash('sha256').update(ranges.join()).digest('hex').slice(0, 8)}` : ''}`;

/** Of flows. What the relay is for is known; of a flow, Envoy knows the rest. Shape of model `AccessLine`. */
const format = ({ address, port, host, route }: UdpRelay): Json => ({
  time: '%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%',
  id: '%STREAM_ID%',
  chain: 'udp',
  source: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  destination: `${address}:${port}`,
  ...(host !== undefined && { host }),
  route,
  durationMs: '%DURATION%',
  requestBytes: '%BYTES_RECEIVED%',
  responseBytes: '%BYTES_SENT%',
  flags: '%RESPONSE_FLAGS%',
  upstream: '%UPSTREAM_HOST%',
});

const listener = (of: TranslateInput, relay: UdpRelay): ResourceJson => {
  const name = relayName(relay);
  const route = extension('route', 'envoy.extensions.filters.udp.udp_proxy.v3.Route', { cluster: name });
  return any('envoy.config.listener.v3.Listener', {
    name,
    address: { socket_address: { protocol: 'UDP', address: '0.0.0.0', port_value: relay.privatePort, network_namespace_filepath: of.netns } },
    udp_listener_config: {},
    listener_filters: [
      extension('udp', 'envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig', {
        stat_prefix: 'udp',
        idle_timeout: IDLE,
        matcher: { on_no_match: { action: route } },
        access_log: accessLog(of, format(relay)),
      }),
    ],
  });
};

/**
 * A listener for each destination over UDP, on its private port of the gateway namespace. Which sandbox reaches it is decided
 * there, by nftables; what it reaches is its cluster. Nothing in it changes with the revision: an update ends its flows.
 */
export const udpListeners = (of: TranslateInput, relays: readonly UdpRelay[]): readonly ResourceJson[] => relays.map((relay) => listener(of, relay));

/** Where relayed datagrams go: to the dialled address, or to the endpoints of a name, which `serviceOf` gives the EDS name of. */
export const udpClusters = (
  relays: readonly UdpRelay[],
  serviceOf: (upstream: { readonly host: string; readonly port: number; readonly ranges?: readonly string[] }) => string,
): readonly ResourceJson[] =>
  relays.map((relay) => {
    const name = relayName(relay);
    const { address, port, host, ranges } = relay;
    const where: Json =
      host === undefined
        ? {
            type: 'STATIC',
            load_assignment: {
              cluster_name: name,
              endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { protocol: 'UDP', address, port_value: port } } } }] }],
            },
          }
        : { type: 'EDS', eds_cluster_config: { eds_config: ADS, service_name: serviceOf({ host, port, ...(ranges && { ranges }) }) } };
    return any('envoy.config.cluster.v3.Cluster', {
      name,
      connect_timeout: '5s',
      circuit_breakers: { thresholds: [{ max_connections: MAX_SESSIONS }] },
      ...where,
    });
  });
