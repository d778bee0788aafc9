import { afterAll, beforeAll, expect, test } from 'vitest';
import { objectSchema, validate } from '#admission';
import { apiVersionOf, KINDS, type JsonSchema, type Kind } from '#api';
import { parseManifests } from '../../../src/cli/manifests/documents.ts';
import { offlineProblems } from '../../../src/cli/manifests/problems.ts';
import { startServer, type TestClient, type TestServer } from '../apiserver/harness.ts';

/** What `clrk validate` says without a server is what the server says: the same verdict, about the same fields. */

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

type Json = Record<string, unknown>;

const urlOf = (kind: Kind, name: string): string =>
  `${kind.group ? `/apis/${kind.group}/${kind.version}` : `/api/${kind.version}`}${kind.namespaced ? '/namespaces/default' : ''}/${kind.plural}/${encodeURIComponent(name)}`;

interface Verdict {
  readonly accepted: boolean;
  /** Fields it is refused for, where there are some; undefined where a server only has words of its language. */
  readonly fields: readonly string[] | undefined;
}

const distinct = (fields: readonly string[]): string[] => [...new Set(fields)].toSorted();

const online = async (kind: Kind, object: Json): Promise<Verdict> => {
  const name = (object['metadata'] as Json | null | undefined)?.['name'];
  const path = `${urlOf(kind, typeof name === 'string' && name ? name : 'x')}?fieldManager=clrk&force=true&fieldValidation=Strict&dryRun=All`;
  const { status, body } = await admin.call('PATCH', path, object, { type: 'application/apply-patch+yaml' });
  expect(status, JSON.stringify(body)).toBeLessThan(500);
  if (status < 300) return { accepted: true, fields: [] };
  if (String(body.message).includes('Go struct field') || String(body.message).includes('parsing time')) return { accepted: false, fields: undefined };
  const unknown = [...String(body.message).matchAll(/unknown field ("(?:[^"\\]|\\.)*")/g)].map((match) => JSON.parse(match[1]!) as string);
  const causes = ((body.details?.causes ?? []) as { field: string }[]).map(({ field }) => field.replace(/^\./, '')).filter((field) => field !== '<nil>');
  return { accepted: false, fields: distinct([...unknown, ...causes]) };
};

const offline = (object: Json): Verdict => {
  const { manifests, problems } = parseManifests('x.json', JSON.stringify(object, null, 1));
  const found = [...problems, ...manifests.flatMap((manifest) => offlineProblems(manifest, 'default'))];
  for (const { line, column, message } of found) expect([line > 0, column > 0, message !== '']).toEqual([true, true, true]);
  return { accepted: found.length === 0, fields: distinct(found.map(({ field }) => field)) };
};

/** Texts some of which fit each pattern there is. */
const TEXTS = ['a', '1m', '10.0.0.0/8', 'a.example.com', '2026-01-01T00:00:00Z', '1'];

/** A value with every field of a schema. */
const sample = (schema: JsonSchema): unknown => {
  if (schema.enum) return schema.enum[0];
  if (schema['x-kubernetes-int-or-string']) return '1';
  switch (schema.type) {
    case 'object':
      if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([name, child]) => [name, sample(child)]));
      return schema.additionalProperties ? { key: sample(schema.additionalProperties) } : {};
    case 'array':
      return [sample(schema.items ?? {})];
    case 'integer':
    case 'number':
      return Math.max(1, schema.minimum ?? 1);
    case 'boolean':
      return true;
    default:
      return TEXTS.find((text) => validate(schema, text).length === 0) ?? 'a';
  }
};

const whole = (kind: Kind): Json => ({
  apiVersion: apiVersionOf(kind),
  kind: kind.kind,
  metadata: { name: 'x', labels: { app: 'x' } },
  ...(sample(kind.schema) as Json),
});

