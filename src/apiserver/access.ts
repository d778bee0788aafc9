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

type Rule = (principal: Principal, request: Attributes) => boolean;

const reads = ({ verb }: Attributes): boolean => verb === 'get' || verb === 'list' || verb === 'watch';
const isSecret = ({ group, resource }: Attributes): boolean => group === '' && resource === 'secrets';

/** Anything one of these allows is allowed. */
const RULES: readonly Rule[] = [
  ({ groups }) => groups.includes('system:masters'),
  ({ name }) => name === 'system:clrk:controller-manager',
  ({ groups }, request) => groups.includes('clrk:viewers') && reads(request) && !isSecret(request),
  ({ name }, request) => name === 'system:clrk:dispatcher' && reads(request) && request.group === GROUP,
];

/** Throws StatusError 403. */
export const authorise = (principal: Principal, request: Attributes): void => {
  if (RULES.some((rule) => rule(principal, request))) return;
  const resource = request.subresource ? `${request.resource}/${request.subresource}` : request.resource;
  const where = request.namespace ? `in the namespace "${request.namespace}"` : 'at the cluster scope';
  throw forbidden(
    { group: request.group, plural: request.resource },
    request.name,
    `User "${principal.name}" cannot ${request.verb} resource "${resource}" in API group "${request.group}" ${where}`,
  );
};
