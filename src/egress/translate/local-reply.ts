import { any, type Json } from './envoy.ts';
import { STATUS_HEADER } from './headers.ts';
import { gatewayName, type TranslateInput } from './input.ts';

/**
 * Answers Envoy makes itself, as one JSON shape: `{error:{code, message, decision, policy, route, gateway, revision}}`.
 * Each row says which answers it is for (CEL over Envoy's attributes; first match wins) in words of ours: Envoy's own details
 * name sockets and files, and quote what an upstream said.
 */
interface Row {
  readonly when: string;
  readonly code: string;
  readonly message: string;
  readonly status?: number;
}

const details = (text: string): string => `response.code_details.startsWith('${text}')`;

const UNKNOWN_AUTHORITY =
  'The certificate of the upstream comes from no authority this gateway trusts (spec.upstreamTLS.additionalTrustBundleSecretRef adds some).';

/**
 * What was wrong with the certificate of an upstream, by the words of Envoy and BoringSSL. The first is about its names, which
 * Envoy quotes: they may hold any word of the others.
 */
const CERTIFICATE: readonly (readonly [said: string, message: string])[] = [
  ['verify cert failed: SAN matcher', 'The certificate of the upstream is for another name.'],
  ['certificate has expired', 'The certificate of the upstream has expired.'],
  ['certificate is not yet valid', 'The certificate of the upstream is not valid yet.'],
  ['issuer certificate', UNKNOWN_AUTHORITY],
  ['self signed certificate', UNKNOWN_AUTHORITY],
  ['certificate signature failure', 'The certificate of the upstream is signed in a way that is broken or too weak.'],
  ['', 'The upstream did not prove its name with a certificate this gateway trusts.'],
];

const CERTIFICATE_ROWS: readonly Row[] = CERTIFICATE.map(([said, message]) => {
  const when = ['CERTIFICATE_VERIFY_FAILED', said].filter(Boolean).map((text) => `upstream.transport_failure_reason.contains('${text}')`);
  return { when: when.join(' && '), code: 'UpstreamCertificateInvalid', message, status: 502 };
});

const UNSEARCHED = 'could not be searched for the credential that was injected, so it was withheld.';

export const ROWS: readonly Row[] = [
  { when: `${details('lua_response')} && response.code == 421`, code: 'HostMismatch', message: 'Host is not the name this connection is for.' },
  {
    when: details('cluster_not_found'),
    code: 'GatewayNotReady',
    message: 'This gateway could not judge the request in time; nothing was sent. Try again.',
    status: 503,
  },
  { when: details('ext_proc_error'), code: 'EngineUnavailable', message: 'The policy engine of this gateway does not answer; nothing was sent.', status: 503 },
  { when: details('rbac_access_denied'), code: 'ForbiddenAddress', message: 'The name resolved to an address this gateway never dials.' },
  {
    when: `${details('failed_to_inject_credential')} || ${details('lua_response')}`,
    code: 'CredentialUnavailable',
    message: 'The credential of this route is not there yet; nothing was sent.',
    status: 503,
  },
  ...CERTIFICATE_ROWS,
  {
    when: `upstream.transport_failure_reason.contains('TLS_error')`,
    code: 'UpstreamTLSFailed',
    message:
      'The upstream does not speak TLS as this gateway wants it: 1.2 or later, signed with ECDSA on P-256 or P-384, Ed25519, or RSA; where the gateway trusts authorities of its own, with RSA only as PSS with SHA-512.',
    status: 502,
  },
  { when: 'response.code == 504 || response.code == 408', code: 'Timeout', message: 'The request was not answered in time.' },
  {
    when: details('response_payload_too_large'),
    code: 'RedactionFailed',
    message: `The answer is larger than what is held here, so it ${UNSEARCHED}`,
    status: 502,
  },
  { when: details('request_payload_too_large'), code: 'BodyTooLarge', message: 'The request body is larger than this gateway takes.' },
  { when: details('upgrade_failed'), code: 'UpgradeNotAllowed', message: 'No route allows a protocol upgrade.' },
  { when: details('route_not_found'), code: 'NoRoute', message: 'No route of this gateway admits this request.', status: 403 },
  { when: 'response.code >= 500 && response.code != 501', code: 'UpstreamUnavailable', message: 'The upstream could not be reached or broke off.' },
  { when: 'response.code >= 400', code: 'BadRequest', message: 'The request is not well formed, or larger than this gateway takes.' },
];

const cel = (expression: string): Json => ({
  extension_filter: { name: 'cel', typed_config: any('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter', { expression }) },
});

/** The parts of a denial that say where it comes from. */
const origin = (gateway: string): Json => ({
  decision: '%STREAM_ID%',
  policy: '%METADATA(ROUTE:clrk:policy)%',
  route: '%METADATA(ROUTE:clrk:route)%',
  gateway,
  revision: '%METADATA(ROUTE:clrk:revision)%',
});

/** A verdict that denies is a cluster without endpoints that says why. */
const verdict = (gateway: string): Json => ({
  filter: cel(`response.code_details == 'no_healthy_upstream' && xds.cluster_metadata.filter_metadata['clrk']['verdict'] == 'Denied'`),
  headers_to_add: [{ header: { key: STATUS_HEADER, value: '%METADATA(CLUSTER:clrk:status)%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
  body_format_override: {
    json_format: {
      error: {
        code: '%METADATA(CLUSTER:clrk:reason)%',
        message: '%METADATA(CLUSTER:clrk:message)%',
        decision: '%STREAM_ID%',
        policy: '%METADATA(CLUSTER:clrk:policy)%',
        route: '%METADATA(CLUSTER:clrk:route)%',
        gateway,
        revision: '%METADATA(CLUSTER:clrk:revision)%',
      },
    },
    content_type: 'application/json',
  },
});

/** An answer the engine gave keeps its body: it has said more than we know here. */
const ENGINE_ANSWER: Json = {
  filter: {
    metadata_filter: {
      matcher: { filter: 'clrk.engine', path: [{ key: 'verdict' }], value: { string_match: { exact: 'Denied' } } },
      match_if_key_not_found: false,
    },
  },
  body_format_override: { text_format_source: { inline_string: '%LOCAL_REPLY_BODY%' }, content_type: 'application/json' },
};

export const localReplies = ({ policy }: TranslateInput): Json => {
  const gateway = gatewayName(policy);
  const json = (code: string, message: string): Json => ({
    json_format: { error: { code, message, ...origin(gateway) } },
    content_type: 'application/json',
  });
  return {
    mappers: [
      ENGINE_ANSWER,
      verdict(gateway),
      // A route that refuses carries its reason and sentence in its metadata.
      {
        filter: cel(`response.code_details == 'direct_response'`),
        body_format_override: json('%METADATA(ROUTE:clrk:reason)%', '%METADATA(ROUTE:clrk:message)%'),
      },
      ...ROWS.map(({ when, code, message, status }) => ({
        filter: cel(when),
        ...(status ? { status_code: status } : {}),
        body_format_override: json(code, message),
      })),
    ],
  };
};
