import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '#cli';
import { poll } from '#lib';
import { ensureRealKube, startRealKube, type RealKube } from '../../tools/real-kube.ts';
import { makeClient } from '../unit/apiserver/harness.ts';
import { capture } from '../unit/cli/capture.ts';

/** The commands for manifests, against a real kube-apiserver that has our CRDs. */

const crds = join(import.meta.dirname, '..', '..', 'manifests', 'crds');
let kube: RealKube;
let dir: string;
let kubeconfig: string;

beforeAll(async () => {
  await ensureRealKube(); // built once, in about six minutes
  kube = await startRealKube();
  dir = await mkdtemp(join(tmpdir(), 'clrk-kube-'));
  kubeconfig = join(dir, 'kubeconfig');
  const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
  const config = {
    clusters: [{ name: 'c', cluster: { server: kube.url, 'certificate-authority-data': base64(kube.tls.ca) } }],
    users: [{ name: 'u', user: { 'client-certificate-data': base64(kube.tls.cert), 'client-key-data': base64(kube.tls.key) } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(kubeconfig, JSON.stringify(config), { mode: 0o600 });
  const agent = new Agent({ connect: kube.tls });
  const admin = makeClient(kube.url, agent);
  for (const file of await readdir(crds))
    await admin.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', await readFile(join(crds, file), 'utf8'), { type: 'application/yaml' });
  const served = async (): Promise<true | undefined> =>
    (await admin.call('GET', '/apis/clrk.apoxy.dev/v1alpha1/taskagents')).status === 200 ? true : undefined;
  await poll(served, 100, AbortSignal.timeout(60_000));
  await agent.destroy();
}, 1_800_000);
afterAll(async () => {
  await kube[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

const clrk = async (...argv: string[]) => {
  const { io, seen } = capture();
  const code = await runCli([...argv, '--kubeconfig', kubeconfig], io);
  return { code, ...seen };
};
const agentYaml = (more = ''): string =>
  `apiVersion: clrk.apoxy.dev/v1alpha1\nkind: TaskAgent\nmetadata:\n  name: a\nspec:\n  workerPoolRef: default\n${more}  template:\n    spec:\n      image: a/b:1\n`;

test('apply, diff, get and delete', async () => {
  const path = join(dir, 'a.yaml');
  const write = (text: string): Promise<void> => writeFile(path, text);
  // A kind that clrk does not know is found where the server lists it.
  await write(
    `${agentYaml()}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: x}]}\n`,
  );
  expect(await clrk('apply', path)).toEqual({ code: 0, out: 'taskagent/a created\ndeployment/d created\n', err: '' });
  expect((await clrk('apply', path)).out).toBe('taskagent/a unchanged\ndeployment/d unchanged\n');
  expect(await clrk('diff', path)).toEqual({ code: 0, out: '', err: '' });
  expect((await clrk('get', 'ta')).out).toMatch(/^NAME +POOL +LATEST READY +ACTIVE +WARM +AGE\na +default /);
  expect((await clrk('get', 'deploy', '-o', 'name')).out).toBe('deployment.apps/d\n');
  await write(agentYaml('  timeout: 5s\n'));
  const changed = await clrk('diff', path);
  expect([changed.code, changed.out]).toEqual([1, expect.stringMatching(/^-  timeout: 100s\n\+  timeout: 5s$/m)]);
  expect((await clrk('apply', path)).out).toBe('taskagent/a configured\n');
  expect((await clrk('delete', 'taskagent/a', 'deployment/d')).out).toBe('taskagent/a deleted\ndeployment/d deleted\n');
  expect((await clrk('delete', 'ta', 'a')).code).toBe(1);
});

test('what it refuses has file, line, column and field', async () => {
  const path = join(dir, 'b.yaml');
  for (const [more, problem] of [
    ['  timeOut: 5s\n', '7:3: TaskAgent a: spec.timeOut: unknown field; did you mean timeout?'],
    ['  timeout: 0s\n', '7:12: TaskAgent a: spec.timeout: Invalid value: '],
    ['  maxConcurrent: x\n', '7:18: TaskAgent a: spec.maxConcurrent: '],
    ['  maxConcurent: 1\n  timeOut: 5s\n', '7:3: TaskAgent a: spec.maxConcurent: unknown field; did you mean maxConcurrent?'],
    ['  maxConcurent: 1\n  timeOut: 5s\n', '8:3: TaskAgent a: spec.timeOut: unknown field; did you mean timeout?'],
  ] as const) {
    await writeFile(path, agentYaml(more));
    const { code, err } = await clrk('apply', path);
    expect([code, err]).toEqual([1, expect.stringContaining(`${path}:${problem}`)]);
    const { io, seen } = capture();
    expect(await runCli(['validate', path], io)).toBe(1);
    expect(seen.out).toContain(`${path}:${problem}`);
  }
});
