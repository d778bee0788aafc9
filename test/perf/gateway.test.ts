import { randomUUID } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import { workerLayout } from '#model';
import { Claims, connect } from '#wire';
import { createSandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { startStack, TOOLS, type TestStack } from '../e2e/harness.ts';
import type { Manifest } from '../e2e/support/manifests.ts';
import { ensureMitmproxy, startMitmproxy, startNodeProxy } from './baselines/baselines.ts';
import { ensureWrk, measure, merge, rssOf, type Load, type Measured, type Target } from './load.ts';
import { printTable, ratio, revision } from './table.ts';

/**
 * One chat completion of a provider fixture on this machine: direct, through our gateway and through other proxies, in one
 * run and interleaved, so that a noisy machine disturbs all alike. Client (wrk), proxy and provider share the machine's
 * cores, so rates say less than CPU a request.
 */

const HOST = 'api.openai.com';
const PATH = '/v1/chat/completions';
const BODY = JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 16, messages: [{ role: 'user', content: 'Say hello.' }] });
const ROUNDS = 2;
/** Nobody's budget may run out, and a budget of any size costs the same. */
const MUCH = 1e12;
const LOADS = {
  one: { connections: 1, seconds: 3 },
  some: { connections: 16, seconds: 2 },
  many: { connections: 64, seconds: 2 },
  connects: { connections: 16, seconds: 2, reconnect: true },
} as const satisfies Record<string, Pick<Load, 'connections' | 'seconds' | 'reconnect'>>;
type LoadName = keyof typeof LOADS;

let stack: TestStack;
beforeAll(async () => {
  await ensureWrk();
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

/** A second gateway like the quickstart's, whose route has the credential and no budget; and a budget that lasts. */
const applyPolicies = async (): Promise<void> => {
  const strip = ({ apiVersion, kind, spec }: Manifest, name: string): Manifest => ({
    apiVersion,
    kind,
    metadata: { name, namespace: 'default' },
    spec: structuredClone(spec),
  });
  const get = async (plural: string, name: string): Promise<Manifest> => stack.get(plural, name) as Promise<Manifest>;
  const rulesOf = (route: Manifest) => route.spec['rules'] as { filters?: { tokenBudget: { maxTokensPerDay: number } }[] }[];
  const [gateway, route, policy] = [
    await get('egressgateways', 'default'),
    await get('aiproviderroutes', 'openai'),
    await get('credentialinjectionpolicies', 'openai-key'),
  ];
  const lasting = strip(route, 'openai');
  rulesOf(lasting)[0]!.filters![0]!.tokenBudget.maxTokensPerDay = MUCH;
  const free = strip(route, 'free');
  delete rulesOf(free)[0]!.filters;
  (free.spec['parentRefs'] as { name: string }[])[0]!.name = 'free';
  const key = strip(policy, 'free-key');
  (key.spec['parentRefs'] as { name: string }[])[0]!.name = 'free';
  await stack.apply(lasting, strip(gateway, 'free'), free, key);
  for (const name of ['default', 'free']) await stack.programmed(name);
};

/** A client's place behind a gateway: an address bound to a run, as a sandbox has, without a sandbox. */
const behind = async (gateway: string, n: number) => {
  const at = workerLayout(stack.state, stack.run, '0');
  const net = `100.127.${240 - n * 16}`;
  const pair = { block: `${net}.0/20`, host: `${net}.4`, sandbox: `${net}.5`, inherited: false };
  const claims = connect(Claims, at.claimsSocket);
  const binding = { address: pair.sandbox, block: pair.block, namespace: 'default', agent: 'probe', invocation: randomUUID() };
  const trace = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) };
  expect(await claims.bind({ ...binding, ...trace, gateways: [`default/${gateway}`] })).toMatchObject({ refused: '' });
  const dir = join(stack.dir, `perf-${gateway}`);
  await mkdir(dir);
  const network = await createSandboxNetwork(stack.inside(at.gatewayNetns), dir, `sbperf${n}`, pair);
  const ask = `const r = new (require('node:dns').promises.Resolver)(); r.setServers(['198.19.255.3']); r.resolve4('${HOST}').then((a) => console.log(a[0]))`;
  const { stdout } = await run(process.execPath, ['-e', ask], { netns: network.netns });
  return {
    netns: network.netns,
    address: stdout.trim(),
    async [Symbol.asyncDispose]() {
      await network[Symbol.asyncDispose]();
      await claims.release({ address: pair.sandbox, invocation: binding.invocation });
      claims.close();
    },
  };
};

