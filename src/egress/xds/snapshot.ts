import { createHmac, randomBytes } from 'node:crypto';
import { encodeResource, type Encoded, type ResourceJson } from '#wire/xds';
import { any } from '../translate/envoy.ts';
import { MAX_GATEWAYS } from '../slices.ts';
import { UPSTREAM_CA, type Translated } from '../translate/index.ts';

export const TYPE = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  /** Endpoints of clusters; all of them on demand. */
  endpoint: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
} as const;
export type TypeUrl = (typeof TYPE)[keyof typeof TYPE];

/** One resource as it is sent: versions are hashes of content, so equal content is never sent twice. */
export interface VersionedResource {
  readonly version: string;
  readonly body: Encoded;
  /** Of a cluster: the name of its endpoints. */
  readonly service?: string;
}

/** Everything one Envoy should have of one revision, but for leaves, which are made when asked for. */
export interface Snapshot {
  readonly revision: string;
  readonly resources: Readonly<Record<TypeUrl, ReadonlyMap<string, VersionedResource>>>;
  /** What clusters of verdicts refer to: Envoy asks for it when the first of them comes. */
  readonly verdictSecrets: ReadonlyMap<string, VersionedResource>;
}

// Envoy shows versions in its configuration dump: keyed, they say nothing about a credential's value.
const versionKey = randomBytes(32);

/** The version of a resource, by its content. */
export const versionOf = (body: Encoded): string => createHmac('sha256', versionKey).update(body.value).digest('hex').slice(0, 16);

const versioned = (resource: ResourceJson): VersionedResource => {
  const body = encodeResource(resource);
  const service = (resource['eds_cluster_config'] as { service_name?: string } | undefined)?.service_name;
  return { version: versionOf(body), body, ...(service !== undefined && { service }) };
};

const byName = (resources: readonly ResourceJson[]): ReadonlyMap<string, VersionedResource> =>
  new Map(resources.map((resource) => [resource['name'] as string, versioned(resource)]));

export const secret = (name: string, fields: object): ResourceJson => any('envoy.extensions.transport_sockets.tls.v3.Secret', { name, ...fields });

export interface SecretValues {
  readonly credentials: ReadonlyMap<string, string>;
  /** PEM of what upstream certificates are verified with. */
  readonly trustedCa: string;
}

/** What upstreams are verified with is a thousand times as long as anything else here: it is encoded once for each content. */
const trusted = new Map<string, VersionedResource>();

const trustedCa = (pem: string): VersionedResource => {
  let known = trusted.get(pem);
  if (!known) {
    known = versioned(secret(UPSTREAM_CA, { validation_context: { trusted_ca: { inline_string: pem } } }));
    if (trusted.size >= MAX_GATEWAYS) trusted.delete(trusted.keys().next().value!);
    trusted.set(pem, known);
  }
  return known;
};

const secretOf = (name: string, { credentials, trustedCa: pem }: SecretValues): VersionedResource =>
  name === UPSTREAM_CA ? trustedCa(pem) : versioned(secret(name, { generic_secret: { secret: { inline_string: credentials.get(name) ?? '' } } }));

export const snapshotOf = (revision: string, translated: Translated, values: SecretValues): Snapshot => ({
  revision,
  resources: {
    [TYPE.cluster]: byName(translated.clusters),
    [TYPE.endpoint]: new Map(),
    [TYPE.listener]: byName(translated.listeners),
    [TYPE.route]: byName(translated.routes),
    [TYPE.secret]: new Map(translated.secrets.map((name) => [name, secretOf(name, values)])),
  },
  // Verdicts verify upstreams too, also where no other cluster does, and may inject what no other cluster injects.
  verdictSecrets: new Map([UPSTREAM_CA, ...values.credentials.keys()].map((name) => [name, secretOf(name, values)])),
});

/** The secret of a leaf: its chain and key. */
export const encodeLeaf = (name: string, leaf: { readonly chainPem: string; readonly keyPem: string }): Encoded =>
  encodeResource(secret(name, { tls_certificate: { certificate_chain: { inline_string: leaf.chainPem }, private_key: { inline_string: leaf.keyPem } } }));
