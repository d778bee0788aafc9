import type { IncomingMessage } from 'node:http';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import { rulesFor, type PolicyRule } from '#api';
import { badRequest, forbidden, unauthorized } from './status.ts';

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

/** The holder of the certificate, or whom it asks to be taken for (`kubectl --as`). Throws StatusError 401: there is no anonymous access. */
export const authenticate = (request: IncomingMessage): Principal => {
  const socket = request.socket as TLSSocket;
  const principal = known.get(socket) ?? fromCertificate(socket);
  known.set(socket, principal);
  return impersonated(principal, request);
};

export interface Attributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

const covers = (list: readonly string[], value: string): boolean => list.includes('*') || list.includes(value);

const permits = ({ apiGroups, resources, verbs }: PolicyRule, { verb, group, resource, subresource }: Attributes): boolean =>
  covers(verbs, verb) && covers(apiGroups, group) && covers(resources, subresource ? `${resource}/${subresource}` : resource);

export const allows = (principal: Principal, request: Attributes): boolean => rulesFor(principal).some((rule) => permits(rule, request));

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

/** Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
const impersonated = (principal: Principal, { headersDistinct }: IncomingMessage): Principal => {
  const asked = Object.keys(headersDistinct).filter((name) => name.startsWith('impersonate-'));
  if (asked.length === 0) return principal;
  const other = asked.find((name) => name !== 'impersonate-user' && name !== 'impersonate-group');
  if (other) throw badRequest(`the header ${other} is not supported: only users and groups can be impersonated`);
  const [name = '', ...more] = headersDistinct['impersonate-user'] ?? [];
  const groups = headersDistinct['impersonate-group'] ?? [];
  if (name === '' || more.length > 0) throw badRequest('exactly one user can be impersonated, with or without groups');
  for (const [resource, who] of [['users', name], ...groups.map((group) => ['groups', group] as const)] as const) {
    authorise(principal, { verb: 'impersonate', group: '', resource, subresource: '', namespace: '', name: who });
  }
  return { name, groups };
};
