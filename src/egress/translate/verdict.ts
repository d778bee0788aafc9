import type { PolicySet } from '#model';
import type { ResourceJson } from '#wire/xds';
import type { Judged } from '../verdicts/judge.ts';
import type { VerdictKind } from '../verdicts/key.ts';
import { upstreamTls } from './clusters.ts';
import { ADS, any, CONNECTION_BUFFER, extension, type Json } from './envoy.ts';

/** How requests are spoken to an upstream; bytes of TCP are not spoken at all. */
const protocolOf = (kind: VerdictKind, filters: readonly Json[]): Json => {
  const options = (how: Json): Json => ({
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
        ...how,
        common_http_protocol_options: { idle_timeout: '60s' },
        http_filters: [...filters, extension('envoy.filters.http.upstream_codec', 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec')],
      }),
    },
  });
  if (kind === 'tls') return options({ auto_config: { http2_protocol_options: {} } });
  return kind === 'http' ? options({ explicit_http_config: { http_protocol_options: {} } }) : {};
};

const endpointsOf = (name: string, { upstream }: Judged, service: string | undefined): Json => {
  if (service !== undefined) return { type: 'EDS', eds_cluster_config: { eds_config: ADS, service_name: service } };
  const endpoint = upstream && 'address' in upstream ? upstream : undefined;
  const lb_endpoints = endpoint ? [{ endpoint: { address: { socket_address: { address: endpoint.address, port_value: endpoint.port } } } }] : [];
  return { type: 'STATIC', load_assignment: { cluster_name: name, endpoints: endpoint ? [{ lb_endpoints }] : [] } };
};

/**
 * A verdict as the cluster Envoy sends the connection to. Access logs and local replies read its metadata. A denied one has no
 * endpoint: a connection is closed at once, a request is answered with the reason. `service` names the endpoints of a host; a
 * denial that has one is of a name with forbidden addresses only, and Envoy goes on asking where it leads.
 * `filters` are those of its credential.
 */
export const verdictCluster = (
  name: string,
  kind: VerdictKind,
  judged: Judged,
  service: string | undefined,
  policy: Pick<PolicySet, 'trustBundle'>,
  filters: readonly Json[] = [],
): ResourceJson => {
  const { verdict, reason, message, status, route, rule, policies, revision } = judged.decision;
  const about = { verdict, reason, route, rule: String(rule), policy: policies[0] ?? '', revision, host: judged.host };
  const allowed = verdict === 'Allowed';
  return any('envoy.config.cluster.v3.Cluster', {
    name,
    connect_timeout: '5s',
    metadata: { filter_metadata: { clrk: allowed ? about : { ...about, message, status: String(status) } } },
    ...endpointsOf(name, judged, service),
    ...(allowed && {
      // No connection to an upstream is shared between two connections of sandboxes.
      connection_pool_per_downstream_connection: true,
      per_connection_buffer_limit_bytes: CONNECTION_BUFFER,
      circuit_breakers: { thresholds: [{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }] },
      ...(judged.serverName !== undefined && { transport_socket: upstreamTls(judged.serverName, policy) }),
      ...protocolOf(kind, filters),
    }),
  });
};
