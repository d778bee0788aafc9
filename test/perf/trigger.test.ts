import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Commands, silentLogger, sleep, systemClock } from '#lib';
import type { ClaimsPort, RunTemplate } from '#model';
import { Addresses, Cgroups, GatewayNamespace, Images, Runsc, StdioLog, sweep, Trust, type RunContext } from '#sandbox';
import { PreparedSandbox } from '../../src/sandbox/prepared.ts';
import { quiet } from '../../src/sandbox/quiet.ts';
import { eventually, startStack, TOOLS, type TestStack } from '../e2e/harness.ts';
import { PROBE } from '../e2e/support/images.ts';
import { probeAgent } from '../e2e/support/manifests.ts';
import { printTable, ratio, revision, type Column } from './table.ts';

/**
 * Trigger to first byte beside the bare parts: the same runsc, image, namespace, mounts and limits, made by the same code,
 * with nothing in front of it. Rounds alternate, so that a noisy machine disturbs both.
 */

/** In flight, rounds warm, rounds cold. */
const LOADS: readonly (readonly [number, number, number])[] = [
  [1, 30, 15],
  [10, 4, 3],
  [50, 2, 1],
];
const MOST = 50;
const AGENT = ['node', '-e', `require('node:fs').readFileSync(0); process.stdout.write('x')`];
const EVENT = JSON.stringify({ specversion: '1.0', id: randomUUID(), source: 'bench', type: 'bench', data: { n: 1 } });

let stack: TestStack;
let bare: Awaited<ReturnType<typeof bareParts>>;
beforeAll(async () => {
  console.log(`clrk ${await revision()}`);
  stack = await startStack();
  bare = await bareParts();
});
afterAll(async () => {
  await bare?.end();
  await stack?.[Symbol.asyncDispose]();
});

/** Sandboxes as a worker makes them, without a worker. */
const bareParts = async () => {
  const dir = await mkdtemp('/run/clrk-bench-');
  for (const part of ['runsc', 'sandboxes']) await mkdir(join(dir, part));
  const commands = new Commands();
  const runsc = new Runsc(join(TOOLS, 'bin', 'runsc'), join(dir, 'runsc'), commands.run);
  const gateway = await GatewayNamespace.create(join(dir, 'gw.netns'), commands.run);
  const cgroups = await Cgroups.open(`clrk-bench-${process.pid}`);
  const stdio = new StdioLog({ path: join(dir, 'stdio.jsonl'), log: silentLogger });
  const context: RunContext = {
    dir: join(dir, 'sandboxes'),
    runsc,
    images: new Images(join(stack.state, 'images')),
    gateway,
    addresses: new Addresses(systemClock),
    cgroups,
    stdio,
    claims: {} as ClaimsPort, // nobody claims
    trust: new Trust({ current: () => [] }),
    log: silentLogger,
  };
  const template: RunTemplate = {
    namespace: 'bench',
    agent: 'bare',
    revision: 'bare-1',
    image: PROBE,
    command: AGENT,
    args: [],
    env: [],
    gateways: [],
    cpus: 1,
    memoryBytes: 512 * 1024 * 1024,
    storageBytes: 256 * 1024 * 1024,
  };
  const hold = { hold: async () => {}, letGo: async () => {} };
  let number = 0;
  return {
    async prepare(): Promise<PreparedSandbox> {
      const sandbox = new PreparedSandbox(context, template, { number: ++number, id: randomUUID() });
      await sandbox.prepare(hold, new AbortController().signal);
      return sandbox;
    },
    async end() {
      await gateway[Symbol.asyncDispose]();
      await stdio[Symbol.asyncDispose]();
      await cgroups[Symbol.asyncDispose]();
      await commands[Symbol.asyncDispose]();
      await sweep(dir, join(dir, 'runsc'), runsc, silentLogger);
      await rm(dir, { recursive: true, force: true });
    },
  };
};

/** Milliseconds from the event to the first byte of a process that was started. */
const firstByte = async (sandbox: PreparedSandbox, begun = performance.now()): Promise<number> => {
  const first = once(sandbox.child.stdout!, 'data');
  sandbox.child.stdin!.end(EVENT);
  await first;
  return performance.now() - begun;
};

const many = <T>(count: number, make: () => Promise<T>): Promise<T[]> => Promise.all(Array.from({ length: count }, make));

const bareWarm = async (count: number): Promise<number[]> => {
  const sandboxes: PreparedSandbox[] = [];
  for (let n = 0; n < count; n++) {
    const sandbox = await bare.prepare();
    sandbox.start();
    sandboxes.push(sandbox);
    if (n % 4 === 3) await quiet(sandbox.child.pid, new AbortController().signal);
  }
  await Promise.all(sandboxes.map(({ child }) => quiet(child.pid, new AbortController().signal)));
  const times = await Promise.all(sandboxes.map((sandbox) => firstByte(sandbox)));
  for (const sandbox of sandboxes) await sandbox.ended.then(() => sandbox[Symbol.asyncDispose]());
  return times;
};

