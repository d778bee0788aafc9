import { VERDICT_KINDS } from '../verdicts/key.ts';
import { any, extension, type Json } from './envoy.ts';
import type { BootstrapInput } from './input.ts';

const MIB = 1024 * 1024;

const grpcCluster = (name: string, socket: string, limits: Json = {}, http2: Json = {}): Json => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  ...limits,
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
      explicit_http_config: {
        http2_protocol_options: { initial_stream_window_size: MIB, initial_connection_window_size: 16 * MIB, max_concurrent_streams: 4096, ...http2 },
      },
    }),
  },
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: socket } } } }] }] },
});

/** Requests to the engine are bounded by the connections of sandboxes, not by the default of 1,024. */
const ENGINE_LIMITS: Json = { circuit_breakers: { thresholds: [{ max_connections: 4096, max_pending_requests: 4096, max_requests: 65_536 }] } };

/** An engine that hangs answers no ping: its connection is closed, and what waits for it refused. Nothing else bounds the wait for a short body. */
const ENGINE_PING: Json = { connection_keepalive: { interval: '1s', timeout: '2s' } };

/**
 * The bootstrap of a gateway's Envoy: constant for its life, everything else comes by ADS. A memory ceiling ends the
 * requests that hold most before the process dies of it.
 */
export const bootstrap = (input: BootstrapInput): Json => ({
  node: { id: input.gateway, cluster: 'egress' },
  admin: {
    address: { pipe: { path: input.adminSocket, mode: 0o660 } },
    allow_paths: [{ exact: '/ready' }, { prefix: '/stats' }, { exact: '/server_info' }, { prefix: '/config_dump' }, { exact: '/reopen_logs' }],
  },
  dynamic_resources: {
    ads_config: {
      api_type: 'DELTA_GRPC',
      transport_api_version: 'V3',
      set_node_on_first_message_only: true,
      // Envoy's default back-off grows to seconds; with this one a restarted control plane is found within half a second.
      grpc_services: [{ envoy_grpc: { cluster_name: 'xds', retry_policy: { retry_back_off: { base_interval: '0.05s', max_interval: '0.5s' } } } }],
    },
    lds_config: { resource_api_version: 'V3', ads: {} },
    cds_config: { resource_api_version: 'V3', ads: {} },
  },
  static_resources: { clusters: [grpcCluster('xds', input.xdsSocket), grpcCluster('engine', input.engineSocket, ENGINE_LIMITS, ENGINE_PING)] },
  layered_runtime: {
    layers: [
      {
        name: 'static',
        static_layer: {
          // Half-closes ext_proc streams instead of resetting them: a reset storm would close the shared connection.
          'envoy.reloadable_features.ext_proc_graceful_grpc_close': true,
        },
      },
    ],
  },
  // What grows with what agents ask for has no statistics: leaves and verdicts (22 KB each).
  stats_config: {
    stats_matcher: {
      exclusion_list: { patterns: [{ prefix: 'sds.' }, { contains: '.ssl.certificate.' }, ...VERDICT_KINDS.map((kind) => ({ prefix: `cluster.${kind}/` }))] },
    },
  },
  overload_manager: {
    refresh_interval: '0.25s',
    resource_monitors: [
      extension('envoy.resource_monitors.fixed_heap', 'envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig', { max_heap_size_bytes: 768 * MIB }),
      extension(
        'envoy.resource_monitors.global_downstream_max_connections',
        'envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
        { max_active_downstream_connections: 20_000 },
      ),
    ],
    actions: [
      { name: 'envoy.overload_actions.shrink_heap', triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.85 } }] },
      { name: 'envoy.overload_actions.stop_accepting_requests', triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.95 } }] },
    ],
  },
});
