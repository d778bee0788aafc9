import type { ReportedUsage } from '#model';
import { any, extension, type Json } from './envoy.ts';
import { HELLO_FINDING } from './hello.ts';
import { gatewayName, type TranslateInput } from './input.ts';

const USAGE_COUNTS = ['input', 'output', 'total', 'cachedInput', 'cacheCreation', 'reasoning'] as const satisfies readonly UsageKey[];
const USAGE_TEXTS = ['responseModel', 'finishReason', 'responseId'] as const satisfies readonly UsageKey[];
type UsageKey = keyof ReportedUsage;

/** Texts of an answer are cut: one of any length could make the line longer than anybody reads. */
const MAX_TEXT = 256;
const usage = (key: UsageKey): string => `DYNAMIC_METADATA(clrk.usage:${key})`;

/** What the provider reported. */
export const USAGE_FORMAT: Json = Object.fromEntries([
  ...USAGE_COUNTS.map((key) => [key, `%${usage(key)}%`]),
  ...USAGE_TEXTS.map((key) => [key, `%${usage(key)}:${MAX_TEXT}%`]),
]);

/**
 * Access log lines have the shape of model `AccessLine`. Upstream filters edit the request's own headers, so an operator that
 * reads a header or the full path after injection would log the secret: only those listed in `SAFE_OPERATORS` may appear.
 */
export const SAFE_OPERATORS: readonly string[] = [
  'START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)',
  'STREAM_ID',
  'UNIQUE_ID',
  'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_LOCAL_ADDRESS',
  'REQUESTED_SERVER_NAME',
  'REQ(:METHOD)',
  'DYNAMIC_METADATA(clrk:host)',
  'DYNAMIC_METADATA(clrk.engine)',
  ...[...USAGE_COUNTS, ...USAGE_TEXTS].map(usage),
  'DYNAMIC_METADATA(clrk.credential)',
  'PATH(NQ:PATH)',
  'PROTOCOL',
  'RESPONSE_CODE',
  'DURATION',
  'BYTES_RECEIVED',
  'BYTES_SENT',
  'RESPONSE_FLAGS',
  'RESPONSE_CODE_DETAILS',
  'CONNECTION_TERMINATION_DETAILS',
  'DOWNSTREAM_TRANSPORT_FAILURE_REASON',
  'UPSTREAM_HOST',
  'UPSTREAM_TRANSPORT_FAILURE_REASON',
  'METADATA(ROUTE:clrk:route)',
  'METADATA(ROUTE:clrk:reason)',
  'METADATA(ROUTE:clrk:revision)',
  'METADATA(CLUSTER:clrk)',
  HELLO_FINDING,
];

const CONNECTION: Json = {
  time: '%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%',
  id: '%STREAM_ID%',
  source: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  destination: '%DOWNSTREAM_LOCAL_ADDRESS%',
  sni: '%REQUESTED_SERVER_NAME%',
  durationMs: '%DURATION%',
  requestBytes: '%BYTES_RECEIVED%',
  responseBytes: '%BYTES_SENT%',
  flags: '%RESPONSE_FLAGS%',
};

/** Of requests. `json_format` keeps the type of a value that is one operator, so numbers stay numbers. */
export const HTTP_FORMAT: Json = {
  ...CONNECTION,
  chain: 'http',
  method: '%REQ(:METHOD)%',
  host: '%DYNAMIC_METADATA(clrk:host)%',
  path: '%PATH(NQ:PATH)%',
  protocol: '%PROTOCOL%',
  status: '%RESPONSE_CODE%',
  details: '%RESPONSE_CODE_DETAILS%',
  upstream: '%UPSTREAM_HOST%',
  upstreamFailure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  route: '%METADATA(ROUTE:clrk:route)%',
  reason: '%METADATA(ROUTE:clrk:reason)%',
  revision: '%METADATA(ROUTE:clrk:revision)%',
  verdict: '%METADATA(CLUSTER:clrk)%',
  engine: '%DYNAMIC_METADATA(clrk.engine)%',
  usage: USAGE_FORMAT,
  credential: '%DYNAMIC_METADATA(clrk.credential)%',
};

const relayed = (chain: 'tcp' | 'tls'): Json => ({
  ...CONNECTION,
  chain,
  upstream: '%UPSTREAM_HOST%',
  upstreamFailure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  details: '%CONNECTION_TERMINATION_DETAILS%',
  verdict: '%METADATA(CLUSTER:clrk)%',
});

/** Of connections whose bytes are relayed, by the kind of their verdict. */
export const CONNECTION_FORMATS = { tcp: relayed('tcp'), tcps: relayed('tcp'), pass: { ...relayed('tls'), hello: `%${HELLO_FINDING}%` } } as const;

/** Of connections that no chain takes. */
export const REFUSED_FORMAT: Json = { ...CONNECTION, chain: 'refused', details: '%CONNECTION_TERMINATION_DETAILS%' };

/** Of connections whose TLS handshake failed; no chain gave them an id. */
export const HANDSHAKE_FORMAT: Json = {
  ...CONNECTION,
  id: '%UNIQUE_ID%',
  chain: 'refused',
  reason: 'HandshakeFailed',
  details: '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%',
};

/** Of connections of a sandbox that has no run yet. */
export const UNCLAIMED_FORMAT: Json = { ...REFUSED_FORMAT, reason: 'NotClaimed' };

/** Of connections of a sandbox that tries too many destinations. */
export const FLOODED_FORMAT: Json = { ...REFUSED_FORMAT, reason: 'TooManyDestinations' };

/** A JSON-lines file shared by all chains of the gateway; what is unknown is left out of a line. `when`: CEL over Envoy's attributes. */
export const accessLog = (input: TranslateInput, format: Json, when?: string): readonly Json[] => [
  {
    ...extension('envoy.access_loggers.file', 'envoy.extensions.access_loggers.file.v3.FileAccessLog', {
      path: input.accessLog,
      log_format: { json_format: { ...format, gateway: gatewayName(input.policy) }, omit_empty_values: true },
    }),
    ...(when !== undefined && {
      filter: {
        extension_filter: { name: 'when', typed_config: any('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter', { expression: when }) },
      },
    }),
  },
];
