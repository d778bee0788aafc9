import type { Kind } from '#api';
import { get, isObject, type JsonObject } from '#admission';
import { badRequest } from './status.ts';
import type { StoredObject } from './store.ts';

/** Subresource `scale`: one number of an object, in a form that is the same for every kind. Source: autoscaling/v1 Scale. */

/** Value at `.a.b` of an object. */
const at = (object: unknown, path: string): unknown =>
  path
    .split('.')
    .slice(1)
    .reduce((value, name) => get(value, name), object);

export const toScale = ({ subresources }: Kind, object: StoredObject): JsonObject => {
  const { specReplicasPath, statusReplicasPath } = subresources.scale!;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata as StoredObject['metadata'] & Readonly<Record<string, unknown>>;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: Number(at(object, specReplicasPath) ?? 0) },
    status: { replicas: Number(at(object, statusReplicasPath) ?? 0) },
  };
};

/** What a Scale asks of the object it is of, as a merge patch. Throws StatusError 400. */
export const fromScale = ({ subresources }: Kind, scale: unknown): JsonObject => {
  const replicas = get(get(scale, 'spec'), 'replicas') ?? 0;
  if (!isObject(scale) || !Number.isInteger(replicas)) throw badRequest('spec.replicas of a Scale must be a whole number');
  const names = subresources.scale!.specReplicasPath.split('.').slice(1);
  const resourceVersion = get(get(scale, 'metadata'), 'resourceVersion');
  return {
    ...(names.reduceRight<unknown>((value, name) => ({ [name]: value }), replicas) as JsonObject),
    ...(typeof resourceVersion === 'string' && { metadata: { resourceVersion } }),
  };
};
