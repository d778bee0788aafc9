import type { EgressGateway } from '#api';
import { no, yes, type ConditionState } from '#policy';
import { AuthorityUnusable } from './ca-secret.ts';

type Listener = EgressGateway['spec']['listeners'][number];

/** What is said of the authority a listener names. */
export interface ListenerAuthority {
  readonly resolvedRefs: ConditionState;
  /** Present when it names another one than a listener before it. */
  readonly conflicted?: ConditionState;
}

/** Which authority the listeners of a gateway name. */
export interface CaReference {
  /** Name of the Secret; absent = none is named, and the gateway makes its own. */
  readonly secret?: string;
  /** Why the gateway can have no authority, whatever Secrets there are. */
  readonly problem?: AuthorityUnusable;
  /** By listener name. */
  readonly listeners: ReadonlyMap<string, ListenerAuthority>;
}

const terminates = ({ protocol, tls }: Listener): boolean => protocol === 'HTTPS' || (protocol === 'TLS' && tls?.mode === 'Terminate');

const dangling = ({ tls }: Listener, path: string, namespace: string): ConditionState | undefined => {
  const ref = tls?.caCertRef;
  if (!ref) return undefined;
  if (ref.group || (ref.kind && ref.kind !== 'Secret'))
    return no('InvalidKind', `${path} names ${ref.group ? `${ref.group}/` : ''}${ref.kind ?? ''}; an authority is a Secret of the core group.`);
  if (ref.namespace && ref.namespace !== namespace)
    return no('RefNotPermitted', `${path} names namespace ${ref.namespace}; an authority is a Secret of the gateway's own namespace, ${namespace}.`);
  return undefined;
};

/**
 * The authority of a gateway from its `spec.listeners[].tls.caCertRef`: one for all listeners that decrypt, because a sandbox
 * trusts a gateway, not a listener. Two different ones are no authority: what a listener asks for would be signed by another.
 */
export const caReferenceOf = ({ metadata: { namespace = '' }, spec }: EgressGateway): CaReference => {
  const listeners = new Map<string, ListenerAuthority>();
  let first: { readonly listener: string; readonly secret: string } | undefined;
  let problem: AuthorityUnusable | undefined;
  for (const [index, listener] of spec.listeners.entries()) {
    const path = `spec.listeners[${index}].tls.caCertRef`;
    const unresolved = dangling(listener, path, namespace);
    const secret = terminates(listener) ? listener.tls?.caCertRef?.name : undefined;
    listeners.set(listener.name, { resolvedRefs: unresolved ?? yes('ResolvedRefs') });
    if (secret === undefined) continue;
    if (unresolved) problem ??= new AuthorityUnusable(unresolved.reason, unresolved.message);
    first ??= { listener: listener.name, secret };
    if (secret === first.secret) continue;
    const message = `${path} names Secret ${secret}, and listener ${first.listener} names ${first.secret}: all listeners of a gateway that decrypt have one authority. The gateway is served nowhere until they agree.`;
    listeners.set(listener.name, { resolvedRefs: unresolved ?? yes('ResolvedRefs'), conflicted: yes('Conflicted', message) });
    problem ??= new AuthorityUnusable('Conflicted', message);
  }
  return { ...(first && { secret: first.secret }), ...(problem && { problem }), listeners };
};

/** The same when the Secret that is named turned out to be missing or unusable. */
export const withSecretProblem = ({ listeners }: CaReference, gateway: EgressGateway, { reason, message }: AuthorityUnusable): CaReference['listeners'] =>
  new Map(
    gateway.spec.listeners.map((listener): [string, ListenerAuthority] => {
      const known = listeners.get(listener.name)!;
      const named = listener.tls?.caCertRef !== undefined && terminates(listener) && known.resolvedRefs.status === 'True';
      return [listener.name, named ? { ...known, resolvedRefs: no(reason, message) } : known];
    }),
  );
