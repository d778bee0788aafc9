import type { Column, ExtraGroup, ExtraResource, Kind } from '#api';

/** Everything that is served, by group and version; made once. */

/** A resource and how it is answered: from the store, or by a handler. */
export interface Served {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly columns: readonly Column[];
  readonly subresources: readonly ServedPart[];
  readonly stored: Kind | undefined;
  readonly extra: ExtraResource | undefined;
}

/** A subresource; its kind is of the same group and version unless it says another. */
export interface ServedPart {
  readonly name: string;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
}

export interface GroupVersion {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly resources: readonly Served[];
}

const AGE: Column = { name: 'Age', type: 'date', path: '.metadata.creationTimestamp' };
const STORED_VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

const PART_VERBS = ['get', 'patch', 'update'];

const fromKind = (kind: Kind): Served => ({
  group: kind.group,
  version: kind.version,
  plural: kind.plural,
  singular: kind.singular,
  kind: kind.kind,
  shortNames: kind.shortNames,
  categories: kind.categories ?? [],
  namespaced: kind.namespaced,
  verbs: STORED_VERBS,
  columns: kind.columns,
  subresources: [
    ...(kind.subresources.status ? [{ name: 'status', kind: kind.kind, verbs: PART_VERBS }] : []),
    ...(kind.subresources.scale ? [{ name: 'scale', kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: PART_VERBS }] : []),
  ],
  stored: kind,
  extra: undefined,
});

const fromExtra = ({ group, version }: ExtraGroup, extra: ExtraResource): Served => ({
  group,
  version,
  plural: extra.name,
  singular: extra.singular,
  kind: extra.kind,
  shortNames: extra.shortNames,
  categories: [],
  namespaced: extra.namespaced,
  verbs: extra.verbs,
  columns: extra.columns ?? [AGE],
  subresources: extra.subresources ?? [],
  stored: undefined,
  extra,
});

export class Catalogue {
  readonly groupVersions: readonly GroupVersion[];
  readonly #byPath = new Map<string, Served>();

  constructor(kinds: readonly Kind[], extraGroups: readonly ExtraGroup[]) {
    const all = [...kinds.map(fromKind), ...extraGroups.flatMap((group) => group.resources.map((resource) => fromExtra(group, resource)))];
    const versions = new Map<string, { group: string; version: string; resources: Served[] }>();
    for (const served of all) {
      const key = `${served.group}/${served.version}`;
      const at = versions.get(key) ?? { group: served.group, version: served.version, resources: [] };
      versions.set(key, at);
      at.resources.push(served);
      this.#byPath.set(`${key}/${served.plural}`, served);
    }
    this.groupVersions = [...versions.values()];
  }

  find(group: string, version: string, plural: string): Served | undefined {
    return this.#byPath.get(`${group}/${version}/${plural}`);
  }

  groupVersion(group: string, version: string): GroupVersion | undefined {
    return this.groupVersions.find((candidate) => candidate.group === group && candidate.version === version);
  }
}
