import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, spawnChild, stopChild } from '#lib';
import type { AccessLine } from '#model';
import { helloGuard } from '../../src/egress/translate/hello.ts';
import { verdictOf } from '../../src/telemetry/recorder/verdict.ts';
import { assemble } from '../../tools/wat.ts';
import { clientHello, ECH, extension, records, serverName, USUAL } from '../unit/egress/client-hello.ts';
import { eventually } from './harness.ts';
import { aiRoute, EgressLab, TOOLS } from './support/egress-lab.ts';
import type { RawStep, StepAnswer } from './support/sandbox-client.ts';
import { startUpstreams } from './support/upstream-servers.ts';

/** Client hellos on TLS that is passed through, made by hand, on real parts. The upstream is TCP that says what it got. */

const FIXTURE = '10.213.0.2';
const NAME = 'pass.example';
const PORT = 7000;

let lab: EgressLab;
let address: string;
let dialled: readonly unknown[];

beforeAll(async () => {
  lab = await EgressLab.start({
    listeners: [
      { name: 'tls', shape: 'tls-terminate', port: 443 },
      { name: 'pass', shape: 'tls-passthrough', port: PORT },
    ],
    hostAliases: [{ ip: FIXTURE, hostnames: [NAME] }],
    aiRoutes: [aiRoute],
    l4Routes: [{ route: { namespace: 'default', name: 'pass' }, createdAt: 1, listeners: ['pass'], rules: [{ index: 0, matches: [{ hosts: [NAME] }] }] }],
  });
  ({ seen: dialled } = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, FIXTURE)));
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  address = await lab.addressOf(NAME);
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const hello = (...more: Buffer[]): Buffer => clientHello([serverName(NAME), ...USUAL, ...more]);
/** All that an upstream gets of it comes back. */
const step = (to: string, port: number, bytes: Buffer): RawStep => ({
  do: 'raw',
  address: to,
  port,
  send: bytes.toString('hex'),
  hex: true,
  until: bytes.toString('latin1'),
});
const say = (bytes: Buffer): Promise<StepAnswer> => lab.inSandbox(step(address, PORT, bytes));

/** The record of what `act` does. */
const recorded = async <Result>(act: () => Promise<Result>): Promise<[Result, AccessLine]> => {
  const before = (await lab.accessLines()).length;
  const result = await act();
  return [result, await eventually('its line', async () => (await lab.accessLines())[before])];
};

test('a hello without a hidden name reaches the upstream as it was sent, in whatever records it came', async () => {
  for (const bytes of [
    records(hello()),
    records(hello(), 20),
    records(hello(extension(21, Buffer.alloc(15_000, 65)))),
    Buffer.concat([records(hello()), Buffer.alloc(2_000, 65)]),
  ]) {
    const [answer, line] = await recorded(() => say(bytes));
    expect(answer.received).toBe(`got ${bytes.toString('latin1')}`);
    expect(line).toMatchObject({ chain: 'tls', hello: 'Clear', sni: NAME, verdict: { verdict: 'Allowed', route: 'EgressL4Route/default/pass' } });
    expect(verdictOf(line)).toEqual({ verdict: 'Allowed', reason: 'Allowed' });
  }
});

test('a hidden name: closed, nobody dialled, and the record says why', async () => {
  const before = dialled.length;
  for (const bytes of [
    records(hello(extension(ECH, Buffer.alloc(200, 1)))),
    records(clientHello([extension(ECH, Buffer.alloc(200, 1)), serverName(NAME), ...USUAL]), 30),
    records(hello(extension(0xfd00, Buffer.from([2, 0, 13])))),
    records(hello(extension(21, Buffer.alloc(15_000, 65)), extension(ECH, Buffer.alloc(200, 1)))),
  ]) {
    const [answer, line] = await recorded(() => say(bytes));
    expect(answer.received ?? '').toBe('');
    expect(line).toMatchObject({ chain: 'tls', hello: 'HiddenServerName', sni: NAME, destination: `${address}:${PORT}` });
    expect(line.verdict).toBeUndefined();
    expect(verdictOf(line)).toEqual({ verdict: 'Denied', reason: 'HiddenServerName' });
  }
  expect(dialled.length).toBe(before);
});

