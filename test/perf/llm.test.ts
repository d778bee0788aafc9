import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { startStack, type TestStack } from '../e2e/harness.ts';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';
import { rssOf, total, type PerProcess } from './cpu.ts';
import { ask, measure, median, merge, type Measured, type Target } from './load.ts';
import { expectMetered, PLACEHOLDER } from './metered.ts';
import { aiGateway, behind, EVERY_CAP, PROCESSES, processesOfGateway, type Behind } from './ours.ts';
import { createPlace, type Place } from './place.ts';
import { portkeyHeaders, startLitellm, startPortkey, STREAMED_MODEL } from './proxies/llm.ts';
import type { Proxy, ProxyOptions } from './proxies/proxy.ts';
import { measureStreams, startStreams, STREAMS_HOST, STREAMS_IP, type Streamed } from './streams.ts';
import { printTable, ratio, revision } from './table.ts';
import { ensureWrk, LLM_GATEWAYS } from './tools.ts';
import { CHAT_PATH, startUpstream, UPSTREAM_ARGS, UPSTREAM_IP, type BenchUpstream } from './upstream.ts';

/**
 * A chat completion through ours with everything (policy, a counter of each kind, credential, record in the store) and through LLM
 * gateways with nothing but the way there, in one run and interleaved: in one piece, and streamed.
 */

const MODEL = 'gpt-4.1-mini';
const QUESTION = {
  path: CHAT_PATH,
  body: JSON.stringify({ model: MODEL, max_completion_tokens: 16, messages: [{ role: 'user', content: 'Say hello.' }] }),
};
const ROUNDS = 5;
const LOADS = { one: { connections: 1, seconds: 4 }, some: { connections: 16, seconds: 3 } } as const;
type LoadName = keyof typeof LOADS;
const LOAD_NAMES = Object.keys(LOADS) as LoadName[];
/** First tokens: one answer after the other. */
const FIRSTS = { count: 150, parallel: 1, tokens: 1 };
/** Held at the same time, for ten seconds. */
const HELD = { count: 50, parallel: 50, tokens: 200 };

let stack: TestStack;
let dir: string;
let upstream: BenchUpstream;
let place: Place;
const resources = new AsyncDisposableStack();
beforeAll(async () => {
  await ensureWrk();
  stack = resources.use(await startStack({ devArgs: UPSTREAM_ARGS }));
  dir = await mkdtemp('/dev/shm/clrk-bench-');
  resources.defer(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o755);
  upstream = resources.use(await startUpstream(stack.lab, join(dir, 'upstream'), `Bearer ${stack.key}`));
  resources.use(await startStreams(stack.lab, join(dir, 'upstream'), `Bearer ${stack.key}`));
  place = resources.use(await createPlace(stack.lab, join(dir, 'place')));
}, 300_000);
afterAll(() => resources.disposeAsync());

/** Where a chat completion is asked for, and where a streamed one; by which model. */
interface Subject {
  readonly target: Target;
  readonly streamed: Target;
  readonly model: string;
  /** Fails unless what was measured is what was to be. */
  readonly checked?: (row: Row) => Promise<void>;
}

const direct = (): Subject => {
  const target = (name: string, ip: string): Target => ({
    name,
    netns: place.proxies,
    host: PROVIDER_HOST,
    port: 443,
    addressOf: () => ip,
    headers: { authorization: upstream.authorization },
    processes: async () => ({}),
  });
  return { target: target('direct', UPSTREAM_IP), streamed: target('direct', STREAMS_IP), model: MODEL };
};

/** Two gateways, since one name is one upstream at a gateway. */
const ours = async (): Promise<Subject> => {
  await stack.secret('bench-ca', { 'ca.crt': upstream.ca });
  const target = async (gateway: string, ip: string, n: number): Promise<readonly [Target, Behind]> => {
    await stack.apply(...(await aiGateway(gateway, ip, EVERY_CAP)));
    await stack.programmed(gateway);
    const client = resources.use(await behind(stack, gateway, n));
    const [address] = await client.resolve([PROVIDER_HOST]);
    const processes = () => processesOfGateway(stack, gateway);
    return [{ name: 'clrk', netns: client.netns, host: PROVIDER_HOST, port: 443, addressOf: () => address!, headers: PLACEHOLDER, processes }, client];
  };
  const [whole, wholeClient] = await target('whole', UPSTREAM_IP, 0);
  const [streamed, streamedClient] = await target('streamed', STREAMS_IP, 1);
  const checked = async ({ at, firsts }: Row): Promise<void> => {
    const asked = { model: MODEL, tokens: 12 };
    const answers = LOAD_NAMES.reduce((sum, name) => sum + at[name].requests, 0);
    await expectMetered(stack, { ...asked, gateway: 'whole', invocation: wholeClient.invocation, stream: false, answers });
    await expectMetered(stack, {
      ...asked,
      gateway: 'streamed',
      invocation: streamedClient.invocation,
      stream: true,
      answers: firsts.answers,
      tokens: 10 + FIRSTS.tokens,
    });
  };
  return { target: whole, streamed, model: MODEL, checked };
};

interface Other {
  readonly name: string;
  readonly port: number;
  readonly start: (options: ProxyOptions) => Promise<Proxy>;
  readonly headers?: (streamed: boolean) => Readonly<Record<string, string>>;
  readonly model?: string;
}

