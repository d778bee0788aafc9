import { FORBIDDEN_ALIAS_CIDRS, FORBIDDEN_UPSTREAM_CIDRS, nameOfRoute, providerAt } from '#policy';
import type { PolicySet } from '#model';
import type { ResourceJson } from '#wire/xds';
import { ADS, any, cidr, extension, type Json } from './envoy.ts';
import { credentialFilters, secretsOf } from './credential.ts';
import { gatewayName, type TranslateInput } from './input.ts';
import { aliasOf, clusterName, served, type Served } from './serving.ts';

/** SDS name of what upstream certificates are verified with. SNI names never contain a colon, so no client can name it. */
export const UPSTREAM_CA = 'ca:upstream';

/**
 * Signatures an upstream may prove its key with. Envoy has no bound for the size of a key, but PSS with SHA-512 needs 1,040 bits of
 * RSA: where nothing else is taken of RSA, a key of 1,024 cannot sign.
 */
const OF_SIZED_KEYS = ['ecdsa_secp256r1_sha256', 'ecdsa_secp384r1_sha384', 'ed25519', 'rsa_pss_rsae_sha512'];
/** Of RSA keys whose size others look after: public authorities certify none below 2,048 bits. Never with SHA-1. */
const OF_ANY_KEY = ['rsa_pss_rsae_sha256', 'rsa_pkcs1_sha256', 'rsa_pss_rsae_sha384', 'rsa_pkcs1_sha384', 'rsa_pkcs1_sha512', ...OF_SIZED_KEYS];

/** TLS to an upstream that has to prove the name. A gateway that trusts authorities of its own cannot rely on the rules of public ones. */
export const upstreamTls = (host: string, { trustBundle }: Pick<PolicySet, 'trustBundle'>): Json =>
  extension('envoy.transport_sockets.tls', 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    sni: host,
    common_tls_context: {
      alpn_protocols: ['h2', 'http/1.1'],
      tls_params: {
        tls_minimum_protocol_version: 'TLSv1_2',
        tls_maximum_protocol_version: 'TLSv1_3', // a client of Envoy's stops at 1.2 by default
        ecdh_curves: ['X25519', 'P-256', 'P-384'],
        signature_algorithms: trustBundle === '' ? OF_ANY_KEY : OF_SIZED_KEYS,
      },
      combined_validation_context: {
        default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: host } }] },
        validation_context_sds_secret_config: { name: UPSTREAM_CA, sds_config: ADS },
      },
    },
  });

/**
 * Denies forbidden addresses after name resolution, so the address that was checked is the one that is dialled. An alias may
 * name a private address, and then that one alone.
 */
const addressGuard = (ranges: readonly string[]): Json =>
  extension('addresses', 'envoy.extensions.filters.http.rbac.v3.RBAC', {
    rules: {
      action: 'DENY',
      policies: {
        forbidden: {
          principals: [{ any: true }],
          permissions: ranges.map((range) => ({
            matcher: extension('address', 'envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher', { upstream_ip: cidr(range) }),
          })),
        },
      },
    },
  });

const judgedCluster = (input: TranslateInput, one: Served): ResourceJson => {
  const { route, host, port } = one;
  const name = clusterName(one);
  const place = { host, provider: providerAt(input.policy, host), gateway: gatewayName(input.policy), route: nameOfRoute(route) };
  const alias = aliasOf(input.policy, host);
  const own = input.ownAddresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`);
  const forbidden = [...(alias === undefined ? FORBIDDEN_UPSTREAM_CIDRS : FORBIDDEN_ALIAS_CIDRS), ...own];
  return any('envoy.config.cluster.v3.Cluster', {
    name,
    connect_timeout: '5s',
    type: 'EDS',
    eds_cluster_config: { eds_config: ADS, service_name: input.serviceOf({ host, port }) },
    // No connection to an upstream is shared between two connections of sandboxes.
    connection_pool_per_downstream_connection: true,
    circuit_breakers: { thresholds: [{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }] },
    transport_socket: upstreamTls(host, input.policy),
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
        auto_config: { http2_protocol_options: {} },
        common_http_protocol_options: { idle_timeout: '60s' },
        http_filters: [
          ...(route.credential ? credentialFilters(route.credential, place, input.credentials.values.get(route.credential.credential)) : []),
          { ...addressGuard(forbidden), name: 'envoy.filters.http.upstream_rbac' },
          extension('envoy.filters.http.upstream_codec', 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'),
        ],
      }),
    },
  });
};

/**
 * Where refused connections are proxied to: it has no endpoint, and they never get that far. Its TLS makes Envoy hold what
 * upstreams are verified with before the first verdict that needs it, also when no such route does.
 */
const nowhere = ({ policy }: TranslateInput): ResourceJson =>
  any('envoy.config.cluster.v3.Cluster', {
    name: 'nowhere',
    type: 'STATIC',
    connect_timeout: '1s',
    transport_socket: upstreamTls('nowhere.invalid', policy),
  });

export const clusters = (input: TranslateInput): readonly ResourceJson[] => [nowhere(input), ...served(input).map((one) => judgedCluster(input, one))];

/** SDS names the clusters refer to. */
export const secretNames = (input: TranslateInput): readonly string[] =>
  [...new Set([UPSTREAM_CA, ...served(input).flatMap(({ route }) => (route.credential ? secretsOf(route.credential) : []))])].sort();
