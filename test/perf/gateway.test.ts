import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { messageOf } from '#lib';
import { startStack, type TestStack } from '../e2e/harness.ts';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';
import { rssOf, total, type PerProcess } from './cpu.ts';
import { ask, measure, measureBody, measureConnects, merge, type Measured, type Target, type Transfer } from './load.ts';
import { aiGateway, behind, l4Route, plainGateway, PROCESSES, processesOfGateway, TOKENS_A_DAY, type Behind } from './ours.ts';
import { createPlace, type Place } from './place.ts';
import { startMitmproxy, startMockttp, startNodeProxy, startSquid, type Proxy, type ProxyOptions } from './proxies/index.ts';
import { printTable, ratio, revision } from './table.ts';
import { ensureWrk, versions } from './tools.ts';
import { BODY_MB, BODY_PATH, CHAT_PATH, DOMAIN, PORTS, startUpstream, UPSTREAM_ARGS, UPSTREAM_IP, type BenchUpstream } from './upstream.ts';

/**
 * A request through the gateway: one chat completion, asked directly, through ours and through other proxies, in one run and
 * interleaved, so that a noisy machine disturbs all alike. Client, proxy and upstream share the machine's cores, so rates say
 * less than CPU a request.
 */

const QUESTION = {
  path: CHAT_PATH,
  body: JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 16, messages: [{ role: 'user', content: 'Say hello.' }] }),
};
const ROUNDS = 2;
const LOADS = {
  one: { connections: 1, seconds: 3 },
  some: { connections: 16, seconds: 2 },
  many: { connections: 64, seconds: 2 },
} as const;
type LoadName = keyof typeof LOADS;
const LOAD_NAMES = Object.keys(LOADS) as LoadName[];
const DIRECTIONS = ['down', 'up'] as const;
type Direction = (typeof DIRECTIONS)[number];
const CONNECTIONS = 500;
const PLAIN_HOST = `plain.${DOMAIN}`;
const NAMES = Array.from({ length: 1000 }, (_, n) => `n${n}.${DOMAIN}`);

let stack: TestStack;
let dir: string;
let upstream: BenchUpstream;
let place: Place;
const resources = new AsyncDisposableStack();
beforeAll(async () => {
  await ensureWrk();
  stack = resources.use(await startStack({ devArgs: UPSTREAM_ARGS }));
  // In memory, since none of it is about a disk.
  dir = await mkdtemp('/dev/shm/clrk-bench-');
  resources.defer(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o755);
  upstream = resources.use(await startUpstream(stack.lab, join(dir, 'upstream'), `Bearer ${stack.key}`));
  place = resources.use(await createPlace(stack.lab, join(dir, 'place')));
});
afterAll(() => resources.disposeAsync());

/** Two gateways of an AI route, with a budget that lasts and without one; and one of L4 routes. */
const applyPolicies = async (): Promise<void> => {
  await stack.secret('bench-ca', { 'ca.crt': upstream.ca });
  await stack.apply(...(await aiGateway('budgeted', UPSTREAM_IP, TOKENS_A_DAY)), ...(await aiGateway('free', UPSTREAM_IP)));
  await stack.apply(plainGateway(), l4Route('plain', 'plain', [`*.${DOMAIN}`]));
  for (const name of ['budgeted', 'free', 'plain']) await stack.programmed(name);
};

/** A target for the benches, and which of them mean anything for it. */
interface Subject {
  readonly target: Target;
  /** Whether it takes any name and any body: an AI route takes one provider's and at most 32 MiB of JSON. */
  readonly anything: boolean;
  /** How often a body is tried; 1 by default. */
  readonly tries?: number;
  /** Clients that share the many names, which is more than one sandbox may ask for; by default it is the one. */
  readonly names?: readonly Target[];
}

const proxied = async (name: string, port: number, start: (options: ProxyOptions) => Promise<Proxy>, anything = true): Promise<Subject> => {
  const own = join(dir, name.replaceAll(/\W+/g, '-'));
  await mkdir(own);
  const { ca, caFile, authorization } = upstream;
  const options = { netns: place.proxies, dir: own, port, upstreamCa: ca, upstreamCaFile: caFile, authorization, names: [PROVIDER_HOST, ...NAMES] };
  const proxy = resources.use(await start(options));
  const processes = async () => ({ proxy: await proxy.pids() });
  const netns = await place.client(port);
  return { target: { name, netns, host: PROVIDER_HOST, port: PORTS.http, addressOf: () => UPSTREAM_IP, headers: {}, processes }, anything, tries: 8 };
};