const other = async ({ name, port, start, headers = () => ({}), model = MODEL }: Other): Promise<Subject> => {
  const own = join(dir, name.replaceAll(/\W+/g, '-'));
  await mkdir(own);
  const { ca, caFile, authorization } = upstream;
  const proxy = resources.use(
    await start({
      netns: place.proxies,
      dir: own,
      port,
      upstreamCa: ca,
      upstreamCaFile: caFile,
      authorization,
      names: [PROVIDER_HOST],
      elsewhere: { [STREAMS_HOST]: STREAMS_IP },
    }),
  );
  const netns = await place.client(port);
  const processes = async () => ({ proxy: await proxy.pids() });
  const target = (streamed: boolean): Target => ({
    name,
    netns,
    host: 'gateway.bench',
    port: 443,
    plain: true,
    addressOf: () => UPSTREAM_IP,
    headers: headers(streamed),
    processes,
  });
  return { target: target(false), streamed: target(true), model };
};

interface Row {
  readonly name: string;
  readonly at: Readonly<Record<LoadName, Measured>>;
  readonly firsts: Streamed;
  readonly held: Streamed;
  /** MiB; after all loads. */
  readonly rss: PerProcess;
}

const printRows = (rows: readonly Row[]): void => {
  const ours = rows.filter(({ at }) => 'envoy' in at.some.cpu);
  printTable(
    'CPU time by process, ms a request, 16 in flight',
    ours,
    PROCESSES.map((name) => ({ title: name, value: ({ at }) => at.some.cpu[name], digits: 3 })),
  );
  printTable('one in flight, kept alive; and what is added to the baseline', rows, [
    { title: 'p50 ms', value: ({ at }) => at.one.p50 },
    { title: 'p99 ms', value: ({ at }) => at.one.p99 },
    { title: '+p50 ms', value: ({ at }, base) => at.one.p50 - base.at.one.p50 },
    { title: '+p99 ms', value: ({ at }, base) => at.one.p99 - base.at.one.p99 },
    ratio('p50 ratio', ({ at }) => at.one.p50),
  ]);
  printTable('requests a second, kept alive; of CPU time of the gateway, 16 in flight', rows, [
    { title: '1', value: ({ at }) => at.one.rate, digits: 0 },
    { title: '16', value: ({ at }) => at.some.rate, digits: 0 },
    ratio('ratio at 16', ({ at }) => at.some.rate),
    { title: '16: p50 ms', value: ({ at }) => at.some.p50 },
    { title: '16: p99 ms', value: ({ at }) => at.some.p99 },
    { title: 'req/CPU s', value: ({ at }) => (total(at.some.cpu) > 0 ? 1000 / total(at.some.cpu) : undefined), digits: 0 },
    { title: 'RSS MiB', value: ({ rss }) => total(rss) || undefined, digits: 0 },
  ]);
  printTable(`time to the first token, one after the other; ${HELD.parallel} streams of 20 tokens a second at a time`, rows, [
    { title: 'first: p50 ms', value: ({ firsts }) => firsts.p50 },
    { title: 'p99 ms', value: ({ firsts }) => firsts.p99 },
    { title: '+p50 ms', value: ({ firsts }, base) => firsts.p50 - base.firsts.p50 },
    { title: '+p99 ms', value: ({ firsts }, base) => firsts.p99 - base.firsts.p99 },
    { title: 'held: gap p99 ms', value: ({ held }) => held.gap },
    { title: 'CPU ms/stream s', value: ({ held }) => held.cpu || undefined },
    { title: 'streams/core', value: ({ held }) => (held.cpu > 0 ? 1000 / held.cpu : undefined), digits: 0 },
  ]);
};

const mergeStreams = (runs: readonly Streamed[]): Streamed => {
  const of = (value: (run: Streamed) => number): number => median(runs.map(value));
  const answers = runs.reduce((sum, run) => sum + run.answers, 0);
  return { p50: of(({ p50 }) => p50), p99: of(({ p99 }) => p99), gap: of(({ gap }) => gap), cpu: of(({ cpu }) => cpu), answers };
};

const measureAll = async (subjects: readonly Subject[]): Promise<Row[]> => {
  const runs = subjects.map(() => ({ one: [] as Measured[], some: [] as Measured[], firsts: [] as Streamed[] }));
  for (const { target, streamed, model } of subjects) {
    await ask(target, QUESTION);
    await measure(target, { ...QUESTION, ...LOADS.some, seconds: 2 }); // code gets hot
    await measureStreams(streamed, { ...FIRSTS, model, count: 50 });
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of LOAD_NAMES)
      for (const [n, { target }] of subjects.entries()) runs[n]![name].push(await measure(target, { ...QUESTION, ...LOADS[name] }));
    for (const [n, { streamed, model }] of subjects.entries()) runs[n]!.firsts.push(await measureStreams(streamed, { ...FIRSTS, model }));
  }
  const rows: Row[] = [];
  for (const [n, { target, streamed, model }] of subjects.entries()) {
    const { one, some, firsts } = runs[n]!;
    const held = await measureStreams(streamed, { ...HELD, model });
    const rss = await rssOf(await target.processes());
    rows.push({ name: target.name, at: { one: merge(one), some: merge(some) }, firsts: mergeStreams(firsts), held, rss });
  }
  return rows;
};

test('a chat completion through LLM gateways', async () => {
  console.log(`clrk ${await revision()}; wrk, one thread; ${LLM_GATEWAYS}; ${QUESTION.body.length} bytes up; ${ROUNDS} rounds`);
  const subjects: Subject[] = [
    direct(),
    await ours(),
    await other({ name: 'LiteLLM', port: 8091, start: (options) => startLitellm(options, STREAMS_HOST), model: STREAMED_MODEL }),
    await other({
      name: 'Portkey',
      port: 8092,
      start: startPortkey,
      headers: (streamed) => portkeyHeaders(upstream.authorization, ...(streamed ? [STREAMS_HOST] : [])),
    }),
  ];
  const rows = await measureAll(subjects);
  printRows(rows);
  for (const [n, { checked }] of subjects.entries()) await checked?.(rows[n]!);
}, 900_000);
