import type { AccessLine, ExchangeRecord } from '#model';

export type Verdict = Pick<ExchangeRecord, 'verdict' | 'reason'>;

const allowed = (reason: string): Verdict => ({ verdict: 'Allowed', reason });
const denied = (reason: string): Verdict => ({ verdict: 'Denied', reason });

const TIMEOUT_FLAGS = ['UT', 'DT', 'SI', 'UMSDR'];
/**
 * Response flags of Envoy that mean a request that was let through got no whole answer: no healthy host, connect failure,
 * resets, retries spent, overflow, protocol error, no cluster, failed name. Source: Envoy's access log documentation.
 */
const UPSTREAM_FLAGS = ['UF', 'UH', 'UC', 'UR', 'URX', 'UO', 'UPE', 'NC', 'DF', 'LR', 'DO', 'OM'];

/** Answers Envoy made itself before anything was sent, by the beginning of their response code details. */
const NOTHING_SENT: readonly (readonly [string, string])[] = [
  ['rbac_access_denied', 'ForbiddenAddress'],
  ['failed_to_inject_credential', 'CredentialUnavailable'],
  ['lua_response', 'CredentialUnavailable'],
  ['ext_proc_error', 'EngineUnavailable'],
  ['request_payload_too_large', 'BodyTooLarge'],
  ['upgrade_failed', 'UpgradeNotAllowed'],
  ['route_not_found', 'NoRoute'],
  ['cluster_not_found', 'GatewayNotReady'],
];

/** An answer in place of one that was too large to be searched for the credential that was injected. */
const WITHHELD = 'response_payload_too_large';

/**
 * What a line of Envoy says was decided, in the words the agent was told (`code` of the JSON answer). "Allowed" means that
 * policy let the request through; whether it then worked is the reason: `Allowed`, `UpstreamUnavailable`,
 * `UpstreamCertificateInvalid`, `UpstreamTLSFailed`, `RedactionFailed`, `CredentialEchoed`, `Timeout`, `ClientClosed`. In order, first match wins:
 *
 * 1. a connection no chain takes: Denied/`NotAdmitted`;
 *    a client hello that was refused before there was a verdict: the reason; a verdict that denies: its reason; a connection without a verdict, because nobody gave one in time: Denied/`GatewayNotReady`;
 * 2. the engine denied: its reason;
 * 3. SNI and Host differ: Denied/`HostMismatch`, also where the Host has a route of its own that refuses;
 * 4. the route itself refuses (deny slice, budget route, missing Secret): Denied with the reason in its metadata;
 * 5. an answer that could not be searched for the injected credential: Allowed/`RedactionFailed`; one that had it: Allowed/`CredentialEchoed`;
 *    an answer Envoy made before anything was sent: Denied with the word for it;
 * 6. an AI or MCP route without the engine's word: the engine was away and Envoy failed closed, Denied/`EngineUnavailable`
 *    (a caller that left before the engine answered: Denied/`ClientClosed`);
 * 7. let through, then judged by what came of it. An answer of Envoy without ever an upstream is a request it could not
 *    read: Denied/`BadRequest` (408: `Timeout`).
 */
export const verdictOf = (line: AccessLine): Verdict => {
  if (line.chain === 'refused') return denied(line.reason ?? 'NotAdmitted');
  if (line.hello !== undefined && line.hello !== 'Clear') return denied(line.hello);
  if (line.verdict?.verdict === 'Denied') return denied(line.verdict.reason || 'Denied');
  if ((line.chain === 'tcp' || line.chain === 'tls') && !line.verdict) return denied('GatewayNotReady');
  if (line.engine?.verdict === 'Denied') return denied(line.engine.reason || 'Denied');
  if (line.status === 421 && line.details?.startsWith('lua_response')) return denied('HostMismatch');
  if (line.reason !== undefined && line.reason !== 'Allowed') return denied(line.reason);
  const ours = line.details !== 'via_upstream';
  if (line.credential?.refused !== undefined || (line.details?.startsWith(WITHHELD) && line.status === 502)) return allowed('RedactionFailed');
  if (line.credential?.echoed !== undefined) return allowed('CredentialEchoed');
  const unsent = NOTHING_SENT.find(([details]) => line.details?.startsWith(details));
  if (unsent) return denied(unsent[1]);
  const flags = new Set((line.flags ?? '').split(','));
  const clientLeft = flags.has('DC') || flags.has('DR');
  if (/^(?:AIProvider|MCP)Route\//.test(line.route ?? '') && !line.engine) return denied(clientLeft ? 'ClientClosed' : 'EngineUnavailable');
  if (flags.has('NR')) return denied('NoRoute');
  if (line.upstreamFailure?.includes('CERTIFICATE_VERIFY_FAILED')) return allowed('UpstreamCertificateInvalid');
  if (line.upstreamFailure?.includes('TLS_error')) return allowed('UpstreamTLSFailed');
  if (TIMEOUT_FLAGS.some((flag) => flags.has(flag))) return allowed('Timeout');
  if (line.upstreamFailure !== undefined || UPSTREAM_FLAGS.some((flag) => flags.has(flag))) return allowed('UpstreamUnavailable');
  if (clientLeft) return allowed('ClientClosed');
  if (line.details !== undefined && ours && line.upstream === undefined) return denied(line.status === 408 ? 'Timeout' : 'BadRequest');
  return allowed('Allowed');
};
