import type { Kind, KubeObject } from '#api';

/** As much of a Kind as a client needs; also for kinds that clrk does not define. */
export type ResourceKind<T extends KubeObject = KubeObject> = Pick<Kind<T>, 'group' | 'version' | 'kind' | 'plural' | 'namespaced' | 'example'>;

export interface ListOptions {
  /** Absent = all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly signal?: AbortSignal;
}

/** `/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME[/SUBRESOURCE]]` */
export const pathOf = (kind: ResourceKind, namespace?: string, name?: string, subresource?: string): string => {
  const root = kind.group ? `/apis/${kind.group}/${kind.version}` : `/api/${kind.version}`;
  const scope = kind.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const tail = [name, subresource].filter((part) => part !== undefined).map((part) => `/${encodeURIComponent(part)}`);
  return `${root}${scope}/${kind.plural}${tail.join('')}`;
};

/** `?a=b&c=d` of the values that are set, or nothing. */
export const queryOf = (values: Readonly<Record<string, string | number | boolean | undefined>>): string => {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value !== undefined) query.set(key, String(value));
  return query.size > 0 ? `?${query.toString()}` : '';
};

export const listQuery = ({ labelSelector, fieldSelector, resourceVersion, limit, continue: from }: ListOptions) => ({
  labelSelector,
  fieldSelector,
  resourceVersion,
  limit,
  continue: from,
});