const parentRefs = [{ kind: 'EgressGateway', name: 'g' }];
const template = { spec: { image: 'i', env: [{ name: 'A', value: 'b' }] } };
const SPECS: Readonly<Record<string, Json>> = {
  TaskAgent: { workerPoolRef: 'p', template, timeout: '5s', resources: { cpu: '500m', memory: '256Mi' }, egressRefs: [{ gatewayRef: 'g' }] },
  DaemonAgent: { workerPoolRef: 'p', template },
  AgentSandboxRevision: { image: 'i' },
  WorkerPool: { replicas: 2, template: { image: 'i' } },
  EgressGateway: { listeners: [{ name: 'l', protocol: 'TLS', tls: { mode: 'Terminate' } }], dns: { lookupFamily: 'V4Only' } },
  AIProviderRoute: { parentRefs, rules: [{ matches: [{ provider: 'openai' }] }] },
  MCPRoute: { parentRefs, rules: [{}] },
  EgressL4Route: { parentRefs, rules: [{ matches: [{ destinationCIDRs: ['10.0.0.0/8'] }] }] },
  CredentialInjectionPolicy: { parentRefs: [{ kind: 'AIProviderRoute', name: 'r' }], secretRef: { name: 's' }, target: 'Header', headerName: 'authorization' },
  RateLimitPolicy: { requests: 1, window: '1s' },
  EgressDenyPolicy: { targetRef: { group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'r' } },
  LoggingPolicy: {},
};

const bases = (kind: Kind): Json[] => {
  const spec = SPECS[kind.kind];
  const simple = { apiVersion: apiVersionOf(kind), kind: kind.kind, metadata: { name: 'x' } };
  const small = spec ? { ...simple, spec } : kind.kind === 'Event' ? { ...simple, [kind.view ? 'regarding' : 'involvedObject']: {} } : simple;
  return [small, whole(kind)];
};

type Step = string | number;
const places = (value: unknown, at: readonly Step[] = []): (readonly Step[])[] => [
  at,
  ...(value !== null && typeof value === 'object'
    ? Object.entries(value).flatMap(([name, child]) => places(child, [...at, Array.isArray(value) ? Number(name) : name]))
    : []),
];

/** `base` with something else at a place; `undefined` = without it. */
const replaced = (base: Json, at: readonly Step[], make: (old: unknown) => unknown): Json => {
  const copy = structuredClone(base);
  const parent = at.slice(0, -1).reduce<Json>((node, step) => node[step] as Json, copy);
  const last = at.at(-1)!;
  const value = make(parent[last]);
  if (value !== undefined) parent[last] = value;
  else if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete parent[last];
  return copy;
};

const MUTATIONS: Readonly<Record<string, (old: unknown) => unknown>> = {
  removed: () => undefined,
  null: () => null,
  'a number': () => -7,
  'a fraction': () => 1.5,
  'a large number': () => 2 ** 40,
  'an empty text': () => '',
  'a text': () => 'No Such Thing!',
  'a long text': () => 'x'.repeat(5000),
  'an empty list': () => [],
  'an empty map': () => ({}),
  'no truth': () => false,
  'with something unknown': (old) => (old !== null && typeof old === 'object' && !Array.isArray(old) ? { ...old, unheardOf: 1 } : { unheardOf: 1 }),
  'twice in its list': (old) => (Array.isArray(old) ? [...old, ...old] : old),
};

/** Type and name are what the server is asked by. */
const ADDRESS = new Set(['apiVersion', 'kind', 'metadata', 'metadata.name', 'metadata.namespace']);