const OURS = ['envoy', 'egress', 'dispatcher', 'recorder', 'store'];
const ourPids = async (): Promise<number[]> => (await Promise.all(OURS.map((program) => stack.pids(program)))).flat();

interface Row {
  readonly name: string;
  readonly at: Readonly<Record<LoadName, Measured>>;
  /** MiB; after all loads. */
  readonly rss: number;
}

test('chat completions: direct, through the gateway, through other proxies', async () => {
  const mitmdump = await ensureMitmproxy(join(TOOLS, 'bench'));
  await applyPolicies();
  await using all = await behind('default', 0);
  await using free = await behind('free', 1);
  const caFile = join(stack.dir, 'fixture', 'ca.pem');
  const authorization = `Bearer ${stack.key}`;
  const upstream = { netns: stack.lab.stack, address: stack.lab.fixtureIp, host: HOST, ca: await readFile(caFile, 'utf8'), caFile, authorization };
  await using node = await startNodeProxy('127.0.1.1', upstream);
  await using mitmproxy = await startMitmproxy(mitmdump, join(stack.dir, 'mitmproxy'), '127.0.1.2', upstream);

  const headers = { authorization };
  const { netns, address } = upstream;
  const targets: Target[] = [
    { name: 'direct, TLS to the provider', netns, address, headers, pids: async () => [] },
    { name: 'gateway: policy, credential, record', netns: free.netns, address: free.address, headers: {}, pids: ourPids },
    { name: 'gateway: the same and a budget', netns: all.netns, address: all.address, headers: {}, pids: ourPids },
    { name: 'plain Node proxy', netns, address: '127.0.1.1', headers: {}, pids: async () => [node.pid] },
    { name: 'mitmproxy', netns, address: '127.0.1.2', headers: {}, pids: async () => [mitmproxy.pid] },
  ];

  const names = Object.keys(LOADS) as LoadName[];
  const runs = new Map<string, Measured[]>();
  const load = { host: HOST, path: PATH, body: BODY };
  for (const target of targets) await measure(stack.dir, target, { ...load, ...LOADS.some, seconds: 1 }); // code gets hot
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) {
      for (const target of targets) {
        const id = `${target.name} ${name}`;
        runs.set(id, [...(runs.get(id) ?? []), await measure(stack.dir, target, { ...load, ...LOADS[name] })]);
      }
    }
  }
  const rows: Row[] = await Promise.all(
    targets.map(async ({ name, pids }) => ({
      name,
      at: Object.fromEntries(names.map((of) => [of, merge(runs.get(`${name} ${of}`)!)])) as Row['at'],
      rss: await rssOf(await pids()),
    })),
  );
  console.log(`clrk ${await revision()}; wrk, one thread; ${BODY.length} bytes up; ${ROUNDS} rounds`);
  printTable('one in flight, kept alive', rows, [
    { title: 'p50 ms', value: ({ at }) => at.one.p50 },
    { title: 'p99 ms', value: ({ at }) => at.one.p99 },
    { title: '+p50 ms', value: ({ at }, base) => at.one.p50 - base.at.one.p50 },
    ratio('p50 ratio', ({ at }) => at.one.p50),
    { title: 'CPU ms/req', value: ({ at }) => at.one.cpu || undefined },
  ]);
  printTable('many in flight, kept alive', rows, [
    { title: '16: req/s', value: ({ at }) => at.some.rate, digits: 0 },
    { title: 'p50 ms', value: ({ at }) => at.some.p50 },
    { title: 'p99 ms', value: ({ at }) => at.some.p99 },
    ratio('ratio', ({ at }) => at.some.rate),
    { title: '64: req/s', value: ({ at }) => at.many.rate, digits: 0 },
    { title: 'p50 ms', value: ({ at }) => at.many.p50 },
    { title: 'p99 ms', value: ({ at }) => at.many.p99 },
    { title: 'CPU ms/req', value: ({ at }) => at.many.cpu || undefined },
  ]);
  printTable('a new TLS connection for each request, 16 in flight; memory', rows, [
    { title: 'conn/s', value: ({ at }) => at.connects.rate, digits: 0 },
    ratio('ratio', ({ at }) => at.connects.rate),
    { title: 'CPU ms/conn', value: ({ at }) => at.connects.cpu || undefined },
    { title: 'RSS MiB', value: ({ rss }) => rss || undefined, digits: 0 },
  ]);
  console.log(`CPU and memory of the gateway: ${OURS.join(', ')}.`);
}, 300_000);
