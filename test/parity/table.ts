import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { CLRK_KINDS, type JsonSchema, type Kind, type KubeObject } from '#api';

/**
 * Inputs for two servers that must judge alike: our own and kube-apiserver. From each example, which together have every
 * field, one field at a time is changed in each way its schema has an opinion about.
 */

export interface Input {
  /** Unique within a kind; says what was done: `spec.timeout = 7`. */
  readonly name: string;
  readonly kind: Kind;
  /** Where it is sent: created, or put as the status of the example. */
  readonly subresource: '' | 'status';
  readonly object: KubeObject;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type Path = readonly (string | number)[];

const folder = join(import.meta.dirname, 'examples');
/** Objects with every field there is, by kind. */
export const EXAMPLES: readonly { readonly kind: Kind; readonly object: KubeObject & { readonly [name: string]: unknown } }[] = readdirSync(folder)
  .sort()
  .flatMap((file) => parseAllDocuments(readFileSync(join(folder, file), 'utf8')).map((document) => document.toJS() as KubeObject & Record<string, unknown>))
  .map((object) => ({ kind: CLRK_KINDS.find(({ kind }) => kind === object.kind)!, object }));

const REMOVED = Symbol('removed');
interface Change {
  readonly label: string;
  readonly value: unknown;
}

const short = (value: unknown): string => {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 40)}… (${text.length})` : text;
};
const to = (value: unknown): Change => ({ label: `= ${short(value)}`, value });

const stringChanges = (schema: JsonSchema, value: string): Change[] => [
  to(''),
  ...(schema.enum ? ['Other', ...schema.enum.filter((other) => other !== value)].map(to) : []),
  ...(schema.pattern ? [to('no\nmatch!')] : []),
  ...(schema.maxLength !== undefined && !schema.enum ? ['x', 'ä'].map((letter) => to(letter.repeat(schema.maxLength! + 1))) : []),
  ...(schema.maxLength !== undefined ? [to('x'.repeat(schema.maxLength))] : []),
  ...(schema.format === 'date-time' ? ['yesterday', '2026-02-30T00:00:00Z', '2026-02-03 09:30:00Z', '2026-02-03T09:30:00.5+01:00'].map(to) : []),
];

/** What JSON.stringify writes as it is: a number beyond what JavaScript holds. */
const raw = (text: string): Change => ({ label: `= ${text}`, value: (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text) });

const numberChanges = (schema: JsonSchema): Change[] => [
  to(1.5),
  ...(schema.format === 'int32' ? [to(2 ** 31), to(-(2 ** 31) - 1), to(2 ** 31 - 1)] : [raw('9223372036854775808'), raw('1e30')]),
  ...(schema.minimum === undefined ? [to(-1)] : [to(schema.minimum), to(schema.minimum - 1)]),
  ...(schema.maximum === undefined ? [] : [to(schema.maximum), to(schema.maximum + 1)]),
];

/** Items that differ wherever two equal ones are a fault of their own. */
const many = (schema: JsonSchema, item: unknown, count: number): unknown[] =>
  Array.from({ length: count }, (_, index) => {
    const keys = schema['x-kubernetes-list-map-keys'];
    if (keys) return { ...(item as object), [keys[0]!]: `n${index}` };
    return schema['x-kubernetes-list-type'] === 'set' ? `n${index}` : item;
  });

const arrayChanges = (schema: JsonSchema, value: readonly unknown[]): Change[] => [
  to([]),
  { label: '= [null]', value: [null] },
  ...(value.length > 0 && schema.maxItems !== undefined
    ? [{ label: `has ${schema.maxItems + 1} items`, value: many(schema, value[0], schema.maxItems + 1) }]
    : []),
  ...(value.length > 0 ? [{ label: 'has the same item twice', value: [...value, value[0]] }] : []),
];

const objectChanges = (schema: JsonSchema, value: object): Change[] => [
  to({}),
  { label: 'has an unknown field', value: { ...value, surprise: 1 } },
  ...(schema.additionalProperties ? [{ label: 'has a null', value: { ...value, nothing: null } }] : []),
];

const changesOf = (schema: JsonSchema, value: unknown, optional: boolean): Change[] => {
  if (schema['x-kubernetes-preserve-unknown-fields'] && schema.type === undefined) return [to(null)];
  const wrong = schema['x-kubernetes-int-or-string']
    ? [true, 1.5, 3, {}]
    : schema.type === 'string'
      ? [7, {}]
      : schema.type === 'object'
        ? ['text', []]
        : ['text', {}];
  const changes = [
    ...[null, ...wrong].map(to),
    { label: optional ? 'left out' : 'missing', value: REMOVED },
    ...(typeof value === 'string' ? stringChanges(schema, value) : []),
    ...(typeof value === 'number' ? numberChanges(schema) : []),
    ...(Array.isArray(value) ? arrayChanges(schema, value) : []),
    ...(value !== null && typeof value === 'object' && !Array.isArray(value) ? objectChanges(schema, value) : []),
  ];
  return [...new Map(changes.map((change) => [change.label, change])).values()];
};

/** `root` with the value at `path` replaced or removed. */
const changed = (root: unknown, path: Path, value: unknown): unknown => {
  const [first, ...rest] = path;
  if (first === undefined) return value;
  const copy: Record<string | number, unknown> | unknown[] = Array.isArray(root) ? [...(root as unknown[])] : { ...(root as object) };
  const next = changed((root as Record<string | number, unknown>)[first], rest, value);
  if (next === REMOVED && !Array.isArray(copy)) delete copy[first];
  else if (next === REMOVED) (copy as unknown[]).splice(Number(first), 1);
  else (copy as Record<string | number, unknown>)[first] = next;
  return copy;
};

const printed = (path: Path): string =>
  path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`))
    .join('')
    .slice(1);

