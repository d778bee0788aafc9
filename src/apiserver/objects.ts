import { randomInt, randomUUID } from 'node:crypto';
import {
  admit,
  desired,
  get,
  hasRules,
  UNCHECKED,
  isObject,
  mergePatch,
  metadataOf,
  newborn,
  objectSchema,
  sameJson,
  withMetadata,
  type Decoded,
  type JsonObject,
} from '#admission';
import { apiVersionOf, SYSTEM_NAMESPACE, type Kind, type KubeObject } from '#api';
import { kubeTime, type Clock } from '#lib';
import { accept } from './accept.ts';
import { apply, keepOwners, trackUpdate, type Writer } from './managed-fields.ts';
import { alreadyExists, badRequest, conflict, forbidden, invalid, notFound, resourceName, staleVersion, type Named } from './status.ts';
import type { Location, Store, StoredObject } from './store.ts';

/** Stored objects: what each verb does to one of them. Synchronous, so that every verb is atomic. */

export interface WriteOptions {
  readonly manager: string;
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore';
  readonly dryRun: boolean;
  /** Server-side apply: take over fields of others. */
  readonly force?: boolean;
  /** What is odd about a patch itself, in words. */
  readonly patchProblems?: readonly string[];
  /** Called for each thing that is odd but accepted. */
  readonly warn: (text: string) => void;
}

export interface DeleteOptions {
  readonly propagationPolicy: 'Background' | 'Foreground' | 'Orphan';
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly dryRun: boolean;
}

export interface Target {
  readonly kind: Kind;
  /** Empty for cluster-wide kinds. */
  readonly namespace: string;
  readonly name: string;
  /** Empty, or `status`. */
  readonly subresource: string;
}

/** Keeps an object until its dependents are gone. Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion */
export const FOREGROUND = 'foregroundDeletion';

/** Namespaces that are always there. */
export const PERMANENT_NAMESPACES: readonly string[] = ['default', SYSTEM_NAMESPACE];

const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';
const randomSuffix = (): string => Array.from({ length: 5 }, () => NAME_LETTERS[randomInt(NAME_LETTERS.length)]).join('');

export const locate = ({ kind, namespace, name }: Pick<Target, 'kind' | 'namespace' | 'name'>): Location => ({ resource: resourceName(kind), namespace, name });

const finalizersOf = (object: JsonObject): readonly string[] => (metadataOf(object)['finalizers'] as readonly string[] | undefined) ?? [];

/** Some errors call an object by its kind, not its resource. */
const asKind = ({ group, kind }: Kind): Named => ({ group, plural: kind });

