import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { array, duration, int32, listMap, map, object, oneOf, string, time, unbuilt, type Infer } from '../schema.ts';
import { conditions, labelSelector, secretRef } from '../shared.ts';

const allowedRoutes = object(
  'Which routes may attach to the listener.',
  {},
  {
    namespaces: object(
      'Namespaces of the routes.',
      {},
      { from: oneOf('Which ones; Same when absent.', ['All', 'Selector', 'Same', 'None']), selector: labelSelector },
    ),
    kinds: array(
      'Kinds of the routes; absent = every kind that fits.',
      object(
        'One kind.',
        { kind: string('The kind.', { minLength: 1, maxLength: 63 }) },
        { group: string('Its group; absent = clrk.apoxy.dev.', { maxLength: 253 }) },
      ),
      { maxItems: 8 },
    ),
  },
);

const otlp = object(
  'Where a copy of the records goes, and what is captured.',
  {},
  {
    endpoint: string('Base URL of an OTLP/HTTP receiver; absent = no copy.', { maxLength: 2048, pattern: '^(https?://[^ ]+)?$' }),
    headers: map('Headers of each export.', string('', { maxLength: 8192 })),
    captureBody: object(
      'How much of bodies is kept.',
      { maxBytes: int32('Bytes of each direction; longer bodies are cut and marked.', { minimum: 0, maximum: 1_048_576, default: 65_536 }) },
      {
        includeContentTypes: array('Prefixes of content types; absent = JSON, NDJSON and event streams.', string('', { minLength: 1, maxLength: 256 }), {
          maxItems: 32,
        }),
      },
    ),
  },
);

const listener = object(
  'A kind of connection the gateway takes.',
  {
    name: string('Name that a `sectionName` refers to.', { minLength: 1, maxLength: 63 }),
    protocol: oneOf('Layer at which it works.', ['TCP', 'UDP', 'TLS', 'HTTP', 'HTTPS']),
  },
  {
    port: int32('Original destination port it takes; absent = every port.', { minimum: 1, maximum: 65_535 }),
    tls: object(
      'What is done with TLS.',
      { mode: oneOf('Terminate decrypts with leaves signed by the gateway.', ['Passthrough', 'Terminate'], { default: 'Passthrough' }) },
      {
        caCertRef: {
          ...secretRef,
          description:
            'Secret with the authority (`tls.crt`, `tls.key`, `ca.crt`) that signs what the listener shows, the same for all listeners; absent = the gateway makes one.',
        },
      },
    ),
    allowedRoutes,
  },
  {
    rules: [
      {
        rule: "!has(self.tls) || !(self.protocol in ['TCP', 'UDP'])",
        message: 'must not be set for protocol TCP or UDP',
        fieldPath: '.tls',
        reason: 'FieldValueForbidden',
      },
    ],
  },
);

const spec = object(
  'What the gateway takes and where it sends it.',
  {
    listeners: listMap('What the gateway takes; names are unique.', ['name'], listener, { minItems: 1, maxItems: 64 }),
    defaultPolicy: oneOf('Fate of traffic that no route matches; allow-all lets it go to public addresses.', ['allow-all', 'deny-all'], {
      default: 'deny-all',
    }),
  },
  {
    requestTimeout: duration('Cap on one outbound request; 5m when absent.'),
    upstreamTLS: object(
      'How upstreams are reached and verified.',
      {},
      {
        additionalTrustBundleSecretRef: secretRef,
        hostAliases: array(
          'Addresses of names, before DNS.',
          object('Names of one address.', {
            ip: string('An IPv4 or IPv6 address; it may be private.', { maxLength: 45, rules: [{ rule: 'isIP(self)', message: 'must be an IP address' }] }),
            hostnames: array('Names.', string('', { minLength: 1, maxLength: 253 }), { minItems: 1, maxItems: 64 }),
          }),
          { maxItems: 64 },
        ),
      },
    ),
    dns: object(
      'How names are resolved.',
      {
        lookupFamily: oneOf(
          'Address families of upstreams: V4Preferred takes IPv6 where there is no IPv4, Auto the other way round, All takes both.',
          ['V4Preferred', 'V4Only', 'V6Only', 'Auto', 'All'],
          { default: 'V4Preferred' },
        ),
      },
      {},
    ),
    otlp: unbuilt(otlp),
  },
);

const status = object(
  'What is in force.',
  {},
  {
    conditions,
    listenerCount: int32('Number of listeners.'),
    listeners: listMap(
      'State of each listener.',
      ['name'],
      object(
        'State of one listener.',
        { name: string('The listener.'), attachedRoutes: int32('Routes attached to it.') },
        { port: int32('Port of the proxy for it.'), backendAddress: string('Address workers dial.'), conditions },
      ),
    ),
    programmed: listMap(
      'Which revision of the rules each worker enforces.',
      ['worker'],
      object('State of one worker.', {
        worker: string('The worker.'),
        revision: string('First 12 hex digits of the SHA-256 of the rules.'),
        time: time('Since when.'),
      }),
    ),
  },
);

export type EgressGateway = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const egressGateways: Kind<EgressGateway> = clrkKind({
  kind: 'EgressGateway',
  plural: 'egressgateways',
  short: 'egw',
  description: 'The only way out of a sandbox: takes its connections, decides, injects credentials and records.',
  spec,
  status,
  columns: [
    { name: 'Policy', type: 'string', path: '.spec.defaultPolicy' },
    { name: 'Listeners', type: 'integer', path: '.status.listenerCount' },
    { name: 'Ready', type: 'string', path: '.status.conditions[?(@.type=="Ready")].status', priority: 1 },
    AGE,
  ],
});
