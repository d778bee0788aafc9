import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { join } from 'node:path';
import { resolveImage } from '#image';
import { getJson, MANIFEST_TYPE, putJson, setName, type Manifest } from '../../src/image/oci.ts';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { PROBE, SUMMARIZER } from './support/images.ts';
import { probeAgent } from './support/manifests.ts';

/** The life of revisions on a running stack: what serves, what the statuses and the command line say, and what stays. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const NAME = 'life';
const MOVING = 'test/moving:latest';

interface Entry {
  readonly revision: string;
  readonly ready: string;
  readonly reason: string;
  readonly serving: boolean;
  readonly pinned: boolean;
  readonly imageDigest: string;
  readonly changed: readonly string[] | null;
}

const apply = (colour: string, template: object = {}, spec: Record<string, unknown> = {}) =>
  stack.apply(probeAgent(NAME, spec, { env: [{ name: 'COLOUR', value: colour }], ...template }));
const colour = async (): Promise<string> => ((await stack.probe(NAME, { env: true })).results[0] as Record<string, string>)['COLOUR']!;
const clrk = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await stack.clrk(['agents', ...args]);
  if (code !== 0) throw new Error(stderr);
  return stdout;
};
const history = async (): Promise<Entry[]> => JSON.parse(await clrk('history', NAME, '-o', 'json')) as Entry[];
const statusOf = async () => (await stack.get('taskagents', NAME)).status!;
/** Resolves when the newest revision is that one, and serves. */
const serves = (revision: string) =>
  eventually(`${revision} serves`, async () => ((await history()).find((entry) => entry.revision === revision)?.serving ? true : undefined));
const readyOf = async () => (await statusOf()).conditions!.find(({ type }) => type === 'Ready')!;

it('a revision serves once a sandbox of it has started; one that cannot start leaves the old one serving, and says why', async () => {
  await apply('red');
  await serves('life-00001');
  expect(await colour()).toBe('red');

  await apply('blue');
  await serves('life-00002');
  expect(await colour()).toBe('blue');

  // The image is there, its program is not.
  await apply('green', { command: ['/no/such/program'] });
  const bad = await stack.condition('agentsandboxrevisions', 'life-00003', 'Ready', 'False');
  await eventually('the trial is over', async () =>
    (await stack.get('agentsandboxrevisions', 'life-00003')).status?.conditions?.[0]?.reason === 'StartFailed' ? true : undefined,
  );
  expect(bad.reason).toMatch(/ImagePending|StartFailed/);
  expect(await colour()).toBe('blue');

  await apply('grey', { image: 'no/such-image:1' });
  await eventually('the status names the missing image', async () => ((await readyOf()).message.includes('ImageNotFound') ? true : undefined));
  expect(await readyOf()).toMatchObject({ status: 'False', reason: 'RevisionNotReady', message: expect.stringContaining('life-00002 serves meanwhile') });
  expect(await statusOf()).toMatchObject({ latestCreatedRevisionName: 'life-00004', latestReadyRevisionName: 'life-00002' });
  expect(await colour()).toBe('blue');
  const { stdout } = await stack.kubectl(['describe', 'taskagent', NAME]);
  expect(stdout).toMatch(/RevisionReady.*life-00002/);
  expect(stdout).toMatch(/StartFailed.*life-00003/);
  expect(stdout).toMatch(/ImageNotFound.*life-00004/);
});

it('history tells what there is, and diff what changed', async () => {
  expect(await history()).toMatchObject([
    { revision: 'life-00004', ready: 'False', reason: 'ImageNotFound', serving: false, changed: ['image', 'command', 'env.COLOUR'] },
    { revision: 'life-00003', ready: 'False', changed: ['command', 'env.COLOUR'] },
    { revision: 'life-00002', ready: 'True', serving: true, pinned: false, changed: ['env.COLOUR'] },
    { revision: 'life-00001', ready: 'True', serving: false, changed: null, imageDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) },
  ]);
  expect(await clrk('history', NAME)).toMatch(/^REVISION +AGE +READY +STATE +IMAGE +DIGEST +CHANGED\nlife-00004 .*False\/ImageNotFound/);
  const text = await clrk('diff', NAME, '1', '2');
  expect(text).toContain('--- life-00001\n+++ life-00002\n');
  expect(text).toContain('-    value: red\n+    value: blue\n');
  const { code, stderr } = await stack.clrk(['agents', 'diff', NAME, '17']);
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('life-00004, life-00003, life-00002, life-00001') });
});

it('a revision does not change', async () => {
  const { code, stderr } = await stack.kubectl(['patch', 'agentsandboxrevision', 'life-00001', '--type=merge', '-p', '{"spec":{"image":"evil:1"}}']);
  expect(code).toBe(1);
  expect(stderr).toContain('a revision is immutable: change spec.template of its agent');
});

