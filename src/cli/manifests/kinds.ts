import { apiVersionOf, KINDS, type Kind } from '#api';
import type { Client, ResourceKind } from '#kube';
import { nearest } from '#lib';
import type { Manifest, ManifestProblem } from './documents.ts';

/** Which kind a manifest is of. */

const known = new Map(KINDS.map((kind) => [`${apiVersionOf(kind)}/${kind.kind}`, kind]));

/** Its kind when it is one that clrk defines or stores. */
export const localKind = ({ object }: Manifest): Kind | undefined => known.get(`${object.apiVersion}/${object.kind}`);

/** What is wrong with a kind nobody knows, and what was probably meant. */
export const unknownKind = (manifest: Manifest): ManifestProblem => {
  const { apiVersion, kind } = manifest.object;
  const meantKind = nearest(kind, new Set(KINDS.map((candidate) => candidate.kind)));
  const meant = KINDS.find((candidate) => candidate.kind === meantKind);
  const hint = meant ? `did you mean ${apiVersionOf(meant)} ${meant.kind}?` : `known kinds: ${[...new Set(KINDS.map(({ kind: name }) => name))].join(', ')}`;
  return manifest.problem(meant?.kind === kind ? 'apiVersion' : 'kind', `unknown kind ${apiVersion} ${kind}; ${hint}`);
};

interface ResourceList {
  readonly resources?: readonly { readonly name: string; readonly kind: string; readonly namespaced: boolean }[];
}

/** Finds kinds: those of clrk in its own table, others where the server lists them. */
export class KindFinder {
  readonly #client: Client;
  readonly #lists = new Map<string, Promise<ResourceList>>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** undefined when the server does not serve it either. */
  async find(manifest: Manifest): Promise<ResourceKind | undefined> {
    const local = localKind(manifest);
    if (local) return local;
    const { apiVersion, kind } = manifest.object;
    const [group, version] = apiVersion.includes('/') ? (apiVersion.split('/', 2) as [string, string]) : ['', apiVersion];
    const path = group ? `/apis/${encodeURIComponent(group)}/${encodeURIComponent(version)}` : `/api/${encodeURIComponent(version)}`;
    let list = this.#lists.get(path);
    if (!list) this.#lists.set(path, (list = this.#client.json<ResourceList>('GET', path).catch((error: { code?: number }) => (error.code === 404 ? {} : Promise.reject(error)))));
    const found = (await list).resources?.find((resource) => resource.kind === kind && !resource.name.includes('/'));
    return found && { group, version, kind, plural: found.name, namespaced: found.namespaced };
  }
}
