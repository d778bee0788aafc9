import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLRK_KINDS, type FieldError, type Kind, type KubeObject } from '#api';
import { withDefaults } from '#admission';
import { readGolden } from '../../parity/golden.ts';
import { judge, printCause, type Verdict } from '../../parity/judge.ts';
import { schemasOf, TABLE, visited, type Input } from '../../parity/table.ts';
import { startServer, type TestClient, type TestServer } from './harness.ts';

/** Our server judges as kube-apiserver did: status, stored object, every cause. */

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Where we differ on purpose: kube-apiserver answers 500, and takes a version it cannot read for none. */
const ON_PURPOSE: Readonly<Record<string, Verdict>> = Object.fromEntries(
  ['1', 'x'].map((version) => [
    `metadata.resourceVersion = "${version}", by hand`,
    { 400: 'BadRequest: resourceVersion should not be set on objects to be created' },
  ]),
);

/** What our code refuses beyond what a CRD can say. */
const beyondSchema = ({ kind, object, subresource }: Input): readonly FieldError[] => {
  try {
    return subresource === '' ? (kind.admission?.(withDefaults(kind.schema, object) as KubeObject) ?? []) : [];
  } catch {
    return []; // it is given valid objects only
  }
};

const expectedOf = (input: Input, golden: Verdict): Verdict => {
  const own = ON_PURPOSE[input.name];
  if (own) return own;
  const more = '201' in golden ? beyondSchema(input) : [];
  return more.length > 0 ? { 422: more.map(printCause).sort() } : golden;
};

test.each(CLRK_KINDS.map((kind) => [kind.kind, kind] as const))('%s: the same verdicts', async (name, kind: Kind) => {
  const golden = readGolden(name);
  const inputs = TABLE.filter((input) => input.kind === kind);
  expect(
    inputs.map((input) => input.name),
    'a changed schema changes the table: write the verdicts anew (test/parity/golden.ts)',
  ).toEqual(Object.keys(golden));
  const [found, expected]: Record<string, Verdict>[] = [{}, {}];
  for (const input of inputs) {
    found![input.name] = await judge(admin, input);
    expected![input.name] = expectedOf(input, golden[input.name] as Verdict);
  }
  expect(found).toEqual(expected);
});

test('the examples have every field of every kind', () => {
  for (const kind of CLRK_KINDS) {
    const missed = [...schemasOf(kind)].filter((schema) => !visited.has(schema));
    expect(
      missed.map(({ description, type }) => `${type}: ${description}`),
      kind.kind,
    ).toEqual([]);
  }
});

test('the table breaks every rule', () => {
  const said = JSON.stringify(CLRK_KINDS.map(({ kind }) => readGolden(kind)));
  for (const kind of CLRK_KINDS) {
    for (const schema of schemasOf(kind)) {
      for (const { rule, message } of schema['x-kubernetes-validations'] ?? []) {
        if (!rule.includes('oldSelf')) expect(said.includes(message), `${kind.kind}: ${message}`).toBe(true);
      }
    }
  }
});

test('the table has inputs that only code refuses', () => {
  const refused = TABLE.filter((input) => '201' in (readGolden(input.kind.kind)[input.name] as Verdict) && beyondSchema(input).length > 0);
  expect(new Set(refused.map(({ kind }) => kind.kind))).toEqual(new Set(['TaskAgent', 'WorkerPool', 'EgressL4Route', 'MCPRoute']));
});
