import { rfc3339 } from '#lib';
import type { AccessLine, BindingLine, EgressLine, EngineMetadata, ExchangeRecord } from '#model';
import { answeredOf, askedOf, credentialOf, UNANSWERED } from './llm.ts';
import { mcpOf } from './mcp.ts';
import { plain, redact } from './redact.ts';
import { verdictOf } from './verdict.ts';

/** Lines to records, pure. `binding` is the run that had the source address then; without one, agent and invocation stay empty. */

type Run = Pick<ExchangeRecord, 'namespace' | 'agent' | 'invocation' | 'traceId' | 'spanId'>;

const runOf = (binding: BindingLine | undefined, engine: EngineMetadata | undefined): Run => ({
  namespace: plain(binding?.namespace ?? ''),
  agent: plain(binding?.agent ?? ''),
  invocation: plain(binding?.invocation ?? ''),
  traceId: plain(binding?.traceId ?? ''),
  spanId: plain(engine?.spanId ?? binding?.spanId ?? ''),
});

/** Lower case, without user, port and trailing dot: the form policy matches. An IPv6 literal keeps its brackets. */
const canonicalHost = (host: string): string => host.toLowerCase().replace(/^.*@/s, '').replace(/:\d+$/, '').replace(/\.$/, '');

/** Formats leave the query out already. */
const withoutQuery = (path: string): string => path.replace(/[?#].*$/s, '');

/** Without SNI nothing terminated TLS: a refused connection of that kind is `tcp`, a request is plain `http`. */
const protocolOf = ({ chain, sni }: AccessLine): string => {
  if (chain === 'refused') return sni === undefined ? 'tcp' : 'tls';
  if (chain === 'http') return sni === undefined ? 'http' : 'https';
  return chain;
};

export const recordOfAccess = (line: AccessLine, binding: BindingLine | undefined, worker: string): ExchangeRecord => {
  const { verdict, reason } = verdictOf(line);
  return {
    decisionId: plain(line.id),
    time: rfc3339(Date.parse(line.time)),
    ...runOf(binding, line.engine),
    worker,
    gateway: redact(line.gateway),
    route: redact(line.engine?.route || line.verdict?.route || line.route || ''),
    revision: redact(line.engine?.revision || line.verdict?.revision || line.revision || ''),
    protocol: protocolOf(line),
    method: redact(line.method ?? ''),
    host: redact(canonicalHost(line.host ?? (line.verdict?.host || line.sni) ?? '')),
    path: redact(withoutQuery(line.path ?? '')),
    destination: redact(line.destination ?? ''),
    status: line.status ?? 0,
    verdict,
    reason: redact(reason),
    ...askedOf(line.engine),
    ...mcpOf(line.engine),
    ...answeredOf(line),
    ...credentialOf(line.credential),
    durationMs: line.durationMs ?? 0,
    requestBytes: line.requestBytes ?? 0,
    responseBytes: line.responseBytes ?? 0,
  };
};

/** A decision of `egress` itself: a DNS question, a packet that went nowhere, or a request whose own access line never came. */
export const recordOfEgress = (line: EgressLine, binding: BindingLine | undefined, worker: string): ExchangeRecord => ({
  decisionId: plain(line.id),
  time: rfc3339(line.time),
  ...runOf(binding, line.engine),
  worker,
  gateway: redact(line.gateway),
  route: redact(line.engine?.route ?? ''),
  revision: redact(line.engine?.revision ?? ''),
  protocol: line.event === 'dns' ? 'dns' : line.event === 'refused-packet' ? redact(line.protocol ?? '') : 'https',
  method: redact(line.method ?? ''),
  host: redact(canonicalHost(line.host)),
  path: redact(withoutQuery(line.path ?? '')),
  destination: redact(line.destination ?? ''),
  status: 0,
  verdict: line.verdict,
  reason: redact(line.reason),
  ...askedOf(line.engine),
  ...mcpOf(line.engine),
  ...UNANSWERED,
  ...credentialOf(undefined),
  durationMs: 0,
  requestBytes: 0,
  responseBytes: 0,
});
