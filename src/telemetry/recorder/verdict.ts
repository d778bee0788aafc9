import type { AccessLine, ExchangeRecord } from '#model';

export type Verdict = Pick<ExchangeRecord, 'verdict' | 'reason'>;

const allowed = (reason: string): Verdict => ({ verdict: 'Allowed', reason });
const denied = (reason: string): Verdict => ({ verdict: 'Denied', reason });

/**
 * Response flags of Envoy that mean an admitted request got no whole answer from upstream: no healthy host, connect
 * failure, reset, timeouts, retries spent, overflow, protocol error, failed name. Source: Envoy's access log documentation.
 */
const UPSTREAM_FLAGS = new Set(['UF', 'UH', 'UC', 'UT', 'UR', 'URX', 'UO', 'UPE', 'UMSDR', 'NC', 'DF', 'LR', 'SI', 'DT', 'DO', 'OM']);

/**
 * What a line of Envoy says was decided. "Allowed" means policy let the request through; whether it then worked is the
 * reason: `Allowed`, `UpstreamFailed`, `ClientClosed`. In order, first match wins:
 *
 * 1. a connection no chain takes: Denied/`NotAdmitted`;
 * 2. 421, SNI and Host differ: Denied/`HostMismatch`;
 * 3. the engine denied: its reason;
 * 4. the route itself refuses (deny slice, budget route, missing Secret): Denied with the reason in its metadata;
 * 5. an AI route without the engine's word: the engine was away and Envoy failed closed, Denied/`EngineUnavailable`
 *    (a caller that left before the engine answered: Denied/`ClientClosed`, nothing was sent);
 * 6. no route: Denied/`NoRoute`;
 * 7. let through, then judged by what came of it; an answer Envoy made itself without ever choosing an upstream is
 *    Denied/`BadRequest` (malformed or oversized), because nothing left.
 */
export const verdictOf = (line: AccessLine): Verdict => {
  if (line.chain === 'refused') return denied(line.reason ?? 'NotAdmitted');
  if (line.status === 421) return denied(line.engine?.verdict === 'Denied' ? line.engine.reason || 'HostMismatch' : 'HostMismatch');
  if (line.engine?.verdict === 'Denied') return denied(line.engine.reason || 'Denied');
  if (line.reason !== undefined && line.reason !== 'Allowed') return denied(line.reason);
  const flags = new Set((line.flags ?? '').split(','));
  const clientLeft = flags.has('DC') || flags.has('DR');
  if (line.route?.startsWith('AIProviderRoute/') && !line.engine) return denied(clientLeft ? 'ClientClosed' : 'EngineUnavailable');
  if (flags.has('NR') || line.details === 'route_not_found') return denied('NoRoute');
  if (line.upstreamFailure !== undefined || [...flags].some((flag) => UPSTREAM_FLAGS.has(flag))) return allowed('UpstreamFailed');
  if (clientLeft) return allowed('ClientClosed');
  if (line.details !== undefined && line.details !== 'via_upstream' && line.upstream === undefined) return denied('BadRequest');
  return allowed('Allowed');
};
