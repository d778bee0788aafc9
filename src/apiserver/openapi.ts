import { toOpenApi, type JsonSchema } from '#api';
import { sha256Hex } from '#lib';
import type { Catalogue, GroupVersion, Served } from './catalogue.ts';
import { OBJECT_META } from '#admission';

/** OpenAPI v3 documents, one a group version: what `kubectl apply` and `kubectl explain` read. */

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
const LIST_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta';
const STATUS = 'io.k8s.apimachinery.pkg.apis.meta.v1.Status';
const ref = (name: string): object => ({ $ref: `#/components/schemas/${name}` });

const componentName = ({ group, version, kind }: Served): string =>
  group ? `${group.split('.').reverse().join('.')}.${version}.${kind}` : `io.k8s.api.core.${version}.${kind}`;

const gvkOf = ({ group, version, kind }: Served) => ({ group, version, kind });

const typeFields = {
  apiVersion: { type: 'string', description: 'Group and version of the kind.' },
  kind: { type: 'string', description: 'The kind.' },
};

const components = (served: Served): Record<string, object> => {
  const schema: JsonSchema = served.stored?.schema ?? served.extra?.schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const name = componentName(served);
  return {
    [name]: {
      ...toOpenApi(schema),
      properties: {
        ...typeFields,
        metadata: { description: 'Metadata that every object has.', allOf: [ref(META)], default: {} },
        ...toOpenApi(schema).properties,
      },
      'x-kubernetes-group-version-kind': [gvkOf(served)],
    },
    [`${name}List`]: {
      type: 'object',
      description: `A list of ${served.kind}.`,
      required: ['items'],
      properties: { ...typeFields, metadata: { allOf: [ref(LIST_META)] }, items: { type: 'array', items: ref(name) } },
      'x-kubernetes-group-version-kind': [{ ...gvkOf(served), kind: `${served.kind}List` }],
    },
  };
};

const METHODS: readonly (readonly [verb: string, method: string, action: string])[] = [
  ['get', 'get', 'get'],
  ['update', 'put', 'put'],
  ['patch', 'patch', 'patch'],
  ['delete', 'delete', 'delete'],
];

const query = (...names: string[]): object[] => names.map((name) => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } }));

const operation = (served: Served, action: string, kind = served.kind): object => {
  const body = { schema: ref(componentName(served)) };
  const writes = action === 'post' || action === 'put' || action === 'patch';
  const types =
    action === 'patch'
      ? ['application/json-patch+json', 'application/merge-patch+json', 'application/apply-patch+yaml']
      : ['application/json', 'application/yaml'];
  return {
    operationId: `${action}${kind}`,
    parameters: writes ? query('dryRun', 'fieldManager', 'fieldValidation', ...(action === 'patch' ? ['force'] : [])) : [],
    ...(writes && { requestBody: { content: Object.fromEntries(types.map((type) => [type, body])) } }),
    responses: { 200: { description: 'OK', content: { 'application/json': { schema: ref(componentName(served)) } } } },
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': { ...gvkOf(served), kind },
  };
};

const paths = (served: Served): Record<string, object> => {
  const root = served.group ? `/apis/${served.group}/${served.version}` : `/api/${served.version}`;
  const collection = served.namespaced ? `${root}/namespaces/{namespace}/${served.plural}` : `${root}/${served.plural}`;
  const has = (verb: string): boolean => served.verbs.includes(verb);
  const single = METHODS.filter(([verb]) => has(verb)).map(([, method, action]) => [method, operation(served, action)] as const);
  const out: Record<string, object> = {};
  if (has('list') || has('create')) {
    out[collection] = { ...(has('list') && { get: operation(served, 'list') }), ...(has('create') && { post: operation(served, 'post') }) };
  }
  if (single.length > 0) out[`${collection}/{name}`] = Object.fromEntries(single);
  for (const { name, kind, verbs } of served.subresources) {
    const operations = METHODS.filter(([verb]) => verbs.includes(verb)).map(([, method, action]) => [method, operation(served, action, kind)] as const);
    out[`${collection}/{name}/${name}`] = Object.fromEntries([
      ...operations,
      ...(verbs.includes('create') ? [['post', operation(served, 'post', kind)] as const] : []),
    ]);
  }
  return out;
};

const document = ({ group, version, resources }: GroupVersion): object => ({
  openapi: '3.0.0',
  info: { title: 'clrk', version: group ? `${group}/${version}` : version },
  paths: Object.assign({}, ...resources.map(paths)) as object,
  components: {
    schemas: {
      ...(Object.assign({}, ...resources.map(components)) as object),
      [META]: toOpenApi(OBJECT_META),
      [LIST_META]: {
        type: 'object',
        description: 'Metadata of a list.',
        properties: { resourceVersion: { type: 'string' }, continue: { type: 'string' }, remainingItemCount: { type: 'integer', format: 'int64' } },
      },
      [STATUS]: { type: 'object', description: 'An outcome.', 'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Status' }] },
    },
  },
});

const V2_INFO = { title: 'clrk', version: 'v1' };
const field = (number: number, content: Uint8Array): Uint8Array => Buffer.concat([Buffer.from([(number << 3) | 2, content.length]), content]);

/**
 * OpenAPI v2 without content. kubectl asks for it when it does not find a kind in v3, and without an answer it reports that
 * instead of the unknown kind. Protobuf: `Document {1: swagger, 2: Info {1: title, 2: version}, 8: paths}` of gnostic's OpenAPIv2.proto.
 */
export const OPENAPI_V2 = {
  json: { swagger: '2.0', info: V2_INFO, paths: {}, definitions: {} },
  protobuf: Buffer.concat([
    field(1, Buffer.from('2.0')),
    field(2, Buffer.concat([field(1, Buffer.from(V2_INFO.title)), field(2, Buffer.from(V2_INFO.version))])),
    field(8, Buffer.alloc(0)),
  ]),
  protobufType: 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
};

export interface OpenApi {
  readonly root: object;
  /** By path: `apis/clrk.apoxy.dev/v1alpha1`. */
  readonly documents: ReadonlyMap<string, { readonly text: string; readonly hash: string }>;
}

export const openApi = (catalogue: Catalogue): OpenApi => {
  const documents = new Map(
    catalogue.groupVersions.map((groupVersion) => {
      const text = JSON.stringify(document(groupVersion));
      const { group, version } = groupVersion;
      return [group ? `apis/${group}/${version}` : `api/${version}`, { text, hash: sha256Hex(text).toUpperCase() }];
    }),
  );
  return {
    root: { paths: Object.fromEntries([...documents].map(([path, { hash }]) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` }])) },
    documents,
  };
};
