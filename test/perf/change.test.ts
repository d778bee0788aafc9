import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exited, sleep, spawnChild } from '#lib';
import { startStack, type TestStack } from '../e2e/harness.ts';
import { measure, type Measured, type Target } from './load.ts';
import { behind, l4Route, plainGateway, processesOfGateway } from './ours.ts';
import { printTable } from './table.ts';
import { ensureWrk } from './tools.ts';
import { CHAT_PATH, DOMAIN, HELLO_PATH, PORTS, startUpstream, UPSTREAM_ARGS, type BenchUpstream } from './upstream.ts';

/**
 * A policy change in force: from the API's answer to the first answer of the gateway that is another one, with few and with many
 * routes at the gateway; beside as many requests as there is room for, when all processes wait for a CPU and that is most of what is
 * measured, and beside a quarter of them. That no request of the load fails meanwhile is the one thing a bench asserts.
 */

const CHANGES = 20;
const ROUTES = [10, 1000];
const LOAD = { connections: 8, seconds: 16, path: CHAT_PATH, body: '{}' };
const L4_ROUTES = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/egressl4routes';
const FLIPPED = `flipped.${DOMAIN}`;
const STAYING = `staying.${DOMAIN}`;

let stack: TestStack;
let upstream: BenchUpstream;
const resources = new AsyncDisposableStack();
beforeAll(async () => {
  await ensureWrk();
  stack = resources.use(await startStack({ devArgs: UPSTREAM_ARGS }));
  const dir = await mkdtemp('/dev/shm/clrk-bench-');
  resources.defer(() => rm(dir, { recursive: true, force: true }));
  upstream = resources.use(await startUpstream(stack.lab, join(dir, 'upstream'), `Bearer ${stack.key}`));
  await stack.secret('bench-ca', { 'ca.crt': upstream.ca });
});
afterAll(() => resources.disposeAsync());

interface Change {
  /** ms from the answer of the API, and from when it was asked. */
  readonly answered: number;
  readonly asked: number;
}

interface Row {
  readonly name: string;
  readonly changes: readonly Change[];
  readonly load: Measured;
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Statuses of FLIPPED as they change, each with its time. */
const startProbe = async (netns: string, address: string) => {
  const argv = [join(import.meta.dirname, 'change-probe.ts'), FLIPPED, address, HELLO_PATH];
  const child = spawnChild(process.execPath, argv, { netns, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! });
  return {
    async next(): Promise<{ readonly status: number; readonly at: number }> {
      const [line] = (await once(lines, 'line', { signal: AbortSignal.timeout(20_000) })) as [string];
      return JSON.parse(line) as { status: number; at: number };
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};

const changeWith = async (routes: number, n: number): Promise<readonly Row[]> => {
  const gateway = `routes${routes}`;
  const started = now();
  const others = Array.from({ length: routes - 2 }, (_, i) => l4Route(`${gateway}-${i}`, gateway, [`other${i}.${DOMAIN}`]));
  const all = [l4Route(`${gateway}-flipped`, gateway, [FLIPPED]), l4Route(`${gateway}-staying`, gateway, [STAYING]), ...others];
  const lane = async (): Promise<void> => {
    for (let route = all.pop(); route; route = all.pop()) await stack.api('POST', L4_ROUTES, route);
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  await stack.apply(plainGateway(gateway)); // when all of its routes are there, so that they are compiled once
  await stack.programmed(gateway);
  console.log(`${gateway}: made in ${((now() - started) / 1000).toFixed(1)} s`);
  await using client = await behind(stack, gateway, n);
  const [flipped, staying] = await client.resolve([FLIPPED, STAYING]);
  const target: Target = {
    name: `the load beside changes of ${routes} routes`,
    netns: client.netns,
    host: STAYING,
    port: PORTS.http,
    addressOf: () => staying!,
    headers: { authorization: upstream.authorization },
    processes: () => processesOfGateway(stack, gateway),
  };
  await using probe = await startProbe(client.netns, flipped!);
  expect(await probe.next()).toMatchObject({ status: 200 });
  const changeUnder = async (pauseMs: number): Promise<Omit<Row, 'name'>> => {
    const load = measure(target, { ...LOAD, pauseMs });
    load.catch(() => {}); // said when it is awaited
    const changes: Change[] = [];
    for (let i = 0; i < CHANGES; i++) {
      const allowed = i % 2 === 1;
      await sleep(200);
      const changed = probe.next();
      const { spec } = l4Route('', gateway, [allowed ? FLIPPED : `nobody.${DOMAIN}`]);
      const begun = now();
      await stack.api('PATCH', `${L4_ROUTES}/${gateway}-flipped`, { spec }, { 'content-type': 'application/merge-patch+json' });
      const answered = now();
      const { status, at } = await changed;
      expect(status).toBe(allowed ? 200 : 403);
      changes.push({ answered: at - answered, asked: at - begun });
    }
    return { changes, load: await load };
  };
  const full = await changeUnder(0);
  const pauseMs = Math.max(1, Math.round((LOAD.connections / (full.load.rate / 4)) * 1000 - full.load.p50));
  return [
    { name: `${routes} routes, all CPUs busy`, ...full },
    { name: `${routes} routes, a quarter of the load`, ...(await changeUnder(pauseMs)) },
  ];
};

const quantile =
  (of: (change: Change) => number, q: number) =>
  ({ changes }: Row): number =>
    changes.map(of).toSorted((a, b) => a - b)[Math.min(changes.length - 1, Math.floor(changes.length * q))]!;

test('a policy change in force', async () => {
  const rows: Row[] = [];
  for (const [n, routes] of ROUTES.entries()) rows.push(...(await changeWith(routes, n)));
  printTable(`a policy change in force, ${CHANGES} changes under a load of ${LOAD.connections} connections, of which no request failed`, rows, [
    { title: 'answered: p50 ms', value: quantile(({ answered }) => answered, 0.5), digits: 1 },
    { title: 'p99 ms', value: quantile(({ answered }) => answered, 0.99), digits: 1 },
    { title: 'asked: p50 ms', value: quantile(({ asked }) => asked, 0.5), digits: 1 },
    { title: 'p99 ms', value: quantile(({ asked }) => asked, 0.99), digits: 1 },
    { title: 'load: requests', value: ({ load }) => load.requests, digits: 0 },
    { title: 'a second', value: ({ load }) => load.rate, digits: 0 },
    { title: 'p50 ms', value: ({ load }) => load.p50 },
    { title: 'p99 ms', value: ({ load }) => load.p99 },
  ]);
}, 300_000);
