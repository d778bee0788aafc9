import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '#cli';
import { agent, ROOT, startServer, type TestClient, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

/** `clrk agents history`, `diff` and `rollback` on an API whose objects are as controllers would have made them. */

let server: TestServer;
let admin: TestClient;
let kubeconfig: string;
const MERGE = { type: 'application/merge-patch+json' };
const API = { apiVersion: 'clrk.apoxy.dev/v1alpha1' };
const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;

beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
  kubeconfig = await server.kubeconfig();
  await make('a', [
    { image: 'demo:1', digest: digest('a') },
    { image: 'demo:1', digest: digest('b'), command: ['x'] },
    { image: 'none:1', reason: 'ImageNotFound' },
    { image: 'demo:2', digest: digest('c'), serving: true },
  ]);
  await make('lonely', [{ image: 'demo:1', digest: digest('a'), serving: true }]);
  await make('both', []);
  await admin.call('POST', `${ROOT}/daemonagents`, {
    ...API,
    kind: 'DaemonAgent',
    metadata: { name: 'both' },
    spec: { workerPoolRef: 'p', template: { spec: { image: 'a' } } },
  });
});
afterAll(() => server[Symbol.asyncDispose]());

interface Made {
  readonly image: string;
  readonly digest?: string;
  readonly command?: readonly string[];
  readonly reason?: string;
  readonly serving?: boolean;
}
/** An agent and its revisions, oldest first. */
const make = async (name: string, revisions: readonly Made[]): Promise<void> => {
  const { uid } = (await admin.call('POST', `${ROOT}/taskagents`, agent(name))).body.metadata as { uid: string };
  const ownerReferences = [{ ...API, kind: 'TaskAgent', name, uid, controller: true }];
  for (const [index, { image, digest: imageDigest, command, reason, serving }] of revisions.entries()) {
    const metadata = { name: `${name}-0000${index + 1}`, labels: { 'clrk.apoxy.dev/agent': name }, ownerReferences };
    await admin.call('POST', `${ROOT}/agentsandboxrevisions`, { ...API, kind: 'AgentSandboxRevision', metadata, spec: { image, ...(command && { command }) } });
    const condition = (type: string, holds: boolean, why: string) => ({
      type,
      status: holds ? 'True' : 'False',
      reason: why,
      message: 'told',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    });
    const conditions = [condition('Ready', !reason, reason ?? 'SandboxStarts'), condition('Active', serving === true, serving ? 'Serving' : 'Retired')];
    await admin.call('PATCH', `${ROOT}/agentsandboxrevisions/${metadata.name}/status`, { status: { conditions, ...(imageDigest && { imageDigest }) } }, MERGE);
  }
};

const clrk = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
  const { io, seen } = capture({ KUBECONFIG: kubeconfig });
  const code = await runCli(['agents', ...args], io);
  return { code, out: seen.out, err: seen.err };
};
const pinOf = async (name: string): Promise<string | undefined> =>
  ((await admin.call('GET', `${ROOT}/taskagents/${name}`)).body as { spec: { revisionName?: string } }).spec.revisionName;

test('history: newest first, what serves, and what changed against the one before', async () => {
  const { out } = await clrk('history', 'a');
  const rows = out.split('\n').map((line) => line.split(/ {3,}/));
  expect(rows.slice(0, 5).map((row) => [row[0], row[2], row[3], row[6]])).toEqual([
    ['REVISION', 'READY', 'STATE', 'CHANGED'],
    ['a-00004', 'True', 'serving', 'image'],
    ['a-00003', 'False/ImageNotFound', '-', 'image, command'],
    ['a-00002', 'True', '-', 'content, command'],
    ['a-00001', 'True', '-', '-'],
  ]);
  expect((await clrk('history', 'a', '-o', 'wide')).err).toContain('-o wide is none of json, yaml');
  expect((await clrk('history', 'nobody')).err).toContain('nobody');
  expect(await clrk('history', 'taskagent/both')).toMatchObject({ code: 0, err: expect.stringContaining('no revision yet') });
});

test('a name that both kinds of agents have must say which', async () => {
  expect(await clrk('rollback', 'both')).toMatchObject({ code: 1, err: expect.stringContaining('taskagent/both or daemonagent/both') });
});

test('diff: the last change, one against the newest, two; by name or number', async () => {
  expect((await clrk('diff', 'a')).out).toMatch(/^--- a-00003\n\+\+\+ a-00004\n/);
  expect((await clrk('diff', 'a', '1')).out).toMatch(/^--- a-00001\n\+\+\+ a-00004\n/);
  const { code, out } = await clrk('diff', 'a', 'a-00001', '00002');
  expect(code).toBe(0);
  expect(out).toContain(`-imageDigest: ${digest('a')}\n+imageDigest: ${digest('b')}\n+command:\n+  - x\n`);
  expect(await clrk('diff', 'a', '2', '2')).toMatchObject({ code: 0, out: '', err: 'a-00002 and a-00002 are equal.\n' });
  expect(await clrk('diff', 'a', '9')).toMatchObject({ code: 1, err: expect.stringContaining('a-00004, a-00003, a-00002, a-00001') });
  expect(await clrk('diff', 'lonely')).toMatchObject({ code: 1, err: expect.stringContaining('no two to compare') });
});

test('rollback: to the one before that was ready, to a given one, and back', async () => {
  const first = await clrk('rollback', 'a');
  expect(first).toMatchObject({ code: 0, out: 'TaskAgent a runs revision a-00002 instead of a-00004.\n', err: 'To undo: clrk agents rollback a --undo\n' });
  expect(await pinOf('a')).toBe('a-00002');
  // From what is pinned, and its undoing is that pin.
  expect(await clrk('rollback', 'a')).toMatchObject({
    out: 'TaskAgent a runs revision a-00001 instead of a-00002.\n',
    err: 'To undo: clrk agents rollback a --to a-00002\n',
  });
  expect(await clrk('rollback', 'a')).toMatchObject({ code: 1, err: expect.stringContaining('no revision before a-00001') });
  expect(await clrk('rollback', 'a', '--to', '1')).toMatchObject({ code: 0, err: 'TaskAgent a pins a-00001 already.\n' });
  expect(await clrk('rollback', 'a', '--to', '3')).toMatchObject({
    code: 1,
    err: expect.stringContaining('a-00003 has never been ready (ImageNotFound: told)'),
  });
  expect(await clrk('rollback', 'a', '--to', '2', '--undo')).toMatchObject({ code: 1, err: expect.stringContaining('exclude each other') });
  expect(await pinOf('a')).toBe('a-00001');
  expect(await clrk('rollback', 'a', '--undo')).toMatchObject({ code: 0, out: expect.stringContaining('the pin of a-00001 is gone') });
  expect(await pinOf('a')).toBeUndefined();
  expect(await clrk('rollback', 'a', '--undo')).toMatchObject({ code: 0, err: expect.stringContaining('nothing to undo') });
  expect(await clrk('rollback', 'lonely')).toMatchObject({ code: 1, err: expect.stringContaining('no revision before lonely-00001') });
});