test('what Envoy takes for TLS and is no proper hello: closed as well', async () => {
  const before = dialled.length;
  const [answer, line] = await recorded(() => say(records(hello(), 3)));
  expect(answer.received ?? '').toBe('');
  expect(verdictOf(line)).toEqual({ verdict: 'Denied', reason: 'BadClientHello' });
  expect(dialled.length).toBe(before);
});

/** An Envoy beside the upstreams with the filter alone before them. */
const envoyWith = async (module: string, port: number) => {
  const file = join(lab.state, `envoy-${port}.json`);
  const typed = (name: string, type: string, value: object) => ({ name, typed_config: { '@type': `type.googleapis.com/${type}`, ...value } });
  const socket = (port_value: number) => ({ socket_address: { address: FIXTURE, port_value } });
  const proxy = typed('relay', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'x', cluster: 'up', max_early_data_bytes: 65_536 });
  const filters = [helloGuard(module), proxy];
  const endpoint = { lb_endpoints: [{ endpoint: { address: socket(PORT) } }] };
  const config = {
    static_resources: {
      listeners: [{ name: 'l', address: socket(port), filter_chains: [{ filters }] }],
      clusters: [{ name: 'up', type: 'STATIC', load_assignment: { cluster_name: 'up', endpoints: [endpoint] } }],
    },
  };
  await writeFile(file, JSON.stringify(config));
  const argv = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'warn'];
  const child = spawnChild(join(TOOLS, 'bin', 'envoy'), argv, { netns: lab.lab.fixture, stdio: ['ignore', 'ignore', 'pipe'] });
  lab.resources.defer(async () => void (await stopChild(child)));
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  return { ended: once(child, 'exit'), said: () => said };
};

const fixtureSays = async (port: number, bytes: Buffer): Promise<StepAnswer> => {
  const argv = [join(import.meta.dirname, 'support/sandbox-client.ts'), JSON.stringify(step(FIXTURE, port, bytes))];
  return JSON.parse((await run(process.execPath, argv, { netns: lab.lab.fixture })).stdout) as StepAnswer;
};

test('a filter that fails refuses, and the next connection has a new one; one that is broken is not taken', async () => {
  const text = await readFile(join(import.meta.dirname, '../../src/egress/translate/wasm/hello.wat'), 'utf8');
  const trap = '(if (i32.gt_u (local.get $size) (i32.const 1000)) (then (drop (i32.load (i32.const 0x7ffffff0)))))';
  const failing = text.replace(/(\(func \$judge [^\n]*\n[^\n]*\n)/, `$1    ${trap}\n`);
  expect(failing).toContain(trap);
  const envoy = await envoyWith(Buffer.from(assemble(failing)).toString('base64'), 7101);
  const good = records(hello());
  const echoed = { received: `got ${good.toString('latin1')}` };
  expect(
    await eventually('it listens', async () => ((answer) => (answer.error === 'ECONNREFUSED' ? undefined : answer))(await fixtureSays(7101, good))),
  ).toEqual(echoed);
  const before = dialled.length;
  expect((await fixtureSays(7101, records(hello(extension(21, Buffer.alloc(2_000, 65)))))).received ?? '').toBe('');
  expect(dialled.length).toBe(before);
  expect(envoy.said()).toContain('proxy_on_downstream_data failed');
  await eventually('the filter works again', async () => ((await fixtureSays(7101, good)).received === echoed.received ? true : undefined));

  const broken = await envoyWith(Buffer.from('no module').toString('base64'), 7102);
  expect((await broken.ended)[0]).not.toBe(0);
});
