import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { buildImage } from '#image';
import { layout } from '#model';
import { exited, spawnChild } from '#lib';
import { detectDriver } from '#sandbox';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { asRoot } from '../e2e/support/as-root.ts';
import { probeAgent } from '../e2e/support/manifests.ts';

/**
 * Agents that take whatever they can, each beside a neighbour on the same worker: its own end is right, the neighbour is always
 * answered, every process of the stack lives on, and nothing is left. How much slower the neighbour gets is printed.
 */

/** Does what its data says. `big` events are not read at all. */
const HOSTILE = `
const fs = require('node:fs'), net = require('node:net'), { spawn } = require('node:child_process');
const again = (mode) => spawn(process.execPath, [__filename, mode], { stdio: 'ignore' });
const fill = (dir) => {
  const file = fs.openSync(dir + '/filler', 'w');
  try { for (;;) fs.writeSync(file, Buffer.alloc(1 << 20)); } catch (e) { return e.code; }
};
const pour = (fd, bytes) => { const piece = Buffer.alloc(65536, 97); piece[65535] = 10; for (let n = 0; n < bytes; n += 65536) fs.writeSync(fd, piece); };
let open = 0, most = 0;
const dial = () => new Promise((resolve) => {
  const socket = net.connect({ host: '203.0.113.7', port: 443 });
  socket.on('error', () => {}).on('close', resolve).on('connect', () => {
    most = Math.max(most, ++open);
    socket.on('close', () => open--);
    resolve();
  });
});
const modes = {
  bomb: () => { for (;;) try { again('bomb').on('error', () => {}); } catch {} },
  hog: () => { const held = []; for (;;) held.push(Buffer.alloc(1 << 20, 1)); },
  fill: () => console.log(fill('/') + ' ' + fill('/tmp')),
  stdout: () => pour(1, 2 ** 30),
  stderr: () => { pour(2, 2 ** 28); console.log('done'); },
  deaf: () => { process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); },
  closes: () => { fs.closeSync(0); console.log('closed'); },
  ignores: () => console.log('ignored'),
  connections: async () => {
    // Who says nothing is closed after a second, and makes room: what is bounded is how many are open together.
    for (let n = 0; n < 10_000; n += 500) await Promise.all(Array.from({ length: 500 }, dial));
    console.log('most ' + most);
    process.exit(0);
  },
  spin: () => { for (let n = 0; n < 7; n++) again('loop'); for (;;); },
  loop: () => { for (;;); },
};
modes[process.argv[2]]();
`;

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
  const dir = join(stack.dir, 'hostile');
  await mkdir(dir);
  await writeFile(join(dir, 'agent.js'), HOSTILE);
  await writeFile(join(dir, 'package.json'), '{"main":"./agent"}');
  const store = join(stack.state, 'images');
  await buildImage({ store, name: 'test/hostile:plain', dir, runtime: 'node', nodeBinary: process.execPath });
  await asRoot(store, 'test/hostile:plain', 'test/hostile:root');
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const COMPONENTS = ['controller-manager', 'dispatcher', 'worker', 'egress', 'front', 'recorder', 'store', 'envoy'];
const everybody = async (): Promise<string> =>
  JSON.stringify(await Promise.all(COMPONENTS.map(async (component) => [component, (await stack.pids(component)).toSorted((a, b) => a - b)])));

/** Resident memory in MiB. */
const resident = async (component: string): Promise<number> => {
  const [pid] = await stack.pids(component);
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
};

const groups = async (): Promise<number> => {
  const { cgroup } = layout(stack.state, stack.run).worker('0');
  const lists = await Promise.all((await detectDriver()).dirs(cgroup).map((dir) => readdir(dir, { withFileTypes: true })));
  return lists.flat().filter((entry) => entry.isDirectory()).length;
};

const apply = async (mode: string, spec: object): Promise<void> => {
  await stack.apply(probeAgent(mode, { timeout: '8s', ...spec }, { image: 'test/hostile:root', command: ['node', 'agent.js', mode] }));
  await stack.condition('taskagents', mode, 'Ready', 'True', 60_000);
};

const percentile = (values: readonly number[], share: number): number => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1]!;

/** Runs the neighbour again and again until `stop`, at least `least` times; every one must be answered. Milliseconds each took. */
const neighbour = async (least: number, stop = AbortSignal.abort()): Promise<number[]> => {
  const took: number[] = [];
  while (took.length < least || !stop.aborted) {
    const begun = performance.now();
    const answer = await stack.invoke('probe', { steps: [] });
    expect(answer.status, `the neighbour: ${answer.text}`).toBe(200);
    took.push(performance.now() - begun);
  }
  return took;
};

/**
 * How many times longer the neighbour may take beside an attack than before and after it. Twice is the aim where a core is
 * left for it. On a machine of two, whose other load comes and goes, an agent that rightly has its one CPU, and the worker,
 * dispatcher and kernel that carry what it pours, leave less than half (up to 3 and 4 times were seen); and 99 of 100 is the
 * slowest of few runs. So this only says that it does not starve.
 */
