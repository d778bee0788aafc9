import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLRK_KINDS } from '#api';
import { ensureRealKube, startRealKube, type RealKube } from '../../tools/real-kube.ts';
import { readGolden, writeGolden } from '../parity/golden.ts';
import { judge, pathOf, type Verdict } from '../parity/judge.ts';
import { play } from '../parity/play.ts';
import { SCENARIOS } from '../parity/scenarios.ts';
import { TABLE } from '../parity/table.ts';
import { CHANGES, refusedFields, STORED, TIGHTENED } from '../parity/tighten.ts';
import { makeClient, type TestClient } from '../unit/apiserver/harness.ts';

/**
 * What our own server is held against (test/unit/apiserver/parity.test.ts) is what a real kube-apiserver with our CRDs says.
 * `GOLDEN=write` writes it down anew.
 */
const rewrite = process.env['GOLDEN'] === 'write';
const crds = join(import.meta.dirname, '..', '..', 'manifests', 'crds');

let kube: RealKube;
let agent: Agent;
let admin: TestClient;

beforeAll(async () => {
  await ensureRealKube(); // built once, in about six minutes
  kube = await startRealKube();
  agent = new Agent({ connect: kube.tls });
  admin = makeClient(kube.url, agent);
}, 1_800_000);
afterAll(async () => {
  await agent.destroy();
  await kube[Symbol.asyncDispose]();
});

const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
  for (let tries = 0; !(await holds()); tries++) {
    if (tries > 600) throw new Error(`not after a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

test('kube-apiserver takes our CRDs without a remark, costs of rules included', async () => {
  for (const file of readdirSync(crds)) {
    const body = readFileSync(join(crds, file), 'utf8');
    const answer = await admin.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict', body, {
      type: 'application/yaml',
    });
    expect(answer.body.message, file).toBeUndefined();
    expect([answer.status, answer.headers['warning']], file).toEqual([201, undefined]);
  }
  for (const kind of CLRK_KINDS) {
    const at = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${kind.plural}.${kind.group}`;
    const conditions = async (): Promise<Record<string, string>> => {
      const { body } = await admin.call('GET', at);
      const list = (body.status?.conditions ?? []) as { type: string; status: string }[];
      return Object.fromEntries(list.map(({ type, status }) => [type, status]));
    };
    await until(`${kind.kind} is established`, async () => (await conditions())['Established'] === 'True');
    await until(`${kind.kind} is served`, async () => (await admin.call('GET', pathOf(kind))).status === 200);
    expect(await conditions()).toEqual({ NamesAccepted: 'True', Established: 'True' });
  }
});

test.each(CLRK_KINDS.map(({ kind }) => kind))('%s: the verdicts that are written down', async (name) => {
  const said: Record<string, Verdict> = {};
  for (const input of TABLE) if (input.kind.kind === name) said[input.name] = await judge(admin, input);
  if (rewrite) writeGolden(name, said);
  expect(said).toEqual(readGolden(name));
});

test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))('%s: the answers that are written down', async (name, scenario) => {
  const said = Object.fromEntries((await play(admin, scenario)).map((answer, index) => [index, answer]));
  if (rewrite) writeGolden(`verbs/${name}`, said);
  expect(said).toEqual(readGolden(`verbs/${name}`));
});

test('what was stored before a rule was made may stay, and everything else of it change', async () => {
  const at = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${TIGHTENED.plural}.${TIGHTENED.group}`;
  const tight = (await admin.call('GET', at)).body;
  const spec = structuredClone(tight.spec);
  spec.versions[0].schema.openAPIV3Schema.properties.spec = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  expect((await admin.call('PATCH', at, { spec }, { type: 'application/merge-patch+json' })).status).toBe(200);
  await until('the loose rules hold', async () => (await admin.call('POST', pathOf(TIGHTENED), STORED)).status === 201);
  const { resourceVersion } = (await admin.call('GET', at)).body.metadata;
  expect((await admin.call('PUT', at, { ...tight, metadata: { ...tight.metadata, resourceVersion } })).status).toBe(200);
  const invalid = { ...STORED, metadata: { name: 'other' } };
  await until('the strict rules hold', async () => (await admin.call('POST', `${pathOf(TIGHTENED)}?dryRun=All`, invalid)).status === 422);
  expect(await refusedFields(admin)).toEqual(CHANGES.map(([, refused]) => refused));
});
