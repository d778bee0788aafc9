import type { Catalogue, GroupVersion, Served } from './catalogue.ts';

/** What is served, in the three forms clients ask for. Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api */

const groupNames = (catalogue: Catalogue): string[] => [...new Set(catalogue.groupVersions.map(({ group }) => group).filter((group) => group !== ''))];

const aggregatedResource = (served: Served): object => {
  const responseKind = { group: served.group, version: served.version, kind: served.kind };
  return {
    resource: served.plural,
    // Without verbs of its own it is only the parent of its subresources, and clients must not resolve names to it.
    ...(served.verbs.length > 0 && { responseKind }),
    scope: served.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: served.singular,
    ...(served.shortNames.length > 0 && { shortNames: served.shortNames }),
    ...(served.categories.length > 0 && { categories: served.categories }),
    verbs: served.verbs,
    ...(served.subresources.length > 0 && {
      subresources: served.subresources.map(({ name, kind, group = served.group, version = served.version, verbs }) => ({
        subresource: name,
        responseKind: { group, version, kind },
        verbs,
      })),
    }),
  };
};

const aggregatedVersion = ({ version, resources }: GroupVersion): object => ({ version, freshness: 'Current', resources: resources.map(aggregatedResource) });

/** `APIGroupDiscoveryList` for `/api` (core) or `/apis` (the others). */
export const aggregated = (catalogue: Catalogue, core: boolean): object => ({
  kind: 'APIGroupDiscoveryList',
  apiVersion: 'apidiscovery.k8s.io/v2',
  metadata: {},
  items: (core ? [''] : groupNames(catalogue)).map((group) => ({
    metadata: group ? { name: group } : {},
    versions: catalogue.groupVersions.filter((candidate) => candidate.group === group).map(aggregatedVersion),
  })),
});

export const coreVersions = (): object => ({ kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] });

const groupOf = (catalogue: Catalogue, group: string) => {
  const versions = catalogue.groupVersions
    .filter((candidate) => candidate.group === group)
    .map(({ version }) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions, preferredVersion: versions[0] };
};

export const apiGroups = (catalogue: Catalogue): object => ({
  kind: 'APIGroupList',
  apiVersion: 'v1',
  groups: groupNames(catalogue).map((group) => groupOf(catalogue, group)),
});

export const apiGroup = (catalogue: Catalogue, group: string): object | undefined => {
  const found = groupOf(catalogue, group);
  return found.versions.length > 0 ? { kind: 'APIGroup', apiVersion: 'v1', ...found } : undefined;
};

/** `APIResourceList` of one group version. */
export const apiResources = ({ group, version, resources }: GroupVersion): object => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: group ? `${group}/${version}` : version,
  resources: resources.flatMap((served) => [
    ...(served.verbs.length > 0
      ? [
          {
            name: served.plural,
            singularName: served.singular,
            namespaced: served.namespaced,
            kind: served.kind,
            verbs: served.verbs,
            ...(served.shortNames.length > 0 && { shortNames: served.shortNames }),
            ...(served.categories.length > 0 && { categories: served.categories }),
          },
        ]
      : []),
    ...served.subresources.map(({ name, kind, verbs, group: of, version: at }) => ({
      name: `${served.plural}/${name}`,
      singularName: '',
      namespaced: served.namespaced,
      ...(of !== undefined && { group: of, version: at }),
      kind,
      verbs,
    })),
  ]),
});
