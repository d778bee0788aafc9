import { admittedHosts, AI_PORT, terminatesAt } from '#policy';
import type { ResourceJson } from '#wire/xds';
import { accessLog, REFUSED_FORMAT, UNCLAIMED_FORMAT } from './access-log.ts';
import { ADS, any, cidr, extension, type Json } from './envoy.ts';
import { connectionManager } from './http.ts';
import type { TranslateInput } from './input.ts';

/** What one connection may hold in memory; request bodies of AI routes have a limit of their own. */
const CONNECTION_BUFFER = 8 * 1024 * 1024;

const input = (name: string): Json => extension(name, `envoy.extensions.matching.common_inputs.network.v3.${name}`);
const chain = (name: string): Json => ({ action: { name: 'chain', typed_config: any('google.protobuf.StringValue', { value: name }) } });
const REFUSE = chain('refuse');

/** Goes on with `then` when the client speaks TLS, else refuses. */
const onTls = (then: Json): Json => ({
  matcher: { matcher_tree: { input: input('TransportProtocolInput'), exact_match_map: { map: { tls: then } } }, on_no_match: REFUSE },
});

const onServerName = (domains: readonly string[], then: Json): Json => ({
  matcher: {
    matcher_tree: {
      input: input('ServerNameInput'),
      custom_match: extension('names', 'xds.type.matcher.v3.ServerNameMatcher', { domain_matchers: [{ domains, on_match: then }] }),
    },
    on_no_match: REFUSE,
  },
});

const onPort = (ports: Readonly<Record<string, Json>>, otherwise: Json): Json =>
  Object.keys(ports).length === 0
    ? otherwise
    : { matcher: { matcher_tree: { input: input('DestinationPortInput'), exact_match_map: { map: ports } }, on_no_match: otherwise } };

/** Admitted names on the port of AI routes, by TLS with one of these names in the client hello. */
const admitted = ({ policy }: TranslateInput): Json => {
  const hosts = admittedHosts(policy);
  return hosts.length === 0 ? REFUSE : onPort({ [AI_PORT]: onTls(onServerName(hosts, chain('l7'))) }, REFUSE);
};

const denied = ({ policy }: TranslateInput): Json => {
  const answer = (port: number): Json => (terminatesAt(policy, port) ? onTls(chain('deny')) : REFUSE);
  const ports = [...new Set(policy.listeners.flatMap(({ port }) => port ?? []))].sort((a, b) => a - b);
  // Port 0 stands for every port no listener names.
  return onPort(Object.fromEntries(ports.map((port) => [port, answer(port)])), answer(0));
};

/** Where a connection goes, by its destination first. Only this part of the listener changes with policy, and it cuts nothing. */
const matcher = (of: TranslateInput): Json => ({
  matcher_tree: {
    input: input('DestinationIPInput'),
    custom_match: extension('destinations', 'xds.type.matcher.v3.IPMatcher', {
      range_matchers: [
        { ranges: [cidr(of.slice.admitted)], on_match: admitted(of) },
        { ranges: [cidr(of.slice.denied)], on_match: denied(of) },
      ],
    }),
  },
  on_no_match: REFUSE,
});

/** TLS with a leaf made on demand for the name in the client hello; session resumption is incompatible with that. */
const TERMINATE: Json = extension('envoy.transport_sockets.tls', 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
  disable_stateless_session_resumption: true,
  disable_stateful_session_resumption: true,
  common_tls_context: {
    alpn_protocols: ['h2', 'http/1.1'],
    tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
    custom_tls_certificate_selector: extension(
      'envoy.tls.certificate_selectors.on_demand_secret',
      'envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config',
      {
        config_source: ADS,
        certificate_mapper: extension('envoy.tls.certificate_mappers.sni', 'envoy.extensions.transport_sockets.tls.cert_mappers.sni.v3.SNI', {
          default_value: 'no-sni.invalid',
        }),
      },
    ),
  },
});

const httpChain = (of: TranslateInput, name: 'l7' | 'deny'): Json => ({
  name,
  transport_socket_connect_timeout: '5s',
  transport_socket: TERMINATE,
  filters: [connectionManager(of, name)],
});

/** A proxy to nowhere: it only closes, and writes the record. */
const nowhere = (of: TranslateInput, format: Json): Json =>
  extension('nowhere', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: 'refuse',
    cluster: 'nowhere',
    access_log: accessLog(of, format),
  });

/** Closes at once: rules that allow nothing, before a proxy to nowhere. */
const refuseChain = (of: TranslateInput): Json => ({
  name: 'refuse',
  filters: [
    extension('refuse', 'envoy.extensions.filters.network.rbac.v3.RBAC', { stat_prefix: 'refuse', rules: { action: 'ALLOW', policies: {} } }),
    nowhere(of, REFUSED_FORMAT),
  ],
});

/** What both listeners of a gateway have: a socket in the gateway namespace that learns where a connection was to go. */
const listenerOn = (of: TranslateInput, name: string, port: number, inspectors: readonly Json[] = []): Json => ({
  name,
  address: { socket_address: { address: '0.0.0.0', port_value: port, network_namespace_filepath: of.netns } },
  per_connection_buffer_limit_bytes: CONNECTION_BUFFER,
  listener_filters_timeout: '5s',
  listener_filters: [extension('original-dst', 'envoy.extensions.filters.listener.original_dst.v3.OriginalDst'), ...inspectors],
});

/** The TCP listener of a gateway. Fixed for the life of the gateway but for its matcher. */
const egress = (of: TranslateInput): ResourceJson =>
  any('envoy.config.listener.v3.Listener', {
    ...listenerOn(of, 'egress', of.slice.port, [extension('tls-inspector', 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector')]),
    filter_chain_matcher: matcher(of),
    filter_chains: [httpChain(of, 'l7'), httpChain(of, 'deny'), refuseChain(of)],
  });

/**
 * Where nftables sends sandboxes that have no run yet: whatever they dial is refused, and recorded as that. It waits for
 * nothing they may say, because many a client waits for the server's first word.
 */
const unclaimed = (of: TranslateInput): ResourceJson =>
  any('envoy.config.listener.v3.Listener', {
    ...listenerOn(of, 'unclaimed', of.slice.unclaimedPort),
    filter_chains: [{ name: 'unclaimed', filters: [nowhere(of, UNCLAIMED_FORMAT)] }],
  });

export const listeners = (of: TranslateInput): readonly ResourceJson[] => [egress(of), unclaimed(of)];