const requireSameUid = ({ kind, name }: Target, live: StoredObject, incoming: JsonObject): void => {
  const { uid } = metadataOf(incoming);
  if (uid === undefined || uid === live.metadata.uid) return;
  throw invalid(kind, name, [{ field: 'metadata.uid', reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(uid)}: field is immutable` }]);
};

/** What is applied says of which type it is. */
const requireType = (kind: Kind, value: unknown): void => {
  if (!isObject(value)) return;
  const [apiVersion, given] = [value['apiVersion'] ?? '', value['kind'] ?? ''];
  if (apiVersion === apiVersionOf(kind) && given === kind.kind) return;
  const groupVersion = typeof apiVersion === 'string' && apiVersion.includes('/') ? apiVersion : `/${String(apiVersion)}`;
  throw badRequest(`invalid object type: ${groupVersion}, Kind=${String(given)}`);
};

export class Objects {
  readonly store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.store = store;
    this.#clock = clock;
  }

  get(target: Target): StoredObject {
    const object = this.store.get(locate(target));
    if (!object) throw notFound(target.kind, target.name);
    return object;
  }

  create(target: Target, body: Decoded, options: WriteOptions): JsonObject {
    const incoming = accept(target, body, options);
    if (metadataOf(incoming)['resourceVersion']) throw badRequest('resourceVersion should not be set on objects to be created');
    return this.#insert(target, incoming, options, (object) => trackUpdate(objectSchema(target.kind), undefined, object, this.#writer(target, options)));
  }

  /** PUT: the whole object. Kinds of ours need the resourceVersion they were read at; core kinds may leave it out. */
  update(target: Target, body: Decoded, options: WriteOptions): JsonObject {
    const incoming = accept(target, body, options, { named: true });
    const live = this.get(target);
    if (!metadataOf(incoming)['resourceVersion'] && !target.kind.native) {
      throw invalid({ group: target.kind.group, kind: target.kind.plural }, target.name, [
        { field: 'metadata.resourceVersion', reason: 'FieldValueInvalid', message: 'Invalid value: 0: must be specified for an update' },
      ]);
    }
    return this.#replace(target, live, incoming, (object) => trackUpdate(objectSchema(target.kind), live, object, this.#writer(target, options)), options);
  }

  /** PATCH with a JSON merge patch. */
  mergePatch(target: Target, patch: Decoded, options: WriteOptions): JsonObject {
    if (!isObject(patch.value)) {
      const type = Array.isArray(patch.value) ? 'array' : typeof patch.value === 'boolean' ? 'bool' : typeof patch.value;
      throw badRequest(`error decoding patch: json: cannot unmarshal ${type} into Go value of type map[string]interface {}`);
    }
    return this.change(target, (live) => mergePatch(live, patch.value), options, patch.duplicates);
  }

  /** PATCH of any kind that is a function of what is there. `duplicates` are those of the patch. */
  change(target: Target, patch: (live: StoredObject) => unknown, options: WriteOptions, duplicates: readonly string[] = []): JsonObject {
    const live = this.get(target);
    const incoming = accept(target, { value: patch(live), duplicates }, options, { named: true });
    requireSameUid(target, live, incoming);
    return this.#replace(target, live, incoming, (object) => trackUpdate(objectSchema(target.kind), live, object, this.#writer(target, options)), options);
  }

  /** PATCH with an applied configuration. Returns whether the object was made. */
  apply(target: Target, body: Decoded, options: WriteOptions): { readonly object: JsonObject; readonly created: boolean } {
    requireType(target.kind, body.value);
    const managed = get(get(body.value, 'metadata'), 'managedFields');
    if (managed !== undefined && managed !== null) throw badRequest('metadata.managedFields must be nil');
    const incoming = accept(target, body, options, { applied: true });
    const live = this.store.get(locate(target));
    if (live) requireSameUid(target, live, incoming);
    const { status: _, ...main } = incoming;
    const { metadata, status, apiVersion, kind } = incoming;
    const hasStatus = target.kind.subresources.status;
    // Each endpoint owns its half only; of metadata, the status endpoint takes nothing but the identity.
    const half: JsonObject = target.subresource
      ? { apiVersion, kind, metadata: { name: get(metadata, 'name') }, ...(status !== undefined && { status }) }
      : hasStatus
        ? main
        : incoming;
    const config = withMetadata(half, { resourceVersion: undefined, uid: undefined, creationTimestamp: undefined, generation: undefined });
    const schema = objectSchema(target.kind);
    const merged = apply(schema, live, config, this.#writer(target, options), options.force === true);
    if (!live) {
      if (target.subresource) throw notFound(target.kind, target.name);
      return { object: this.#insert(target, merged, options, (object) => keepOwners(schema, merged, object)), created: true };
    }
    const asked = get(metadataOf(incoming), 'resourceVersion');
    const current = withMetadata(merged, { resourceVersion: asked ?? live.metadata.resourceVersion });
    return { object: this.#replace(target, live, current, (object) => keepOwners(schema, merged, object), options), created: false };
  }

  /** Removes the object, or marks it while finalizers are left. Returns its last state and whether it is gone. */
  delete(target: Target, options: DeleteOptions): { readonly object: StoredObject; readonly gone: boolean } {
    const { kind, name } = target;
    const live = this.get(target);
    const { uid, resourceVersion } = live.metadata;
    if (options.uid !== undefined && options.uid !== uid) {
      const why = `the UID in the precondition (${options.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`;
      throw conflict(asKind(kind), name, why);
    }
    if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
      const why = `the ResourceVersion in the precondition (${options.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion}). The object might have been modified`;
      throw conflict(asKind(kind), name, why);
    }
    if (kind.kind === 'Namespace' && PERMANENT_NAMESPACES.includes(name)) throw forbidden(kind, name, 'this namespace may not be deleted');
    if (options.dryRun) return { object: live, gone: true };
    return this.store.write(() => {
      if (options.propagationPolicy === 'Orphan') this.#orphan(uid);
      const waits = options.propagationPolicy === 'Foreground' && this.store.dependents(uid).length > 0;
      const finalizers = waits && !finalizersOf(live).includes(FOREGROUND) ? [...finalizersOf(live), FOREGROUND] : finalizersOf(live);
      if (finalizers.length === 0 && kind.kind !== 'Namespace') return { object: this.store.remove(locate(target)) ?? live, gone: true };
      if (live.metadata['deletionTimestamp'] && finalizers.length === finalizersOf(live).length) return { object: live, gone: false };
      const marked = withMetadata(live, {
        finalizers: finalizers.length > 0 ? finalizers : undefined,
        deletionTimestamp: live.metadata['deletionTimestamp'] ?? kubeTime(this.#clock.now()),
        deletionGracePeriodSeconds: 0,
        ...(!kind.native && { generation: Number(live.metadata['generation'] ?? 1) + 1 }),
      });
      const object = (kind.normalise?.(marked as unknown as KubeObject) ?? marked) as unknown as JsonObject;
      return { object: this.store.put(locate(target), object), gone: false };
    });
  }

  /** What waited for its dependents goes, unless somebody else still holds it. */
  dependentsGone(at: Location): void {
    const live = this.store.get(at);
    if (!live?.metadata['deletionTimestamp'] || !finalizersOf(live).includes(FOREGROUND)) return;
    const finalizers = finalizersOf(live).filter((finalizer) => finalizer !== FOREGROUND);
    const released = withMetadata(live, { finalizers: finalizers.length > 0 ? finalizers : undefined });
    if (finalizers.length > 0) this.store.put(at, released);
    else this.store.remove(at, released);
  }

  /** Dependents of `uid` forget it. */
  #orphan(uid: string): void {
    for (const at of this.store.dependents(uid)) {
      const object = this.store.get(at);
      if (object) this.store.put(at, this.disowned(object, [uid]));
    }
  }

  /** `object` without its references to these owners. */
  disowned(object: StoredObject, uids: readonly string[]): JsonObject {
    const left = ((object.metadata['ownerReferences'] ?? []) as { readonly uid: string }[]).filter(({ uid }) => !uids.includes(uid));
    return withMetadata(object, { ownerReferences: left.length > 0 ? left : undefined });
  }

  #writer({ kind, subresource }: Target, { manager }: WriteOptions): Writer {
    return { manager, apiVersion: apiVersionOf(kind), subresource, time: kubeTime(this.#clock.now()) };
  }

  #checkNamespace({ kind, namespace, name }: Target): void {
    if (!kind.namespaced) return;
    const found = this.store.get({ resource: 'namespaces', namespace: '', name: namespace });
    if (!found) throw notFound({ group: '', plural: 'namespaces' }, namespace);
    if (found.metadata['deletionTimestamp'])
      throw forbidden(kind, name, `unable to create new content in namespace ${namespace} because it is being terminated`);
  }

  #insert(target: Target, incoming: JsonObject, options: WriteOptions, own: (object: JsonObject) => JsonObject): JsonObject {
    const { kind } = target;
    const given = metadataOf(incoming);
    const prefix = given['generateName'];
    const name = String(given['name'] ?? (typeof prefix === 'string' && prefix ? prefix.slice(0, 248) + randomSuffix() : ''));
    if (name === '')
      throw invalid(kind, '', [
        { field: 'metadata.name', reason: 'FieldValueRequired', message: 'Required value: name or generateName is required' },
        ...(hasRules(objectSchema(kind)) ? [UNCHECKED] : []),
      ]);
    const fresh = newborn(kind, incoming, { name, uid: randomUUID(), time: kubeTime(this.#clock.now()) });
    this.#checkNamespace({ ...target, name });
    const object = own(this.#admit({ ...target, name }, fresh, undefined));
    const at = { ...locate(target), name };
    return this.store.write(() => {
      if (this.store.get(at)) throw alreadyExists(kind, name);
      return options.dryRun ? object : this.store.put(at, object);
    });
  }

  #replace(target: Target, live: StoredObject, incoming: JsonObject, own: (object: JsonObject) => JsonObject, options: WriteOptions): JsonObject {
    const { kind, name } = target;
    const given = metadataOf(incoming);
    if (given['resourceVersion'] !== undefined && given['resourceVersion'] !== live.metadata.resourceVersion) throw staleVersion(kind, name);
    if (given['uid'] !== undefined && given['uid'] !== live.metadata.uid) {
      throw conflict(kind, name, `Precondition failed: UID in precondition: ${String(given['uid'])}, UID in object meta: ${live.metadata.uid}`);
    }
    const candidate = this.#admit(target, this.#combine(target, live, incoming), live);
    const changed = !kind.native && !sameJson(desired(kind, candidate), desired(kind, live));
    const object = own(changed ? withMetadata(candidate, { generation: Number(live.metadata['generation'] ?? 1) + 1 }) : candidate);
    if (sameJson(withoutTimes(object), withoutTimes(live))) return live;
    if (options.dryRun) return object;
    if (object['metadata'] && live.metadata['deletionTimestamp'] && finalizersOf(object).length === 0 && kind.kind !== 'Namespace') {
      this.store.remove(locate(target), object);
      return object;
    }
    return this.store.put(locate(target), object);
  }

  /** What a write through this endpoint may change, taken from `incoming`; the rest from `live`. */
  #combine({ kind, subresource, name }: Target, live: StoredObject, incoming: JsonObject): JsonObject {
    const system = Object.fromEntries(
      ['uid', 'resourceVersion', 'generation', 'creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'generateName'].map((field) => [
        field,
        live.metadata[field],
      ]),
    );
    if (subresource === 'status') {
      const { status: _, ...rest } = live;
      return { ...rest, ...(isObject(incoming['status']) || incoming['status'] ? { status: incoming['status'] } : {}) };
    }
    const added = finalizersOf(incoming).filter((finalizer) => !finalizersOf(live).includes(finalizer));
    if (live.metadata['deletionTimestamp'] && added.length > 0) {
      throw invalid(kind, name, [
        {
          field: 'metadata.finalizers',
          reason: 'FieldValueForbidden',
          message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((finalizer) => JSON.stringify(finalizer)).join(', ')}}`,
        },
      ]);
    }
    const placed = withMetadata(incoming, system);
    if (!kind.subresources.status) return placed;
    const { status: _, ...rest } = placed;
    return { ...rest, ...(live['status'] !== undefined && { status: live['status'] }) };
  }

  /** Normalises, defaults and validates. Throws StatusError 422 with everything that is wrong. */
  #admit({ kind, name, subresource }: Target, object: JsonObject, old: JsonObject | undefined): JsonObject {
    const { object: complete, errors } = admit(kind, object, old, subresource === 'status');
    if (errors.length > 0) throw invalid(kind, name, errors);
    return complete;
  }
}

/** For "did anything change": managedFields times do not count. */
const withoutTimes = (object: JsonObject): JsonObject => {
  const managed = metadataOf(object)['managedFields'];
  return Array.isArray(managed) ? withMetadata(object, { managedFields: managed.map((entry) => ({ ...(entry as JsonObject), time: undefined })) }) : object;
};
