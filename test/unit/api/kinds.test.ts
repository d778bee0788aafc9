import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import {
  aiProviderRoutes,
  CLRK_KINDS,
  credentialInjectionPolicies,
  egressGateways,
  KINDS,
  notBuiltFields,
  setCondition,
  taskAgents,
  workerPools,
  type JsonSchema,
  type Kind,
  type KubeObject,
} from '#api';
import { genCrds } from '../../../tools/gen-crds.ts';

const of = (spec: object): KubeObject => ({ apiVersion: '', kind: '', metadata: { name: 'x' }, spec }) as KubeObject;

test.each<[string, Kind, object, string[]]>([
  [
    'nothing',
    taskAgents,
    { template: { spec: { image: 'a' } }, delivery: { mode: 'Stdin' }, egressRefs: [{ gatewayRef: 'a' }, { gatewayRef: 'b' }], maxConcurrent: 1 },
    [],
  ],
  [
    'env from elsewhere',
    taskAgents,
    {
      template: {
        spec: {
          env: [
            { name: 'A', valueFrom: {} },
            { name: 'B', value: '' },
          ],
        },
      },
    },
    ['spec.template.spec.env[0].valueFrom'],
  ],
  ['Metadata delivery', taskAgents, { delivery: { mode: 'Metadata' } }, ['spec.delivery.mode']],
  [
    'unbuilt fields of an agent',
    taskAgents,
    { resources: { cpu: 2 }, warmPoolSize: 0, warmPoolIdleTTL: '1m', schedule: '', scheduleInput: null, identity: {}, streaming: {}, state: {} },
    ['spec.schedule', 'spec.identity', 'spec.streaming', 'spec.state'],
  ],
  [
    'placement of a pool, but not its defaults',
    workerPools,
    { warmPool: 1, template: { image: 'x', imagePullPolicy: 'IfNotPresent', serviceAccountName: 'clrk-worker', nodeSelector: {} } },
    ['spec.template.nodeSelector'],
  ],
  [
    'listeners',
    egressGateways,
    {
      listeners: [
        { name: 'a', protocol: 'TLS', tls: { mode: 'Terminate' }, port: 8443 },
        { name: 'b', protocol: 'TCP' },
        { name: 'c', protocol: 'TLS', tls: { mode: 'Passthrough' } },
        { name: 'd', protocol: 'TLS', tls: { mode: 'Terminate', caCertRef: {} } },
      ],
    },
    [],
  ],
  ['open gateways', egressGateways, { defaultPolicy: 'allow-all', dns: { lookupFamily: 'V6Only' }, otlp: {} }, ['spec.otlp']],
  [
    'built gateways',
    egressGateways,
    { defaultPolicy: 'deny-all', dns: { lookupFamily: 'V4Only' }, requestTimeout: '1m', upstreamTLS: { hostAliases: [] } },
    [],
  ],
  [
    'routes',
    aiProviderRoutes,
    {
      parentRefs: [{ name: 'g' }, { name: 'g', kind: 'Gateway' }, { name: 'g', port: 1 }],
      rules: [
        {
          matches: [{ provider: 'OpenAI', models: ['x'], endpoints: ['/v1/*'] }, { provider: 'custom' }],
          filters: [
            { type: 'TokenBudget', tokenBudget: { maxTokensPerDay: 1, maxTokensPerExecution: 1, maxOutputTokensPerRequest: 2, budgetRef: 'x' } },
            { type: 'ExtensionRef', extensionRef: {} },
          ],
          backendRefs: [],
        },
      ],
    },
    ['spec.rules[0].filters[1].type', 'spec.rules[0].backendRefs'],
  ],
  [
    'policies',
    credentialInjectionPolicies,
    {
      parentRefs: [
        { kind: 'AIProviderRoute', name: 'r' },
        { kind: 'MCPRoute', name: 'm' },
      ],
      targetRefs: [{ kind: 'AIProviderRoute', name: 'r', sectionName: 's' }],
      target: 'QueryParam',
      queryParamName: 'k',
    },
    ['spec.targetRefs[0]'],
  ],
])('not built: %s', (_, kind, spec, expected) => {
  expect(notBuiltFields(kind, of(spec))).toEqual(expected);
});

/** The rules of structural schemas that a CRD is refused for. */
const structuralProblems = (schema: JsonSchema, path: string): string[] => [
  ...(schema.type || schema['x-kubernetes-preserve-unknown-fields'] || schema['x-kubernetes-int-or-string'] ? [] : [`${path}: no type`]),
  ...(schema.type === 'array' && !schema.items ? [`${path}: no items`] : []),
  ...(schema.properties && schema.additionalProperties ? [`${path}: properties and additionalProperties`] : []),
  ...(schema['x-kubernetes-list-map-keys'] ?? [])
    .filter((key) => !schema.items?.required?.includes(key) && schema.items?.properties?.[key]?.default === undefined)
    .map((key) => `${path}: key ${key} is optional`),
  ...Object.entries(schema.properties ?? {}).flatMap(([name, child]) => structuralProblems(child, `${path}.${name}`)),
  ...(schema.items ? structuralProblems(schema.items, `${path}[]`) : []),
  ...(schema.additionalProperties ? structuralProblems(schema.additionalProperties, `${path}{}`) : []),
];

test.each(KINDS.map((kind) => [kind.kind, kind] as const))('the schema of %s is structural', (_, kind) => {
  expect(structuralProblems(kind.schema, kind.kind)).toEqual([]);
});

test('names, plurals and short names are unique', () => {
  // A view is another form of the same objects, so it has their names.
  const stored = KINDS.filter(({ view }) => !view);
  for (const pick of [(kind: Kind) => kind.kind, (kind: Kind) => kind.plural, (kind: Kind) => kind.singular])
    expect(new Set(stored.map(pick)).size).toBe(stored.length);
  const short = stored.flatMap(({ shortNames }) => shortNames);
  expect(new Set(short).size).toBe(short.length);
});

test('the committed CRDs are what the kinds say, without marks of our own', async () => {
  const files = await genCrds();
  expect([...files.keys()]).toEqual(CLRK_KINDS.map(({ plural }) => `manifests/crds/${plural}.yaml`));
  for (const [path, content] of files) {
    expect(await readFile(join(import.meta.dirname, '../../..', path), 'utf8'), path).toBe(content);
    const crd = parse(content) as { metadata: { name: string }; spec: { names: { plural: string }; group: string } };
    expect(crd.metadata.name).toBe(`${crd.spec.names.plural}.${crd.spec.group}`);
    expect(content).not.toMatch(/^\s*built:/m);
  }
});

test('a condition keeps its transition time until its status changes', () => {
  const ready = { type: 'Ready', status: 'True', reason: 'A', message: '' } as const;
  const first = setCondition(undefined, ready, 't1');
  const second = setCondition(first, { ...ready, reason: 'B' }, 't2');
  expect(second).toEqual([{ ...ready, reason: 'B', lastTransitionTime: 't1' }]);
  expect(setCondition(second, { ...ready, status: 'False' }, 't3')[0]?.lastTransitionTime).toBe('t3');
});
