import { USAGE_FORMAT } from '../../../src/egress/translate/access-log.ts';
import { CONNECTION_BUFFER, extension, type Json } from '../../../src/egress/translate/envoy.ts';
import { usageFilters } from '../../../src/egress/translate/usage.ts';

/** In a namespace of its own. */
export const PORTS = { envoy: 18_080, upstream: 18_081 };

/** What the engine would say of the request, taken from its headers. */
const ENGINE = `
function envoy_on_request(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("clrk.engine", "provider", handle:headers():get("x-provider") or "")
  metadata:set("clrk.engine", "stream", handle:headers():get("x-stream") == "true")
end
`;

const lua = (name: string, source: string): Json => extension(name, 'envoy.extensions.filters.http.lua.v3.Lua', { default_source_code: { inline_string: source } });
const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });

/** A whole configuration: one listener with the filters that read usage, one upstream, and a log of what they read. */
export const envoyConfig = (accessLog: string): Json => ({
  static_resources: {
    listeners: [
      {
        name: 'replay',
        per_connection_buffer_limit_bytes: CONNECTION_BUFFER,
        address: address(PORTS.envoy),
        filter_chains: [
          {
            filters: [
              extension('http', 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
                stat_prefix: 'replay',
                http_filters: [lua('engine', ENGINE), ...usageFilters(), extension('router', 'envoy.extensions.filters.http.router.v3.Router', {})],
                route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream' } }] }] },
                access_log: [
                  extension('file', 'envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                    path: accessLog,
                    log_format: { json_format: { path: '%PATH(NQ:PATH)%', usage: USAGE_FORMAT }, omit_empty_values: true },
                  }),
                ],
              }),
            ],
          },
        ],
      },
    ],
    clusters: [
      {
        name: 'upstream',
        per_connection_buffer_limit_bytes: CONNECTION_BUFFER,
        type: 'STATIC',
        connect_timeout: '1s',
        load_assignment: { cluster_name: 'upstream', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(PORTS.upstream) } }] }] },
      },
    ],
  },
});
