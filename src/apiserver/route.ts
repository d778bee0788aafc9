import type { Catalogue, Served } from './catalogue.ts';
import { decodeSegment } from './http.ts';
import { badRequest, methodNotAllowed, notFound } from './status.ts';

/** What a request is about. */
export interface ResourceRequest {
  readonly served: Served;
  readonly verb: string;
  /** Empty = all namespaces, or a cluster-wide kind. */
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
}

/** The parts of a path below a group version, or undefined when it is not a resource path. */
const parts = (rest: readonly string[]): { namespace: string; plural: string; name: string; subresource: string } | undefined => {
  const [first = '', second = '', third, fourth = '', fifth = '', ...more] = rest;
  if (more.length > 0) return undefined;
  if (first === 'namespaces' && third !== undefined && third !== 'status' && third !== 'finalize') {
    return { namespace: second, plural: third, name: fourth, subresource: fifth };
  }
  return fourth === '' && fifth === '' ? { namespace: '', plural: first, name: second, subresource: third ?? '' } : undefined;
};

const COLLECTION_VERBS: Readonly<Record<string, string>> = { GET: 'list', POST: 'create', DELETE: 'deletecollection', PUT: 'update' };
const OBJECT_VERBS: Readonly<Record<string, string>> = { GET: 'get', PUT: 'update', PATCH: 'patch', DELETE: 'delete', POST: 'create' };

/** Finds the resource of a path; undefined when nothing is served there. Throws StatusError 405. */
export const route = (catalogue: Catalogue, method: string, path: string, query: URLSearchParams): ResourceRequest | undefined => {
  const segments = path.split('/').slice(1).map(decodeSegment);
  const core = segments[0] === 'api';
  if (!core && segments[0] !== 'apis') return undefined;
  const [group, version, rest] = core ? ['', segments[1], segments.slice(2)] : [segments[1], segments[2], segments.slice(3)];
  const found = parts(rest.at(-1) === '' ? rest.slice(0, -1) : rest);
  if (!found || group === undefined || version === undefined) return undefined;
  const served = catalogue.find(group, version, found.plural);
  if (!served || (!served.namespaced && found.namespace !== '')) return undefined;
  const { namespace, name, subresource } = found;
  if (subresource && !served.subresources.some((candidate) => candidate.name === subresource)) {
    if (served.stored) throw notFound(served, name);
    return undefined;
  }
  // An object of a namespaced kind is only below its namespace, and made there.
  if (served.namespaced && namespace === '' && (name !== '' || method === 'POST')) return undefined;
  const watching = query.get('watch') === 'true' || query.get('watch') === '1';
  const verb = name === '' ? COLLECTION_VERBS[method] : OBJECT_VERBS[method];
  if (!verb) throw method === 'PATCH' && name === '' ? badRequest('name must be provided') : methodNotAllowed();
  return { served, verb: verb === 'list' && watching ? 'watch' : verb, namespace, name, subresource };
};
