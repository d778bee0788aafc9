import { keyFormat } from '../verdicts/key.ts';
import { accessLog, HTTP_FORMAT } from './access-log.ts';
import { ADS, any, extension, VERDICT_TIMEOUT, type Json } from './envoy.ts';
import { ECHO_HEADER, UNSEARCHED_LUA } from './credential-lua.ts';
import { OWN_HEADERS, STATUS_HEADER } from './headers.ts';
import { gatewayName, type RouteTable, type TranslateInput } from './input.ts';
import { localReplies } from './local-reply.ts';
import { usageFilters, WITHOUT_USAGE } from './usage.ts';

/** Dynamic metadata: what the engine judged. */
const ENGINE_NAMESPACE = 'clrk.engine';

/** Names that mean something to us or to Envoy are not the agent's to send, whatever comes after them. */
const RESERVED_PREFIXES = ['x-clrk-', 'x-envoy-'];
const setHeader = (key: string, value: string): Json => ({ append: { header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } });

/** Stands in a key for the Host until it is known to be a plain name. */
const HOST_MARK = '@';

/** Before anything else, also before routing: what is reserved goes, and the verdict to ask for comes. */
const earlyHeaders = (table: RouteTable): Json =>
  extension('envoy.http.early_header_mutation.header_mutation', 'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation', {
    mutations: [
      ...RESERVED_PREFIXES.map((prefix) => ({ remove_on_match: { key_matcher: { prefix } } })),
      ...(table === 'l7' ? [setHeader(OWN_HEADERS.verdict, keyFormat('tls', '%REQUESTED_SERVER_NAME%'))] : []),
      ...(table === 'http' ? [setHeader(OWN_HEADERS.verdict, keyFormat('http', HOST_MARK))] : []),
    ],
  });

const tellEngine = extension('clrk.headers', 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
  mutations: {
    request_mutations: [
      setHeader(OWN_HEADERS.id, '%STREAM_ID%'),
      setHeader(OWN_HEADERS.source, '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'),
      setHeader(OWN_HEADERS.destination, '%DOWNSTREAM_LOCAL_ADDRESS%'),
    ],
    // The last filter of an answer: what was injected is not told, whatever went wrong before.
    response_mutations: [{ remove: ECHO_HEADER }],
  },
});

/** The status a verdict asks for, in answers of our own; route tables drop the header from answers of upstreams. */
const APPLY_STATUS = `
${UNSEARCHED_LUA}
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("${ECHO_HEADER}") then return withhold(handle, headers) end
  local status = headers:get("${STATUS_HEADER}")
  if status then
    headers:remove("${STATUS_HEADER}")
    headers:replace(":status", status)
  end
end
`;

/**
 * SNI = Host, else 421: the certificate was made for the SNI, and the route chosen by the Host. Also keeps the authority as it
 * came, for the record. A port other than the dialled one is still part of the authority here, and differs.
 */
const SAME_NAME = `
function envoy_on_request(handle)
  local info = handle:streamInfo()
  local host = handle:headers():get(":authority") or ""
  info:dynamicMetadata():set("clrk", "host", host)
  local sni = info:requestedServerName() or ""
  if sni == "" or string.lower(sni) ~= string.lower(host) then
    handle:respond({[":status"] = "421"}, "")
  end
end
`;

/** Without TLS the Host is the only name; whether it is that of the address is for the verdict to say. */
const PLAIN_NAME = `
function envoy_on_request(handle)
  local headers = handle:headers()
  local host = string.lower(headers:get(":authority") or "")
  handle:streamInfo():dynamicMetadata():set("clrk", "host", host)
  if #host > 253 or not host:match("^[%w%-._]+$") then
    handle:respond({[":status"] = "421"}, "")
    return
  end
  local key = headers:get("${OWN_HEADERS.verdict}")
  if key then
    headers:replace("${OWN_HEADERS.verdict}", (key:gsub("${HOST_MARK}", host, 1)))
    handle:clearRouteCache()
  end
end
`;
const names = (table: RouteTable): Json =>
  extension('names', 'envoy.extensions.filters.http.lua.v3.Lua', {
    default_source_code: {
      inline_string: (table === 'l7' || table === 'deny' ? SAME_NAME : PLAIN_NAME).trimStart() + APPLY_STATUS,
    },
  });