/** Calls `visit` for each value the schema describes. */
const walk = (
  schema: JsonSchema,
  value: unknown,
  path: Path,
  optional: boolean,
  visit: (schema: JsonSchema, value: unknown, path: Path, optional: boolean) => void,
): void => {
  visit(schema, value, path, optional);
  if (Array.isArray(value)) value.forEach((item, index) => schema.items && walk(schema.items, item, [...path, index], true, visit));
  else if (value !== null && typeof value === 'object') {
    for (const [name, child] of Object.entries(value)) {
      const known = schema.properties?.[name] ?? schema.additionalProperties;
      if (known) walk(known, child, [...path, name], !schema.required?.includes(name), visit);
    }
  }
};

/** Every schema a value may have, each once: shared types are judged where they are first met. */
export const schemasOf = (kind: Kind): Set<JsonSchema> => {
  const found = new Set<JsonSchema>();
  const add = (schema: JsonSchema | undefined): void => {
    if (!schema || found.has(schema)) return;
    found.add(schema);
    for (const child of Object.values(schema.properties ?? {})) add(child);
    add(schema.items);
    add(schema.additionalProperties);
  };
  add(kind.schema);
  return found;
};

/** Schemas of all kinds that some example has a value for. */
export const visited = new Set<JsonSchema>();

const makeTable = (): Input[] =>
  EXAMPLES.flatMap(({ kind, object }, index) => {
    const whole: Input = { name: `example ${object.metadata.name}`, kind, subresource: '', object };
    const inputs = [whole, ...(object['status'] ? [{ ...whole, name: `${whole.name}: status`, subresource: 'status' as const }] : [])];
    const first = EXAMPLES.findIndex((example) => example.kind === kind) === index;
    walk(kind.schema, object, [], false, (schema, value, path, optional) => {
      if (visited.has(schema) || path.length === 0) {
        visited.add(schema);
        return;
      }
      visited.add(schema);
      for (const { label, value: next } of changesOf(schema, value, optional)) {
        const name = `${first ? '' : `${object.metadata.name}: `}${printed(path)} ${label}`;
        inputs.push({ name, kind, subresource: path[0] === 'status' ? 'status' : '', object: changed(object, path, next) as KubeObject });
      }
    });
    return inputs;
  });

const example = (name: string) => EXAMPLES.find(({ kind }) => kind.kind === name)!;

const EXTENSION = { group: 'clrk.apoxy.dev', kind: 'LoggingPolicy', name: 'all' };

