/** Labels, annotations and names others rely on. */
export const LABELS = {
  agent: 'clrk.apoxy.dev/agent',
  agentKind: 'clrk.apoxy.dev/agent-kind',
  generation: 'clrk.apoxy.dev/generation',
  workerPool: 'clrk.apoxy.dev/worker-pool',
  expose: 'clrk.apoxy.dev/expose',
  exposePort: 'clrk.apoxy.dev/expose-port',
  component: 'clrk.apoxy.dev/component',
} as const;

/** On a revision: a hash of the template it was made from. */
export const TEMPLATE_HASH = 'clrk.apoxy.dev/template-hash';

/** On a gateway: any new value makes new intermediates at once, one that begins with `root-` a new root too. */
export const ROTATE = 'clrk.apoxy.dev/rotate';

/** Namespace of the installation itself. */
export const SYSTEM_NAMESPACE = 'clrk';
/** Pool that `clrk dev` makes when none is applied. */
export const DEFAULT_POOL = 'default';
/** Controller name written into route and policy statuses. */
export const EGRESS_CONTROLLER = 'clrk.apoxy.dev/egress-controller';
/** Secret with the root certificate and key of a gateway. */
export const gatewayCaSecret = (gateway: string): string => `clrk-egressgateway-ca-${gateway}`;
/** Secret with the authority that signs for a gateway now; during a change of its root it is not the one that is wanted. */
export const gatewaySigningSecret = (gateway: string): string => `clrk-egressgateway-signing-${gateway}`;
/** Name of the revision an agent's generation makes: `word-count-00001`. */
export const nameOfRevision = (agent: string, generation: number): string => `${agent}-${String(generation).padStart(5, '0')}`;