/** Asks for the cluster of a verdict that Envoy does not hold yet. */
const onDemand = extension('verdict', 'envoy.extensions.filters.http.on_demand.v3.OnDemand', { odcds: { source: ADS, timeout: VERDICT_TIMEOUT } });

const engine = (input: TranslateInput): Json =>
  extension('engine', 'envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor', {
    stat_prefix: 'engine',
    grpc_service: { envoy_grpc: { cluster_name: 'engine' }, initial_metadata: [{ key: 'x-clrk-gateway', value: gatewayName(input.policy) }] },
    // Of the mode below; short bodies have another one (at-once.ts), in which the engine keeps the time and says the length.
    message_timeout: '2s',
    allow_content_length_header: true,
    failure_mode_allow: false,
    status_on_error: { code: 'ServiceUnavailable' },
    mutation_rules: { disallow_is_error: true },
    metadata_options: { receiving_namespaces: { untyped: [ENGINE_NAMESPACE] } },
    processing_mode: {
      request_header_mode: 'SEND',
      request_body_mode: 'BUFFERED',
      request_trailer_mode: 'SKIP',
      response_header_mode: 'SKIP',
      response_body_mode: 'NONE',
      response_trailer_mode: 'SKIP',
    },
  });

const router = extension('envoy.filters.http.router', 'envoy.extensions.filters.http.router.v3.Router', { suppress_envoy_headers: true });

/** The filters of a chain are the same for the life of a gateway: changing them would cut its streams. */
const filtersOf = (input: TranslateInput, table: RouteTable): readonly Json[] => {
  if (table === 'l7') return [tellEngine, names(table), onDemand, engine(input), ...usageFilters(), router];
  return table === 'http' ? [names(table), onDemand, router] : [names(table), router];
};

/** In the clear only HTTP/1.1 is spoken: no upgrade to, or prior knowledge of, HTTP/2. */
const codecOf = (table: RouteTable): string => (table === 'l7' || table === 'deny' ? 'AUTO' : 'HTTP1');

/** The HTTP half of a chain; its routes come by RDS. */
export const connectionManager = (input: TranslateInput, table: RouteTable): Json =>
  extension('envoy.filters.network.http_connection_manager', 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: table,
    codec_type: codecOf(table),
    rds: { route_config_name: table === 'http-deny' ? 'deny' : table, config_source: ADS },
    // The sandbox is an external client: its x-request-id, x-forwarded-for and x-envoy-* are replaced or dropped.
    use_remote_address: true,
    skip_xff_append: true,
    internal_address_config: { cidr_ranges: [] },
    generate_request_id: true,
    via: '',
    server_header_transformation: 'PASS_THROUGH',
    early_header_mutation_extensions: [earlyHeaders(table)],
    normalize_path: true,
    merge_slashes: false,
    path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
    strip_trailing_host_dot: true,
    strip_matching_host_port: true,
    max_request_headers_kb: 64,
    stream_idle_timeout: '300s',
    request_headers_timeout: '10s',
    delayed_close_timeout: '1s',
    common_http_protocol_options: {
      idle_timeout: '300s',
      max_connection_duration: '3600s',
      headers_with_underscores_action: 'REJECT_REQUEST',
      max_headers_count: 100,
    },
    http_protocol_options: { allow_chunked_length: false, enable_trailers: false, ignore_http_11_upgrade: [{ prefix: 'h2c' }] },
    http2_protocol_options: {
      max_concurrent_streams: 100,
      initial_stream_window_size: 262_144,
      initial_connection_window_size: 1_048_576,
      allow_connect: false,
    },
    http_filters: filtersOf(input, table),
    access_log: accessLog(input, HTTP_FORMAT),
    local_reply_config: localReplies(input),
  });

/** Switches off the engine and the reading of usage for a virtual host or route. */
export const WITHOUT_ENGINE: Json = {
  engine: any('envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute', { disabled: true }),
  ...WITHOUT_USAGE,
};