const bareCold = async (count: number): Promise<number[]> => {
  const sandboxes = await many(count, () => bare.prepare());
  const times = await Promise.all(
    sandboxes.map((sandbox) => {
      const begun = performance.now();
      sandbox.start();
      return firstByte(sandbox, begun);
    }),
  );
  for (const sandbox of sandboxes) await sandbox.ended.then(() => sandbox[Symbol.asyncDispose]());
  return times;
};

/** Our own: by the record of each run (accepted to first byte), and what the caller waited for the whole answer. */
const ours = async (agent: string, count: number): Promise<{ readonly first: number[]; readonly whole: number[] }> => {
  const results = await many(count, async () => {
    const begun = performance.now();
    const answer = await stack.invoke(agent, { n: 1 });
    expect([answer.status, answer.text]).toEqual([200, 'x']);
    return { whole: performance.now() - begun, id: answer.invocation };
  });
  const first: number[] = [];
  for (const { id } of results) first.push((await stack.ended(id)).status.firstByteMs!);
  return { first, whole: results.map(({ whole }) => whole) };
};

const warmCount = (agent: string, count: number) =>
  eventually(
    `${agent} has ${count} warm sandboxes`,
    async () => ((await stack.get('taskagents', agent)).status?.['warmSandboxes'] === count ? true : undefined),
    120_000,
  );

/** The stack has written what came of the runs before; what is measured next begins at rest, clrk's and the bare parts alike. */
const rest = (): Promise<void> => quiet(stack.devPid, new AbortController().signal);

const memAvailable = async (): Promise<number> => Number(/MemAvailable:\s+(\d+)/.exec(await readFile('/proc/meminfo', 'utf8'))![1]) / 1024;

/** MiB of private and shared memory of every process whose command line holds `text`. */
const pss = async (text: string): Promise<number> => {
  let sum = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const rollup = command.includes(text) ? await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '') : '';
    sum += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) / 1024;
  }
  return sum;
};

interface Row {
  readonly name: string;
  readonly ms: readonly number[];
}
const quantile =
  (q: number) =>
  ({ ms }: Row): number =>
    ms.toSorted((a, b) => a - b)[Math.min(ms.length - 1, Math.floor(ms.length * q))]!;
const COLUMNS: readonly Column<Row>[] = [
  { title: 'p50 ms', value: quantile(0.5) },
  { title: 'p99 ms', value: quantile(0.99) },
  { title: '+p50 ms', value: (row, base) => quantile(0.5)(row) - quantile(0.5)(base) },
  ratio('p50 ratio', quantile(0.5)),
  { title: 'n', value: ({ ms }) => ms.length, digits: 0 },
];

test('trigger to first byte, warm and cold, and what a warm sandbox costs', async () => {
  const pool = await stack.get('workerpools', 'default');
  await stack.apply({ ...pool, metadata: { name: 'default', namespace: 'default' }, spec: { ...pool.spec, maxExecutionsPerWorker: 2 * MOST } });
  await stack.apply(probeAgent('bench-cold', {}, { command: AGENT }), probeAgent('bench-warm', { warmPoolSize: 1 }, { command: AGENT }));
  await stack.condition('taskagents', 'bench-cold', 'Ready', 'True');
  for (const [inFlight, warmRounds, coldRounds] of LOADS) {
    const before = inFlight === MOST ? await memAvailable() : 0;
    const own = inFlight === MOST ? await pss(stack.run) : 0;
    const kept = inFlight === MOST ? 10 : 0; // of the load before
    await stack.apply(probeAgent('bench-warm', { warmPoolSize: inFlight }, { command: AGENT }));
    const [bareParked, warm, warmWhole, bareRun, cold]: number[][] = [[], [], [], [], []];
    for (let round = 0; round < warmRounds; round++) {
      await warmCount('bench-warm', inFlight);
      if (inFlight === MOST && round === 0) {
        await sleep(1_000); // the kernel frees in its own time
        const more = MOST - kept;
        console.log(
          `memory of a warm sandbox, ${MOST} of them: ${((before - (await memAvailable())) / more).toFixed(1)} MiB of MemAvailable, ${(((await pss(stack.run)) - own) / more).toFixed(1)} MiB PSS`,
        );
      }
      await rest();
      const { first, whole } = await ours('bench-warm', inFlight);
      warm!.push(...first);
      warmWhole!.push(...whole);
      await warmCount('bench-warm', inFlight);
      await rest();
      bareParked!.push(...(await bareWarm(inFlight)));
    }
    for (let round = 0; round < coldRounds; round++) {
      await rest();
      cold!.push(...(await ours('bench-cold', inFlight)).first);
      await rest();
      bareRun!.push(...(await bareCold(inFlight)));
    }
    printTable(
      `warm, a Node.js agent, ${inFlight} in flight`,
      [
        { name: 'bare parked process, event to byte', ms: bareParked! },
        { name: 'clrk: trigger to byte', ms: warm! },
        { name: 'clrk: caller, whole answer', ms: warmWhole! },
      ],
      COLUMNS,
    );
    printTable(
      `cold, a Node.js agent, ${inFlight} in flight`,
      [
        { name: 'bare runsc run, start to byte', ms: bareRun! },
        { name: 'clrk: trigger to byte', ms: cold! },
      ],
      COLUMNS,
    );
  }
});