const aiRoute = async (name: string, gateway: string, n: number): Promise<Subject> => {
  const client = resources.use(await behind(stack, gateway, n));
  const [address] = await client.resolve([PROVIDER_HOST]);
  const processes = () => processesOfGateway(stack, gateway);
  return {
    target: { name, netns: client.netns, host: PROVIDER_HOST, port: PORTS.http, addressOf: () => address!, headers: {}, processes },
    anything: false,
  };
};

/** Clients of gateway `plain`, at which no engine looks. */
const plainRoutes = async (): Promise<Subject[]> => {
  const half = NAMES.length / 2;
  const clients: { readonly client: Behind; readonly addresses: ReadonlyMap<string, string> }[] = [];
  for (const [n, names] of [NAMES.slice(0, half), NAMES.slice(half)].entries()) {
    const client = resources.use(await behind(stack, 'plain', 2 + n));
    const all = [PLAIN_HOST, ...names];
    const addresses = await client.resolve(all);
    clients.push({ client, addresses: new Map(all.map((name, i) => [name, addresses[i]!])) });
  }
  const target = (name: string, port: number, n = 0): Target => ({
    name,
    netns: clients[n]!.client.netns,
    host: PLAIN_HOST,
    port,
    addressOf: (host) => clients[n]!.addresses.get(host)!,
    headers: { authorization: upstream.authorization },
    processes: () => processesOfGateway(stack, 'plain'),
  });
  const name = 'L4 route: TLS ended, record';
  return [
    { target: target(name, PORTS.http), anything: true, names: [0, 1].map((n) => target(name, PORTS.http, n)) },
    { target: target('L4 route: TLS passed through', PORTS.passthrough), anything: true, names: [] },
    { target: target('L4 route: TCP', PORTS.tcp), anything: true, names: [] },
  ];
};

interface Row {
  readonly name: string;
  readonly at: Readonly<Record<LoadName, Measured>>;
  readonly connects: Measured;
  readonly names: Measured | undefined;
  readonly bodies: Readonly<Record<Direction, Transfer | undefined>> | undefined;
  /** MiB; after all loads. */
  readonly rss: PerProcess;
}

const cpu = (of: { readonly cpu: PerProcess } | undefined): number | undefined => (of && total(of.cpu)) || undefined;
const perCpuSecond = (of: Measured): number | undefined => {
  const ms = cpu(of);
  return ms === undefined ? undefined : 1000 / ms;
};

const printRows = (rows: readonly Row[]): void => {
  printTable('one in flight, kept alive', rows, [
    { title: 'p50 ms', value: ({ at }) => at.one.p50 },
    { title: 'p99 ms', value: ({ at }) => at.one.p99 },
    { title: '+p50 ms', value: ({ at }, base) => at.one.p50 - base.at.one.p50 },
    ratio('p50 ratio', ({ at }) => at.one.p50),
  ]);
  printTable('requests a second, kept alive, by requests in flight; requests a second of CPU time of the proxy, 16 in flight', rows, [
    ...LOAD_NAMES.map((name) => ({ title: `${LOADS[name].connections}`, value: ({ at }: Row) => at[name].rate, digits: 0 })),
    ratio('ratio at 16', ({ at }) => at.some.rate),
    { title: '16: p50 ms', value: ({ at }) => at.some.p50 },
    { title: '16: p99 ms', value: ({ at }) => at.some.p99 },
    { title: 'req/CPU s', value: ({ at }) => perCpuSecond(at.some), digits: 0 },
  ]);
  printTable('a new TLS connection for each request, 16 in flight: to one name, and to 1,000 names never seen before', rows, [
    { title: '1: conn/s', value: ({ connects }) => connects.rate, digits: 0 },
    { title: 'p50 ms', value: ({ connects }) => connects.p50 },
    { title: 'p99 ms', value: ({ connects }) => connects.p99 },
    { title: 'CPU ms', value: ({ connects }) => cpu(connects) },
    { title: '1000: conn/s', value: ({ names }) => names?.rate, digits: 0 },
    { title: 'p50 ms', value: ({ names }) => names?.p50 },
    { title: 'p99 ms', value: ({ names }) => names?.p99 },
    { title: 'CPU ms', value: ({ names }) => cpu(names) },
    { title: 'RSS MiB', value: ({ rss }) => total(rss) || undefined, digits: 0 },
  ]);
  printTable(
    `a body of ${BODY_MB} MB`,
    rows.filter(({ bodies }) => bodies),
    DIRECTIONS.flatMap((direction) => [
      { title: `${direction}: MB/s`, value: ({ bodies }: Row) => bodies?.[direction]?.speed, digits: 0 },
      { title: 'CPU ms/MB', value: ({ bodies }: Row) => cpu(bodies?.[direction]) },
    ]),
  );
  const ours = rows.filter(({ rss }) => 'envoy' in rss);
  const byProcess = (what: string, digits: number, of: (row: Row) => PerProcess | undefined): void =>
    printTable(
      `which of our processes: ${what}`,
      ours,
      PROCESSES.map((name) => ({ title: name, value: (row: Row) => of(row)?.[name], digits })),
    );
  byProcess('CPU ms a request, 16 in flight', 3, ({ at }) => at.some.cpu);
  byProcess('CPU ms a new connection, to one name', 3, ({ connects }) => connects.cpu);
  byProcess('CPU ms a new connection, to 1,000 names', 3, ({ names }) => names?.cpu);
  byProcess('RSS MiB', 0, ({ rss }) => rss);
};

