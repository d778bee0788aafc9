import type { JsonSchema, Schema } from './schema.ts';
import { notBuiltIn } from './not-built.ts';

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ManagedFieldsEntry {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly time?: string;
  readonly fieldsType: 'FieldsV1';
  readonly fieldsV1: Readonly<Record<string, unknown>>;
  readonly subresource?: string;
}

/** Everything but `name` (or `generateName`) and `namespace` is optional to write; the server fills in the rest. */
export interface ObjectMeta {
  readonly name: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
  readonly managedFields?: readonly ManagedFieldsEntry[];
}

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** An object with the usual two halves. */
export interface Resource<Spec, Status> extends KubeObject {
  readonly spec: Spec;
  readonly status?: Status;
}

/** A column of `kubectl get`; Name comes first by itself, unless a column has that name. */
export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  /** JSONPath below the object: `.spec.workerPoolRef`, `.status.conditions[?(@.type=="Ready")].status`. */
  readonly path: string;
  readonly description?: string;
  /** Greater than 0: only with `-o wide`. */
  readonly priority?: number;
  /** For native kinds: computed instead of read from `path`. */
  readonly value?: (object: KubeObject) => string | number | null;
}

/** One violated rule, in the categories of CEL rules (`reason`). */
export interface FieldError {
  /** `spec.rules[0].matches[1].provider` */
  readonly field: string;
  readonly reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueTypeInvalid'
    | 'FieldValueDuplicate'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany';
  /** As Kubernetes words it: `Invalid value: -1: must be …`. */
  readonly message: string;
}

/** A kind of API object: everything a server, a client, a CRD or a document needs to know about it. */
export interface Kind<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  /** Words that mean several kinds: `kubectl get clrk`. */
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly description: string;
  /** Of the whole object, without apiVersion, kind and metadata. */
  readonly schema: JsonSchema;
  readonly columns: readonly Column[];
  readonly subresources: {
    readonly status?: boolean;
    /** Where the number of replicas is: `.spec.replicas`. */
    readonly scale?: { readonly specReplicasPath: string; readonly statusReplicasPath: string };
  };
  /** Native kinds (core group) are not CRDs and have no `generation`. */
  readonly native?: boolean;
  /** The same objects as those of another kind, with top-level fields renamed: the name here -> the name there. */
  readonly view?: { readonly of: Kind; readonly fields: Readonly<Record<string, string>> };
  /** Paths of text fields that field selectors may name besides name and namespace; they do not change while an object lives. */
  readonly selectable?: readonly string[];
  /** Objects go when nobody has written them for this long. */
  readonly ttlSeconds?: number;
  /** What a schema cannot express. Skipped when an update leaves everything but metadata and status as it was. */
  admission?(object: T, old?: T): readonly FieldError[];
  /** Rewrites an object before it is validated and stored (a Secret's `stringData`). */
  normalise?(object: T): T;
  /** Never set: carries the type. */
  readonly example?: T;
}

export const GROUP = 'clrk.apoxy.dev';
export const VERSION = 'v1alpha1';
export const RUNTIME_GROUP = 'runtime.clrk.apoxy.dev';

export const apiVersionOf = (kind: Pick<Kind, 'group' | 'version'>): string => (kind.group ? `${kind.group}/${kind.version}` : kind.version);

export const AGE: Column = { name: 'Age', type: 'date', path: '.metadata.creationTimestamp' };

interface ClrkKind<Spec, Status> {
  readonly kind: string;
  readonly plural: string;
  readonly short: string;
  readonly description: string;
  readonly spec: Schema<Spec>;
  /** Absent: the kind has no status. */
  readonly status?: Schema<Status>;
  readonly columns: readonly Column[];
  readonly scale?: Kind['subresources']['scale'];
  readonly admission?: (object: Resource<Spec, Status>, old?: Resource<Spec, Status>) => readonly FieldError[];
}

/** Defines a kind of group `clrk.apoxy.dev/v1alpha1`: namespaced, with a spec and mostly a status subresource. */
export const clrkKind = <Spec, Status>(definition: ClrkKind<Spec, Status>): Kind<Resource<Spec, Status>> => ({
  group: GROUP,
  version: VERSION,
  kind: definition.kind,
  plural: definition.plural,
  singular: definition.kind.toLowerCase(),
  shortNames: [definition.short],
  categories: ['clrk'],
  namespaced: true,
  description: definition.description,
  schema: {
    type: 'object',
    description: definition.description,
    properties: { spec: definition.spec, ...(definition.status && { status: definition.status }) },
    required: ['spec'],
  },
  columns: definition.columns,
  subresources: { ...(definition.status && { status: true }), ...(definition.scale && { scale: definition.scale }) },
  ...(definition.admission && { admission: definition.admission }),
});

/** JSON paths of the fields set in `object` that have no effect yet, in document order: `spec.listeners[1]`. */
export const notBuiltFields = (kind: Kind, object: KubeObject): string[] => notBuiltIn(kind.schema, object, '');
