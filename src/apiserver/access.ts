import type { PeerCertificate, TLSSocket } from 'node:tls';
import { GROUP } from '#api';
import { forbidden, unauthorized } from './status.ts';

/** Who calls, from a client certificate of our own authority, and what that one may do. */
export interface Principal {
  /** Common name. */
  readonly name: string;
  /** Organisations. */
  readonly groups: readonly string[];
}

const fromCertificate = (socket: TLSSocket): Principal => {
  const certificate: PeerCertificate | undefined = socket.authorized ? socket.getPeerCertificate() : undefined;
  const subject = certificate?.subject as { readonly CN?: unknown; readonly O?: string | readonly string[] } | undefined;
  if (typeof subject?.CN !== 'string' || subject.CN === '') throw unauthorized();
  return { name: subject.CN, groups: typeof subject.O === 'string' ? [subject.O] : [...(subject.O ?? [])] };
};

const known = new WeakMap<TLSSocket, Principal>();

/** Throws StatusError 401: there is no anonymous access. */
export const authenticate = (socket: TLSSocket): Principal => {
  const principal = known.get(socket) ?? fromCertificate(socket);
  known.set(socket, principal);
  return principal;
};

export interface Attributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

interface Rule {
  readonly who: (principal: Principal) => boolean;
  /** What of it, as a rules review tells it. */
  readonly what: readonly { readonly verbs: readonly string[]; readonly apiGroups: readonly string[]; readonly resources: readonly string[] }[];
  readonly may: (request: Attributes) => boolean;
}

const READS = ['get', 'list', 'watch'];
const reads = ({ verb }: Attributes): boolean => READS.includes(verb);
const isSecret = ({ group, resource }: Attributes): boolean => group === '' && resource === 'secrets';
const ASKS = ['selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews'];

/** Anything one of these allows is allowed. */
const RULES: readonly Rule[] = [
  {
    who: ({ name, groups }) => groups.includes('system:masters') || name === 'system:clrk:controller-manager',
    what: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
    may: () => true,
  },
  {
    who: ({ groups }) => groups.includes('clrk:viewers'),
    what: [{ verbs: READS, apiGroups: ['*'], resources: ['* but secrets'] }],
    may: (request) => reads(request) && !isSecret(request),
  },
  {
    who: ({ name }) => name === 'system:clrk:dispatcher',
    what: [{ verbs: READS, apiGroups: [GROUP], resources: ['*'] }],
    may: (request) => reads(request) && request.group === GROUP,
  },
  {
    // What one may do oneself is no secret.
    who: () => true,
    what: [{ verbs: ['create'], apiGroups: ['authorization.k8s.io', 'authentication.k8s.io'], resources: ASKS }],
    may: ({ verb, group, resource }) => verb === 'create' && /^auth(entic|oriz)ation\.k8s\.io$/.test(group) && ASKS.includes(resource),
  },
];

export const allows = (principal: Principal, request: Attributes): boolean => RULES.some(({ who, may }) => who(principal) && may(request));

/** What a principal may do, in words. */
export const rulesOf = (principal: Principal) => RULES.filter(({ who }) => who(principal)).flatMap(({ what }) => what);

/** Throws StatusError 403. */
export const authorise = (principal: Principal, request: Attributes): void => {
  if (allows(principal, request)) return;
  const resource = request.subresource ? `${request.resource}/${request.subresource}` : request.resource;
  const where = request.namespace ? `in the namespace "${request.namespace}"` : 'at the cluster scope';
  throw forbidden(
    { group: request.group, plural: request.resource },
    request.name,
    `User "${principal.name}" cannot ${request.verb} resource "${resource}" in API group "${request.group}" ${where}`,
  );
};
