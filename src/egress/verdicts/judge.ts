import type { ConnectionDecision, ConnectionFacts, PolicySet } from '#model';
import { canonicalHost, decideConnection } from '#policy';
import type { GatewayCredentials } from '../credentials/gateway-credentials.ts';
import { missingCredential } from '../translate/serving.ts';
import type { VerdictKey, VerdictKind } from './key.ts';

export interface JudgeContext {
  readonly policy: PolicySet;
  readonly credentials: Pick<GatewayCredentials, 'values' | 'unavailable'>;
  /** Agent that has a block now, `namespace/name`. */
  readonly agentOf: (block: string) => string | undefined;
  /** Whether an address is one of ours that stand for names. */
  readonly isSynthetic: (address: string) => boolean;
  /** The name a synthetic address stands for. */
  readonly nameOf: (address: string) => string | undefined;
  /** Addresses of the worker itself, which no connection may go to. */
  readonly own: readonly string[];
}

/** Where an allowed connection goes. */
export type Upstream =
  | { readonly host: string; readonly port: number; readonly ranges?: readonly string[] }
  /** As it was dialled. */
  | { readonly address: string; readonly port: number };

export interface Judged {
  readonly decision: ConnectionDecision;
  /** The name the dialled address stands for; empty when it stands for none. */
  readonly host: string;
  /** Of an allowed one. */
  readonly upstream?: Upstream;
  /** Name the upstream must prove with its certificate; of kind `tls`. */
  readonly serverName?: string;
}

const HANDLING: Readonly<Record<VerdictKind, ConnectionDecision['handling']>> = {
  tcp: 'tcp',
  tcps: 'tcp',
  pass: 'passthrough',
  tls: 'terminate',
  http: 'http',
};

const refuse = (policy: PolicySet, reason: string, message: string, status = 403): ConnectionDecision => ({
  verdict: 'Denied',
  reason,
  message,
  status,
  route: '',
  rule: -1,
  policies: [],
  revision: policy.revision,
  handling: 'refuse',
  listener: '',
  engine: false,
});

/** What `policy.decideConnection` says of one key; whatever does not agree with itself is refused before it is asked. */
export const judge = (key: VerdictKey, context: JudgeContext): Judged => {
  const { policy, agentOf, isSynthetic, nameOf, own } = context;
  const synthetic = isSynthetic(key.address);
  const host = synthetic ? nameOf(key.address) : undefined;
  const refused = (reason: string, message: string, status?: number): Judged => ({ decision: refuse(policy, reason, message, status), host: host ?? '' });
  const agent = agentOf(key.block);
  if (agent === undefined) return refused('NotClaimed', 'No agent has this address.');
  if (synthetic && host === undefined)
    return refused('UnknownAddress', `${key.address} stands for no name: it was never given out, or too long ago. Ask DNS again.`);
  if (key.kind === 'http') {
    // A request to an address names that address.
    if (key.name !== (host ?? key.address))
      return refused('HostMismatch', `Host is ${key.name || 'missing'}, and the connection goes to ${host ?? key.address}.`, 421);
  }
  const said = key.kind === 'http' || key.name === '' ? undefined : canonicalHost(key.name);
  if (key.kind !== 'http' && key.name !== '' && said === undefined) return refused('InvalidName', 'The server name that was sent is not a host name.', 421);
  const facts: ConnectionFacts = {
    agent,
    transport: 'TCP',
    port: key.port,
    ...(host === undefined ? { address: key.address, own } : { host }),
    speaks: key.kind === 'tcp' || key.kind === 'http' ? 'plain' : 'tls',
    ...(said !== undefined && { sni: said }),
  };
  const decision = decideConnection(policy, facts);
  if (decision.verdict === 'Denied') return { decision, host: host ?? '' };
  const missing = decision.credential && missingCredential(decision.credential, host ?? '', context.credentials);
  if (missing !== undefined) {
    const message = `The credential of CredentialInjectionPolicy ${decision.credential!.policy} cannot be injected (${missing}).`;
    return {
      decision: { ...refuse(policy, missing, message, 503), route: decision.route, rule: decision.rule, policies: decision.policies },
      host: host ?? '',
    };
  }
  if (decision.handling !== HANDLING[key.kind] || decision.engine)
    return refused(
      'ListenerMismatch',
      `Listener ${decision.listener} takes this connection, and it did not arrive there: give listeners that overlap a port of their own.`,
    );
  if (key.kind === 'tls' && said === undefined) return refused('NoServerName', 'TLS without a server name cannot be terminated.');
  const upstream =
    host === undefined ? { address: key.address, port: key.port } : { host, port: key.port, ...(decision.ranges && { ranges: decision.ranges }) };
  return { decision, host: host ?? '', upstream, ...(key.kind === 'tls' && { serverName: said! }) };
};