/** Values that only a person thinks of: kind, place in its first example, values. */
const THOUGHT_OF: readonly (readonly [kind: string, path: Path, values: readonly unknown[]])[] = [
  ['TaskAgent', ['spec', 'timeout'], ['1h30m', '.5s', '+1s', '1µs', '1us', '1.5h', '0', '0s', '-1s', '1d', '1 s', '5', '1h-1m', '9999999h', '99999999999h']],
  ['TaskAgent', ['spec', 'template', 'spec', 'image'], ['has space', 'http://x', '/a', 'a/', 'a//b', '-a', 'a@sha256:0', 'ä']],
  ['TaskAgent', ['spec', 'resources', 'memory'], ['1e9', '1.5Gi', '100000k', '1G', '1 Gi', '1ki', '-1Gi', '+1Gi', 2 ** 31, '١Gi']],
  ['TaskAgent', ['spec', 'scheduleInput'], ['text', 1, 1.5, [], [null], { a: null }, { constructor: 1 }]],
  ['TaskAgent', ['spec', 'workerPoolRef'], ['a\u0000b', '\ud83d\ude00', 'UPPER', ' ']],
  ['TaskAgent', ['spec', 'template', 'spec', 'env', 1, 'valueFrom'], [{}, { secretKeyRef: { name: 'a', key: 'b' }, configMapKeyRef: { name: 'a', key: 'b' } }]],
  ['AIProviderRoute', ['spec', 'rules', 0, 'matches', 0, 'provider'], ['OpenAI', 'OPENAI', 'opena\u0131', 'mistral', 'openai ']],
  ['AIProviderRoute', ['spec', 'rules', 0, 'filters', 0, 'tokenBudget', 'maxCostPerDay'], ['1', '1.234567', '1.2345678', '1.', '.5', '-1', '1e3']],
  ['AIProviderRoute', ['spec', 'rules', 0, 'providerFetches', 0], ['*', '*.a', '**', '*a', 'a.*', '10.0.0.1', 'A.b', 'https://a.b', '']],
  ['AIProviderRoute', ['spec', 'rules', 0, 'filters', 0], [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay: 1 }, extensionRef: EXTENSION }]],
  ['EgressGateway', ['spec', 'listeners', 1, 'tls'], [{}, { mode: 'Terminate' }]],
  ['EgressGateway', ['spec', 'upstreamTLS', 'hostAliases', 0, 'ip'], ['10.0.0.256', '010.0.0.1', '1.2.3', '::1', '::ffff:1.2.3.4', '1.2.3.4/8', 'name', '']],
  ['EgressGateway', ['spec', 'otlp', 'endpoint'], ['', 'http://h', 'ftp://h', 'https://a b']],
  [
    'EgressL4Route',
    ['spec', 'rules', 0, 'matches', 0, 'destinationHostnames', 0],
    ['*.a', '*', 'a.*.b', '10.0.0.1', '1.2', 'a.1', 'a.1a', '1a', '1-a', '1-', 'a-', '-a', 'a..b', 'a.', 'A.b', 'xn--bcher-kva.example', 'ä.b', '0x1'],
  ],
  [
    'EgressL4Route',
    ['spec', 'rules', 0, 'matches', 0, 'ports', 0],
    [{ startPort: 5 }, { startPort: 5, endPort: 4 }, { startPort: 5, endPort: 5 }, { endPort: 5 }, { port: 1, endPort: 5 }],
  ],
  [
    'CredentialInjectionPolicy',
    ['spec', 'parentRefs', 0],
    [{ name: 'g', kind: 'EgressGateway', sectionName: 'x' }, { name: 'g', kind: 'EgressGateway', sectionName: '' }, { name: 'g' }],
  ],
  ['CredentialInjectionPolicy', ['spec', 'headerName'], ['x-key', 'a b', 'a:', '', 'ä']],
  ['CredentialInjectionPolicy', ['spec', 'queryParamName'], ['key']],
  ['CredentialInjectionPolicy', ['spec', 'providerAuth'], [{ type: 'AWSv4' }]],
  [
    'CredentialInjectionPolicy',
    ['spec', 'targetRefs'],
    [15, 16].map((count) => Array.from({ length: count }, (_, index) => ({ kind: 'AIProviderRoute', name: `r${index}` }))),
  ],
  ['MCPRoute', ['spec', 'rules', 0, 'filters', 0], [{ type: 'ToolPolicy', toolPolicy: { deniedTools: ['a'] }, extensionRef: EXTENSION }]],
  ['MCPRoute', ['spec', 'rules', 0, 'matches', 0, 'toolsRegex', 0], ['(', '^(a|b)+$', '\\\\p{Greek}']],
  ['EgressDenyPolicy', ['spec', 'targetRefs'], [[], [{ group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'a' }]]],
  [
    'AgentSandboxRevision',
    ['status', 'workers', 0, 'lastHeartbeat'],
    [
      '2026-02-28t00:00:00z',
      '2026-13-01T00:00:00Z',
      '2026-02-03T24:00:00Z',
      '2026-02-03T23:59:60Z',
      '2026-02-03',
      '2026-02-03T09:30:00',
      '0000-01-01T00:00:00Z',
      '2026-02-03T09:30:00+0100',
    ],
  ],
  // Metadata is the same for all kinds.
  ['LoggingPolicy', ['metadata', 'name'], ['', 'UPPER', 'a.b', '-a', 'a-', 'a_b', 'a/b', 'x'.repeat(253), 'x'.repeat(254), 'ä', '..', 7, null, {}]],
  ['LoggingPolicy', ['metadata', 'generateName'], ['', 'UPPER-', 7]],
  ['LoggingPolicy', ['metadata', 'namespace'], ['default', '', 'other', 7]],
  [
    'LoggingPolicy',
    ['metadata', 'labels'],
    [
      {},
      null,
      [],
      { a: null },
      { a: '' },
      { a: 'x'.repeat(64) },
      { a: '-' },
      { 'a b': 'x' },
      { '': 'x' },
      { 'UPPER/a': 'x' },
      { 'ex.net/a': 'x' },
      { 'a/b/c': 'x' },
      { '/a': 'x' },
      { a: 1 },
      { ['x'.repeat(64)]: 'x' },
    ],
  ],
  ['LoggingPolicy', ['metadata', 'annotations'], [{}, null, 'x', { a: '' }, { 'a b': 'x' }, { 'UPPER/a': 'x' }, { a: 'x'.repeat(262_144) }, { a: 1 }]],
  ['LoggingPolicy', ['metadata', 'finalizers'], [[], ['a'], ['a/b'], ['a b'], [''], [7], 'x', ['ex.net/a', 'ex.net/a']]],
  [
    'LoggingPolicy',
    ['metadata', 'ownerReferences'],
    [
      [],
      [{}],
      ['x'],
      [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'a', uid: '1' }],
      [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'a' }],
      [{ apiVersion: 'v1', kind: 'Event', name: 'a', uid: '1' }],
      [{ apiVersion: 'a/b/c', kind: 'A', name: 'a', uid: '1' }],
      [
        { apiVersion: 'v1', kind: 'A', name: 'a', uid: '1', controller: true },
        { apiVersion: 'v1', kind: 'B', name: 'b', uid: '2', controller: true },
      ],
      [{ apiVersion: 'v1', kind: 'A', name: 'a', uid: '1', controller: 'yes' }],
      [{ apiVersion: 'v1', kind: 'A', name: 'a', uid: '1', surprise: 1 }],
    ],
  ],
  ['LoggingPolicy', ['metadata', 'uid'], ['mine', 7]],
  ['LoggingPolicy', ['metadata', 'generation'], [7, -1, 'x', 1.5]],
  ['LoggingPolicy', ['metadata', 'creationTimestamp'], [null, '2020-01-01T00:00:00Z', 'yesterday', 7]],
  ['LoggingPolicy', ['metadata', 'deletionTimestamp'], [null, '2020-01-01T00:00:00Z']],
  ['LoggingPolicy', ['metadata', 'deletionGracePeriodSeconds'], [5]],
  ['LoggingPolicy', ['metadata', 'selfLink'], ['/x']],
  ['LoggingPolicy', ['metadata', 'resourceVersion'], ['1', 'x', '', 7]],
  [
    'LoggingPolicy',
    ['metadata', 'managedFields'],
    [[], [{}], 'x', [{ manager: 'm', operation: 'Update', apiVersion: 'v1', fieldsType: 'FieldsV1', fieldsV1: 1 }]],
  ],
  ['LoggingPolicy', ['metadata', 'surprise'], [1]],
  ['LoggingPolicy', ['metadata'], [null, [], 'x', {}]],
  ['LoggingPolicy', ['kind'], ['', null, 7, 'WorkerPool', 'Nothing', REMOVED]],
  ['LoggingPolicy', ['apiVersion'], ['', 7, 'v1', 'other.dev/v1alpha1', 'a/b/c', REMOVED]],
  ['LoggingPolicy', ['surprise'], [1, null, {}]],
  ['LoggingPolicy', ['status'], [{}, { a: 1 }]],
];

const thoughtOf = (): Input[] =>
  THOUGHT_OF.flatMap(([name, path, values]) => {
    const { kind, object } = example(name);
    return values.map((value): Input => {
      const label = value === REMOVED ? 'missing' : `= ${short(value)}`;
      return {
        name: `${printed(path)} ${label}, by hand`,
        kind,
        subresource: path[0] === 'status' && kind.subresources.status ? 'status' : '',
        object: changed(object, path, value) as KubeObject,
      };
    });
  });

/** The table. */
export const TABLE: readonly Input[] = [...makeTable(), ...thoughtOf()];