test.each(KINDS.map((kind) => [`${kind.kind} of ${apiVersionOf(kind)}`, kind] as const))(
  '%s: every field, changed in every way',
  async (_, kind) => {
    let refused = 0;
    let accepted = 0;
    for (const [turn, base] of bases(kind).entries()) {
      const fields = places(base).filter((place) => place.length > 0 && !ADDRESS.has(place.join('.')));
      for (const [index, at] of fields.entries()) {
        // The large object has so many fields that each is changed in some ways only, and its neighbours in the others.
        const ways = Object.entries(MUTATIONS).filter((_way, way) => turn === 0 || (way + index) % 6 === 0);
        for (const [name, make] of ways) {
          const object = replaced(base, at, make);
          const [here, there] = [offline(object), await online(kind, object)];
          const about = `${at.join('.')} ${name}: ${JSON.stringify(object).slice(0, 2000)}`;
          expect(here.accepted, about).toBe(there.accepted);
          if (!there.fields) {
            expect(here.fields, about).not.toEqual([]);
            refused++;
            continue;
          }
          // A server stops at unknown fields; offline, the rest is told too.
          expect(here.fields, about).toEqual(expect.arrayContaining([...there.fields]));
          if (!there.fields.some((field) => field.includes('unheardOf'))) expect(here.fields, about).toEqual(there.fields);
          if (here.accepted) accepted++;
          else refused++;
        }
      }
    }
    expect(refused).toBeGreaterThan(1);
    expect(accepted + refused).toBeGreaterThan(8);
  },
  120_000,
);

test('a small manifest of every kind of ours is valid in both', async () => {
  for (const kind of KINDS) {
    const [small] = bases(kind);
    expect([kind.kind, offline(small!), await online(kind, small!)]).toEqual([kind.kind, { accepted: true, fields: [] }, { accepted: true, fields: [] }]);
  }
});

test.each<[string, Json, string[]]>([
  ['a name that is none', { metadata: { name: 'Bad_Name' } }, ['metadata.name']],
  ['a name that is no text', { metadata: { name: 5 } }, ['metadata.name']],
  ['metadata in a list', { metadata: [] }, ['metadata']],
  ['a namespace that is no text', { metadata: { name: 'x', namespace: 5 } }, ['metadata.namespace']],
  ['managed fields', { metadata: { name: 'x', managedFields: [] } }, ['metadata.managedFields']],
  ['label values', { metadata: { name: 'x', labels: { a: 'not a label' } } }, ['metadata.labels']],
  ['label keys', { metadata: { name: 'x', labels: { 'a b': 'x' } } }, ['metadata.labels']],
  ['annotations that are no text', { metadata: { name: 'x', annotations: { 'a.b/c': 1 } } }, ['metadata.annotations.a.b/c']],
  [
    'two controllers',
    { metadata: { name: 'x', ownerReferences: ['a', 'b'].map((uid) => ({ apiVersion: 'v1', kind: 'X', name: 'x', uid, controller: true })) } },
    ['metadata.ownerReferences'],
  ],
  ['a key that a Secret cannot have', { data: { 'a b': 'eA==' } }, ['data[a b]']],
  ['a value that is not base64', { data: { 'tls.crt': '!' } }, ['data[tls.crt]']],
  ['a value that is no text', { stringData: { 'tls.crt': 5 } }, ['stringData.tls.crt']],
])('a Secret with %s', async (_, fields, expected) => {
  const object = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x' }, ...fields };
  const kind = KINDS.find((candidate) => candidate.kind === 'Secret')!;
  const [here, there] = [offline(object), await online(kind, object)];
  expect(here).toEqual({ accepted: false, fields: expected });
  expect(there.accepted).toBe(false);
});

test('what has no name cannot be applied: there is nothing to ask a server for', () => {
  for (const metadata of [{ labels: {} }, null, { generateName: 'x-' }, { name: '' }, undefined]) {
    expect(offline({ apiVersion: 'v1', kind: 'Secret', metadata })).toEqual({ accepted: false, fields: ['metadata.name'] });
  }
});

test('a Namespace in a namespace', async () => {
  const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x', namespace: 'default' } };
  expect(offline(object)).toEqual({ accepted: false, fields: ['metadata.namespace'] });
  expect(
    (
      await online(
        KINDS.find(({ kind }) => kind === 'Namespace')!,
        object,
      )
    ).accepted,
  ).toBe(false);
});

test('schemas are whole: the sample of each kind has every field', () => {
  for (const kind of KINDS) expect(Object.keys(whole(kind))).toEqual(expect.arrayContaining(Object.keys(objectSchema(kind).properties!)));
});
