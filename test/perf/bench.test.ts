import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleSpec, ensureUnpacked, resolveImage } from '#image';
import { exited, run, spawnChild } from '#lib';
import { createNetns, removeNetns } from '../../src/sandbox/netns.ts';
import { startStack, TOOLS, type TestStack } from '../e2e/harness.ts';
import { PROBE } from '../e2e/support/images.ts';

/**
 * Ours beside the bare parts, interleaved in one run, so that a noisy machine disturbs both. Prints milliseconds and ratios.
 */

const COLD_ROUNDS = 30;

let stack: TestStack;
beforeAll(async () => {
  const revision = await run('git', ['describe', '--always', '--dirty']).then(
    ({ stdout }) => stdout.trim(),
    () => 'unknown revision',
  );
  console.log(`clrk ${revision}`);
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;
const ms = (value: number): string => value.toFixed(2).padStart(9);

const report = (title: string, rows: readonly (readonly [string, readonly number[]])[]): void => {
  const base = quantile(rows[0]![1], 0.5);
  const lines = rows.map(([name, values]) => {
    const p50 = quantile(values, 0.5);
    return `${name.padEnd(44)}${ms(p50)}${ms(quantile(values, 0.99))}${ms(p50 - base)}${(p50 / base).toFixed(2).padStart(8)}x   n=${values.length}`;
  });
  console.log([title, `${''.padEnd(44)}   p50 ms   p99 ms  +p50 ms   ratio`, ...lines].join('\n'));
};

/** The same image, event and flags under a plain `runsc run` without a network: spawn to first byte of stdout. */
const bareRun = async (bundle: string, root: string, event: string): Promise<number> => {
  const begun = performance.now();
  const flags = ['--root', root, '--platform=systrap', '--network=none', '--overlay2=root:memory', '--ignore-cgroups'];
  const child = spawnChild(join(TOOLS, 'bin', 'runsc'), [...flags, 'run', '-bundle', bundle, `bare-${randomUUID()}`], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin!.end(event);
  await once(child.stdout!, 'data');
  const first = performance.now() - begun;
  expect((await exited(child)).code).toBe(0);
  return first;
};

test('cold start: trigger to first byte', async () => {
  const store = join(stack.state, 'images');
  const image = (await resolveImage(store, PROBE))!;
  const bundle = join(stack.dir, 'bare');
  const [netns, root] = [join(bundle, 'netns'), join(bundle, 'root')];
  await mkdir(root, { recursive: true });
  await createNetns(netns);
  const common = { rootfs: await ensureUnpacked(store, image.digest), image: image.config, hostname: 'bare', netns };
  const spec = await bundleSpec({ ...common, command: [], args: [], defaultEnv: {}, env: [], mounts: [], tmpBytes: 2 ** 28, tasks: 512 });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(spec));
  const event = JSON.stringify({ specversion: '1.0', id: 'x', source: 'x', type: 'x', data: { steps: [] } });

  const [bare, firstByte, caller]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < COLD_ROUNDS; round++) {
    bare.push(await bareRun(bundle, root, event));
    const begun = performance.now();
    const answer = await stack.invoke('probe', { steps: [] });
    caller.push(performance.now() - begun);
    expect(answer.status).toBe(200);
    firstByte.push((await stack.ended(answer.invocation)).status.firstByteMs!);
  }
  await run('umount', ['--lazy', join(root, 'null-netns')]).catch(() => {}); // runsc leaves its own empty namespace mounted
  await removeNetns(netns);
  report('cold start of a Node.js agent', [
    ['runsc run, no network, to first byte', bare],
    ['clrk: trigger accepted to first byte', firstByte],
    ['clrk: caller, whole answer', caller],
  ]);
});
