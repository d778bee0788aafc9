import type { ResourceJson } from '#wire/xds';
import { keyFormat, type VerdictKind } from '../verdicts/key.ts';
import { accessLog, CONNECTION_FORMATS, FLOODED_FORMAT, HANDSHAKE_FORMAT, REFUSED_FORMAT, UNCLAIMED_FORMAT } from './access-log.ts';
import { ADS, any, cidr, CONNECTION_BUFFER, extension, VERDICT_TIMEOUT, type Json } from './envoy.ts';
import { AFTER_HELLO, helloGuard } from './hello.ts';
import { connectionManager } from './http.ts';
import type { RouteTable, TranslateInput } from './input.ts';
import { candidates, chain, chainsAt, matchInput, namedPorts, onPort, onTransport, REFUSE } from './matching.ts';

/** A client that says nothing for this long waits for the server's first word, or for nothing. */
const SILENCE = '1s';

/** One matcher for each port that differs from the others. */
const perPort = (of: TranslateInput, at: (port: number | undefined) => Json): Json => {
  const otherwise = at(undefined);
  const text = JSON.stringify(otherwise);
  const own = namedPorts(of.policy).map((port) => [port, at(port)] as const);
  return onPort(new Map(own.filter(([, matcher]) => JSON.stringify(matcher) !== text)), otherwise);
};

/** A denied name is answered 403 where a listener would read requests; other protocols are closed. */
const denied = (of: TranslateInput, port: number | undefined): Json => {
  const shapes = candidates(of.policy, port).map(({ shape }) => shape);
  return onTransport(
    shapes.includes('tls-terminate') || shapes.includes('https') ? chain('deny') : REFUSE,
    shapes.includes('http') ? chain('http-deny') : REFUSE,
  );
};

/** Where a connection goes, by its destination first. Only this part of the listener changes with policy, and it cuts nothing. */
const matcher = (of: TranslateInput): Json => ({
  matcher_tree: {
    input: matchInput('DestinationIPInput'),
    custom_match: extension('destinations', 'xds.type.matcher.v3.IPMatcher', {
      range_matchers: [
        { ranges: [cidr(of.slice.admitted)], on_match: perPort(of, (port) => chainsAt(of.policy, port, true)) },
        { ranges: [cidr(of.slice.denied)], on_match: perPort(of, (port) => denied(of, port)) },
      ],
    }),
  },
  on_no_match: perPort(of, (port) => chainsAt(of.policy, port, false)),
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

const httpChain = (of: TranslateInput, name: RouteTable): Json => ({
  name,
  ...(name === 'l7' || name === 'deny' ? { transport_socket_connect_timeout: '5s', transport_socket: TERMINATE } : {}),
  filters: [connectionManager(of, name)],
});

/**
 * Bytes from one side to the other, once the verdict is there; the verdict's cluster is where they go. TLS that is passed through
 * has shown its hello before: nothing that follows in the chain learns of the connection until then.
 */
const relayChain = (of: TranslateInput, kind: Exclude<VerdictKind, 'tls' | 'http'>): Json => ({
  name: kind,
  filters: [
    ...(kind === 'pass' ? [helloGuard()] : []),
    extension('verdict', 'envoy.extensions.filters.network.set_filter_state.v3.Config', {
      on_new_connection: [
        {
          object_key: 'envoy.tcp_proxy.cluster',
          format_string: { text_format_source: { inline_string: keyFormat(kind, kind === 'tcp' ? '-' : '%REQUESTED_SERVER_NAME%') } },
        },
      ],
    }),
    extension('relay', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
      stat_prefix: kind,
      cluster: 'nowhere',
      ...(kind === 'pass' && AFTER_HELLO),
      on_demand: { odcds_config: ADS, timeout: VERDICT_TIMEOUT },
      idle_timeout: '3600s',
      access_log: accessLog(of, CONNECTION_FORMATS[kind]),
    }),
  ],
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

/** What all listeners of a gateway have: a socket in the gateway namespace that learns where a connection was to go. */
const listenerOn = (of: TranslateInput, name: string, port: number, inspectors: readonly Json[] = []): Json => ({
  name,
  address: { socket_address: { address: '0.0.0.0', port_value: port, network_namespace_filepath: of.netns } },
  per_connection_buffer_limit_bytes: CONNECTION_BUFFER,
  listener_filters_timeout: SILENCE,
  // Who is silent is taken for a client of plain TCP: the chains that may mean decide as for any other.
  continue_on_listener_filters_timeout: true,
  listener_filters: [extension('original-dst', 'envoy.extensions.filters.listener.original_dst.v3.OriginalDst'), ...inspectors],
});

/** The TCP listener of a gateway. Fixed for the life of the gateway but for its matcher. */
const egress = (of: TranslateInput): ResourceJson =>
  any('envoy.config.listener.v3.Listener', {
    ...listenerOn(of, 'egress', of.slice.port, [extension('tls-inspector', 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector')]),
    // A handshake that fails ends before any chain could record it. What the inspector says of other protocols has another form.
    access_log: accessLog(of, HANDSHAKE_FORMAT, `connection.transport_failure_reason.startsWith('TLS_error:')`),
    filter_chain_matcher: matcher(of),
    filter_chains: [
      ...(['l7', 'http', 'deny', 'http-deny'] as const).map((name) => httpChain(of, name)),
      ...(['pass', 'tcps', 'tcp'] as const).map((kind) => relayChain(of, kind)),
      refuseChain(of),
    ],
  });

/** Where nftables sends what only a TCP listener can take: nobody waits for what the client may say. */
const raw = (of: TranslateInput): ResourceJson =>
  any('envoy.config.listener.v3.Listener', { ...listenerOn(of, 'raw', of.slice.rawPort), filter_chains: [relayChain(of, 'tcp')] });

/** Where nftables sends what is refused, and recorded as that, whatever it is: it waits for nothing the client may say. */
const refusing = (of: TranslateInput, name: string, port: number, format: Json): ResourceJson =>
  any('envoy.config.listener.v3.Listener', { ...listenerOn(of, name, port), filter_chains: [{ name, filters: [nowhere(of, format)] }] });

export const listeners = (of: TranslateInput): readonly ResourceJson[] => [
  egress(of),
  raw(of),
  // Of sandboxes that have no run yet, and of those that try too many destinations.
  refusing(of, 'unclaimed', of.slice.unclaimedPort, UNCLAIMED_FORMAT),
  refusing(of, 'flooded', of.slice.floodedPort, FLOODED_FORMAT),
];
