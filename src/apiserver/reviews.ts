import { rulesFor, type ExtraGroup, type ExtraRequest, type ExtraResource, type ExtraResponse } from '#api';
import { allows, type Principal } from './access.ts';
import { decode, DecodeError, get, type JsonObject } from '#admission';
import { decodeProtobuf, PROTOBUF } from './protobuf.ts';

/** What a caller may ask about itself: `kubectl auth can-i`, `kubectl auth whoami`. */

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Whether a caller may do something, as SelfSubjectAccessReview asks it. */
const accessOf = (principal: Principal, spec: unknown): { readonly allowed: boolean; readonly reason?: string } => {
  const attributes = get(spec, 'resourceAttributes');
  // Health, version and discovery are for everybody who has a certificate.
  if (attributes === undefined) return { allowed: text(get(get(spec, 'nonResourceAttributes'), 'verb')).toLowerCase() === 'get' };
  const field = (name: string): string => text(get(attributes, name));
  const request = { verb: field('verb'), group: field('group'), resource: field('resource'), subresource: field('subresource') };
  return { allowed: allows(principal, { ...request, namespace: field('namespace'), name: field('name') }) };
};

const STATUS: Readonly<Record<string, (principal: Principal, spec: unknown) => object>> = {
  SelfSubjectAccessReview: accessOf,
  SelfSubjectRulesReview: (principal) => ({
    resourceRules: rulesFor(principal),
    nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/api', '/api/*', '/apis', '/apis/*', '/healthz', '/livez', '/openapi/*', '/readyz', '/version'] }],
    incomplete: false,
  }),
  SelfSubjectReview: ({ name, groups }) => ({ userInfo: { username: name, groups: [...groups, 'system:authenticated'] } }),
};

const answer = (apiVersion: string, kind: string, { body, headers, principal }: ExtraRequest): ExtraResponse => {
  const failure = (message: string): ExtraResponse => ({ failure: { code: 400, reason: 'BadRequest', message } });
  let given: unknown;
  try {
    given = headers['content-type']?.startsWith(PROTOBUF) ? decodeProtobuf(body) : decode(body, 'json').value;
  } catch (error) {
    if (error instanceof DecodeError) return failure(`the ${kind} cannot be read: ${error.message}`);
    throw error;
  }
  if (get(given, 'kind') !== kind || get(given, 'apiVersion') !== apiVersion) return failure(`the body must be a ${kind} of ${apiVersion}`);
  const spec = get(given, 'spec');
  const review: JsonObject = { apiVersion, kind, metadata: {}, ...(spec !== undefined && { spec }), status: STATUS[kind]!(principal, spec) };
  return { object: review as never };
};

const review = (group: string, kind: string): ExtraResource => ({
  name: `${kind.toLowerCase()}s`,
  singular: kind.toLowerCase(),
  kind,
  namespaced: false,
  shortNames: [],
  verbs: ['create'],
  handle: async (request) => answer(`${group}/v1`, kind, request),
});

export const REVIEWS: readonly ExtraGroup[] = [
  {
    group: 'authorization.k8s.io',
    version: 'v1',
    resources: [review('authorization.k8s.io', 'SelfSubjectAccessReview'), review('authorization.k8s.io', 'SelfSubjectRulesReview')],
  },
  { group: 'authentication.k8s.io', version: 'v1', resources: [review('authentication.k8s.io', 'SelfSubjectReview')] },
];