const BOUND = { p50: 6, p99: 12 } as const;

const compare = (mode: string, quiet: readonly number[], hostile: readonly number[]): void => {
  const ratio = (share: number): number => percentile(hostile, share) / percentile(quiet, share);
  const [p50, p99] = [ratio(0.5), ratio(0.99)];
  const base = `${Math.round(percentile(quiet, 0.5))} and ${Math.round(percentile(quiet, 0.99))} ms`;
  console.log(`${mode}: neighbour p50 ${p50.toFixed(2)}x, p99 ${p99.toFixed(2)}x of ${base} when quiet (${hostile.length} runs)`);
  expect(p50, 'the neighbour, half of its runs').toBeLessThan(BOUND.p50);
  expect(p99, 'the neighbour, its slowest runs').toBeLessThan(BOUND.p99);
};

/** Runs `attack` beside the neighbour, and checks what must hold whatever it does. */
const beside = async <T>(mode: string, attack: () => Promise<T>): Promise<T> => {
  const before = await everybody();
  const quiet = await neighbour(8);
  const stop = new AbortController();
  const [result, hostile] = await Promise.all([attack().finally(() => stop.abort()), neighbour(8, stop.signal)]);
  await eventually('the processes of the stack are those it had, and nothing is left of the runs', async () => {
    const names = await readdir(join(stack.run, 'w0', 'sandboxes'));
    const left = (await groups()) + (await stack.pids('runsc-sandbox')).length + names.filter((name) => !name.endsWith('.pem')).length;
    return left === 0 && (await everybody()) === before ? true : undefined;
  });
  compare(mode, [...quiet, ...(await neighbour(4))], hostile);
  return result;
};

const typesOf = (status: object): string[] => ((status as { conditions?: { type: string }[] }).conditions ?? []).map(({ type }) => type);

test.each<[mode: string, spec: object, status: object, condition?: string, output?: RegExp]>([
  ['bomb', { resources: { memory: '3Gi' } }, { phase: 'Timeout', reason: 'Timeout' }, 'PidsLimited'],
  ['hog', { resources: { memory: '256Mi' } }, { phase: 'Failed', reason: 'OOMKilled' }],
  ['fill', { resources: { memory: '512Mi', ephemeralStorage: '64Mi' } }, { phase: 'Succeeded' }, undefined, /^ENOSPC ENOSPC\n$/],
  ['deaf', {}, { phase: 'Timeout', reason: 'Timeout' }],
  ['closes', {}, { phase: 'Succeeded' }, undefined, /^closed\n$/],
  ['ignores', {}, { phase: 'Succeeded' }, undefined, /^ignored\n$/],
  ['connections', { timeout: '60s' }, { phase: 'Succeeded' }, undefined, /^most (9|10)\d\d\n$/],
  ['spin', {}, { phase: 'Timeout', reason: 'Timeout' }],
  ['stderr', { timeout: '60s' }, { phase: 'Succeeded' }, undefined, /^done\n$/],
])('%s', async (mode, spec, status, condition, output) => {
  await apply(mode, spec);
  const body = mode === 'ignores' || mode === 'closes' ? 'x'.repeat(8 * 1024 * 1024) : '';
  const answer = await beside(mode, () => stack.invoke(mode, body));
  const ended = await stack.ended(answer.invocation);
  expect(ended.status).toMatchObject(status);
  if (condition) expect(typesOf(ended.status)).toContain(condition);
  if (output) expect(answer.text).toMatch(output);
});

/** Reads the answer of an agent to its end without keeping it; prints how much it was. */
const READER = `fetch(process.argv[1], { method: 'POST' }).then(async (answer) => {
  let bytes = 0;
  for await (const piece of answer.body) bytes += piece.length;
  console.log(answer.status + ' ' + bytes);
});`;

test('a gigabyte of stdout passes through dispatcher and worker, and stays in neither', async () => {
  await apply('stdout', { timeout: '120s' });
  const before = [await resident('dispatcher'), await resident('worker')];
  const highest = [0, 0];
  const sampler = setInterval(async () => {
    const now = await Promise.all([resident('dispatcher'), resident('worker')]).catch(() => [0, 0]);
    for (const index of [0, 1]) highest[index] = Math.max(highest[index]!, now[index]!);
  }, 500);
  const text = await beside('stdout', async () => {
    const child = spawnChild(process.execPath, ['-e', READER, `${stack.urls.ingress}/default/stdout`], { netns: stack.lab.stack });
    let printed = '';
    child.stdout!.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    await exited(child);
    return printed;
  }).finally(() => clearInterval(sampler));
  expect(text).toBe(`200 ${2 ** 30}\n`);
  const grown = highest.map((most, index) => Math.round(most - before[index]!));
  console.log(`dispatcher grew by ${grown[0]} MiB, worker by ${grown[1]} MiB`);
  for (const growth of grown) expect(growth).toBeLessThan(256);
});
