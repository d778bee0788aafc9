/**
 * Combinators for structural OpenAPI v3 schemas. One definition gives the schema of the CRD, the TypeScript type (`Infer`),
 * defaults, list and map types for server-side apply, CEL rules, and what is not built yet.
 * Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */

/** A CEL rule, checked on every write; one that names `oldSelf` is checked on updates. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** Where the error points, below the node of the rule: `.headerName`. */
  readonly fieldPath?: string;
  readonly reason?: 'FieldValueInvalid' | 'FieldValueRequired' | 'FieldValueForbidden';
}

/** Whether a value (at `key` of its parent: a field name or a list index) is built. */
export type BuiltCheck = (value: never, key: string | number) => boolean;

export interface JsonSchema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  readonly format?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic' | 'granular';
  readonly 'x-kubernetes-validations'?: readonly Rule[];
  /** Ours, never in a CRD: when it says false, the value is accepted but has no effect yet. */
  readonly built?: BuiltCheck;
  /** Which values are built, in words; absent = none. */
  readonly builtNote?: string;
}

declare const inferred: unique symbol;
/** A schema whose values have type T. */
export type Schema<T> = JsonSchema & { readonly [inferred]?: T };
export type Infer<S> = S extends { readonly [inferred]?: infer T } ? T : never;
type Fields = Readonly<Record<string, Schema<unknown>>>;
type Simplify<T> = { readonly [K in keyof T]: T[K] } & {};
type ObjectOf<R extends Fields, O extends Fields> = Simplify<{ readonly [K in keyof R]: Infer<R[K]> } & { readonly [K in keyof O]?: Infer<O[K]> }>;

type Options = Omit<JsonSchema, 'type' | 'properties' | 'items' | 'additionalProperties' | 'required' | 'description'> & { readonly rules?: readonly Rule[] };

const node = (type: JsonSchema['type'], description: string, { rules, ...rest }: Options = {}): JsonSchema => ({
  ...(type && { type }),
  ...(description && { description }),
  ...rest,
  ...(rules?.length && { 'x-kubernetes-validations': rules }),
});

export const string = (description: string, options?: Options): Schema<string> => node('string', description, options);
export const bool = (description: string, options?: Options): Schema<boolean> => node('boolean', description, options);

/** Kubernetes takes `format` for a remark; only limits bind everybody. */
const INT32 = { format: 'int32', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 } as const;
/** Beyond 2^53 a number of JSON is another one to whoever reads it as a double, as we do. */
const INT64 = { format: 'int64', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER } as const;
export const int32 = (description: string, options?: Options): Schema<number> => node('integer', description, { ...INT32, ...options });
export const int64 = (description: string, options?: Options): Schema<number> => node('integer', description, { ...INT64, ...options });
export const time = (description: string): Schema<string> => node('string', description, { format: 'date-time' });

export const oneOf = <const V extends readonly string[]>(description: string, values: V, options?: Options): Schema<V[number]> =>
  node('string', description, { enum: values, ...options });

/** A Go duration greater than zero, as text. */
export const duration = (description: string, options?: Options): Schema<string> =>
  node('string', description, {
    maxLength: 64,
    pattern: '^[+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$',
    rules: [{ rule: "duration(self) > duration('0s')", message: 'must be greater than zero' }],
    ...options,
  });

/** A Kubernetes quantity (`500m`, `512Mi`), or a plain integer. Its value is checked by the kind. */
export const quantity = (description: string, options?: Options): Schema<string | number> =>
  node(undefined, description, {
    maxLength: 64,
    pattern: '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?[0-9]+))?$',
    'x-kubernetes-int-or-string': true,
    ...options,
  });

/** An OCI image name (an empty segment excludes `//`, `://` and slashes at the ends). */
export const image = (description: string): Schema<string> =>
  node('string', description, { minLength: 1, maxLength: 1024, pattern: '^[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9._:@+-]+)*$' });

export const array = <T>(description: string, items: Schema<T>, options?: Options): Schema<readonly T[]> => ({
  ...node('array', description, { 'x-kubernetes-list-type': 'atomic', ...options }),
  items,
});

/** A list whose items are known by the value of `keys`, so that several owners can each have some. */
export const listMap = <T>(description: string, keys: readonly (keyof T & string)[], items: Schema<T>, options?: Options): Schema<readonly T[]> =>
  array(description, items, { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': keys, ...options });

export const map = <T>(description: string, values: Schema<T>): Schema<Readonly<Record<string, T>>> => ({
  ...node('object', description),
  additionalProperties: values,
});

/** An object; a required field with a default is always there in what the server returns, but need not be written. */
export const object = <R extends Fields, O extends Fields = {}>(description: string, required: R, optional?: O, options?: Options): Schema<ObjectOf<R, O>> => {
  const must = Object.keys(required).filter((name) => required[name]!.default === undefined);
  return { ...node('object', description, options), properties: { ...required, ...optional }, ...(must.length && { required: must }) };
};

/** Any JSON, kept as it is. */
export const json = (description: string, options?: Options): Schema<unknown> =>
  node(undefined, description, { 'x-kubernetes-preserve-unknown-fields': true, ...options });

/** A field that has no effect yet: anything is accepted and reported (condition `Enforced`). */
export const notBuilt = (description: string, type?: JsonSchema['type']): Schema<unknown> => ({
  ...json(description, { built: () => false }),
  ...(type && { type }),
});

/** The same schema, with some values not built yet; `note` says which are: `Stdin only`. */
export const builtWhen = <T>(schema: Schema<T>, check: (value: T, key: string | number) => boolean, note: string): Schema<T> => ({
  ...schema,
  built: check,
  builtNote: note,
});

/** The same schema, without effect so far: its value is checked, kept and reported, and what it would allow is denied. */
export const unbuilt = <T>(schema: Schema<T>): Schema<T> => ({ ...schema, built: () => false });

/** A list of distinct values. */
export const set = <T>(description: string, items: Schema<T>, options?: Options): Schema<readonly T[]> =>
  array(description, items, { 'x-kubernetes-list-type': 'set', ...options });

/** Whatever the object had when it was made, it keeps. */
export const immutable = (what: string): Rule => ({ rule: 'self == oldSelf', message: `${what} is immutable` });