/** A proxy of others may break off (squid 5.7 does, now and then, while it takes a large body): said, and tried again. */
const transfer = async (target: Target, direction: Direction, tries: number): Promise<Transfer | undefined> => {
  for (let n = 0; ; n++) {
    try {
      return await measureBody(target, direction, join(dir, 'upstream', BODY_PATH));
    } catch (error) {
      if (tries === 1) throw error;
      console.log(`${target.name}: a body of ${BODY_MB} MB ${direction} broke off: ${messageOf(error).slice(-100)}`);
      if (n === tries) return undefined;
    }
  }
};

/** Each client its share of the names, one client after the other. */
const measureNames = async (clients: readonly Target[]): Promise<Measured> => {
  const share = NAMES.length / clients.length;
  const runs: Measured[] = [];
  for (const [n, client] of clients.entries()) runs.push(await measureConnects(client, QUESTION, NAMES.slice(n * share, (n + 1) * share)));
  return merge(runs);
};

const measureAll = async (subjects: readonly Subject[]): Promise<Row[]> => {
  const runs = new Map<string, Measured[]>();
  for (const { target } of subjects) {
    await ask(target, QUESTION);
    await measure(target, { ...QUESTION, ...LOADS.some, seconds: 1 }); // code gets hot
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of LOAD_NAMES) {
      for (const { target } of subjects) {
        const id = `${target.name} ${name}`;
        runs.set(id, [...(runs.get(id) ?? []), await measure(target, { ...QUESTION, ...LOADS[name] })]);
      }
    }
  }
  const rows: Row[] = [];
  for (const { target, anything, tries = 1, names = [target] } of subjects) {
    rows.push({
      name: target.name,
      at: Object.fromEntries(LOAD_NAMES.map((of) => [of, merge(runs.get(`${target.name} ${of}`)!)])) as Row['at'],
      connects: await measureConnects(target, QUESTION, Array<string>(CONNECTIONS).fill(target.host)),
      names: anything && names.length > 0 ? await measureNames(names) : undefined,
      bodies: anything ? { down: await transfer(target, 'down', tries), up: await transfer(target, 'up', tries) } : undefined,
      rss: await rssOf(await target.processes()),
    });
  }
  return rows;
};

test('a request through the gateway', async () => {
  console.log(`clrk ${await revision()}; wrk, one thread; curl; ${await versions()}; ${QUESTION.body.length} bytes up; ${ROUNDS} rounds`);
  await applyPolicies();
  const headers = { authorization: upstream.authorization };
  const here = { netns: place.proxies, host: PROVIDER_HOST, port: PORTS.http, addressOf: () => UPSTREAM_IP, headers, processes: async () => ({}) };
  const subjects: Subject[] = [
    { target: { name: 'direct, TLS to the upstream', ...here }, anything: true },
    ...(await plainRoutes()),
    await aiRoute('AI route: policy, credential, record', 'free', 1),
    await aiRoute('AI route: the same and a budget', 'budgeted', 0),
    await proxied('mitmproxy', 8081, startMitmproxy),
    await proxied('squid, ssl-bump', 8082, startSquid),
    await proxied('mockttp', 8083, startMockttp),
    await proxied('plain Node proxy, one name', 8084, (options) => startNodeProxy(options, PROVIDER_HOST), false),
  ];
  printRows(await measureAll(subjects));
}, 600_000);