it('rollback pins what served before, at once and whatever comes; its undoing lets the latest ready one serve', async () => {
  await apply('blue');
  await serves('life-00005');
  const back = await stack.clrk(['agents', 'rollback', NAME, '--to', 'life-00001']);
  expect(back).toMatchObject({ code: 0, stdout: 'TaskAgent life runs revision life-00001 instead of life-00005.\n' });
  expect(back.stderr).toContain('To undo: clrk agents rollback life --undo');
  await eventually('red again', async () => ((await colour()) === 'red' ? true : undefined));
  await eventually('the status tells of the pin', async () => ((await readyOf()).reason === 'RevisionPinned' ? true : undefined));
  expect(await history()).toMatchObject([{ revision: 'life-00005', serving: false }, {}, {}, {}, { revision: 'life-00001', serving: true, pinned: true }]);

  // An apply of a manifest that says nothing of it leaves the pin.
  await apply('white');
  await stack.condition('agentsandboxrevisions', 'life-00007', 'Ready', 'True');
  expect(await colour()).toBe('red');
  expect(await readyOf()).toMatchObject({ reason: 'RevisionPinned', message: expect.stringContaining('The newest is life-00007') });

  for (const [revision, why] of [
    ['life-00003', 'has never been ready'],
    ['life-00042', 'has no revision life-00042'],
  ] as const) {
    const refused = await stack.clrk(['agents', 'rollback', NAME, '--to', revision]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(why);
  }
  expect(await clrk('rollback', NAME, '--undo')).toContain('life-00007');
  await eventually('white', async () => ((await colour()) === 'white' ? true : undefined));
  // Without --to: what was ready before what serves.
  expect(await clrk('rollback', NAME)).toContain('runs revision life-00005 instead of life-00007');
  await eventually('blue', async () => ((await colour()) === 'blue' ? true : undefined));
  await clrk('rollback', NAME, '--undo');
  await eventually('white again', async () => ((await colour()) === 'white' ? true : undefined));
});

it.each([
  ['life-00099', 'RevisionNotFound'],
  ['probe-00001', 'RevisionNotOwned'],
  ['life-00003', 'RevisionNotReady'],
])('a pin of %s runs nothing and says %s', async (revisionName, reason) => {
  await stack.kubectl(['patch', 'taskagent', NAME, '--type=merge', '-p', JSON.stringify({ spec: { revisionName } })]);
  const refused = await eventually('refused', async () => {
    const answer = await stack.invoke(NAME, { steps: [] });
    return answer.status === 503 ? (answer.json() as { error: { reason: string; message: string } }).error : undefined;
  });
  expect(refused).toMatchObject({ reason, message: expect.stringContaining(revisionName) });
  await eventually('the status says so', async () => ((await readyOf()).reason === reason ? true : undefined));
  await clrk('rollback', NAME, '--undo');
  await eventually('it runs again', async () => ((await stack.invoke(NAME, { steps: [] })).status === 200 ? true : undefined));
});

it('a tag that moves changes nothing for the revisions that had it, also after the worker was restarted', async () => {
  const store = join(stack.state, 'images');
  const point = async (at: string): Promise<string> => {
    const { digest } = (await resolveImage(store, at))!;
    const manifest = (await getJson<Manifest>(store, digest))!;
    await setName(store, MOVING, await putJson(store, manifest, MANIFEST_TYPE));
    return (await resolveImage(store, MOVING))!.digest;
  };
  const first = await point(PROBE);
  await apply('moved', { image: MOVING });
  const name = await eventually('a revision of the moving tag', async () => {
    const [newest] = await history();
    return newest?.serving && newest.imageDigest === first ? newest.revision : undefined;
  });
  expect(await point(SUMMARIZER)).not.toBe(first);
  expect(await colour()).toBe('moved');
  await stack.restarted('worker', await stack.kill('worker'));
  await eventually('it runs what it ran', async () => ((await colour()) === 'moved' ? true : undefined), 30_000);
  expect((await history())[0]).toMatchObject({ revision: name, imageDigest: first });
  await point(PROBE);
});

it('revisions beyond the limit go; those that serve, are pinned or run stay', async () => {
  const run = stack.invoke(NAME, { steps: [{ sleep: 6_000 }] });
  const running = (await history())[0]!.revision;
  await eventually('it runs', async () => ((await statusOf())['activeExecutions'] === 1 ? true : undefined));
  await stack.kubectl(['patch', 'taskagent', NAME, '--type=merge', '-p', JSON.stringify({ spec: { revisionName: 'life-00005', revisionHistoryLimit: 1 } })]);
  await apply('last', {}, { revisionHistoryLimit: 1 });
  await eventually('only what is needed is left', async () => {
    const left = (await history()).map(({ revision }) => revision);
    return left.length === 3 && left.includes('life-00005') && left.includes(running) ? true : undefined;
  });
  expect((await run).status).toBe(200);
  await clrk('rollback', NAME, '--undo');
  await eventually('the newest alone', async () => ((await history()).length === 1 ? true : undefined));
  expect(await colour()).toBe('last');
});
