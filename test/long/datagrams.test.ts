import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exited, run, spawnChild } from '#lib';
import { GatewayNamespace, type RouteElement } from '#sandbox';
import type { ResourceJson } from '#wire/xds';
import { udpClusters, udpListeners } from '../../src/egress/translate/udp.ts';
import { sliceOf } from '../../src/egress/slices.ts';
import { createLab } from '../../src/supervisor/lab.ts';
import { createSandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from '../e2e/harness.ts';
import { startPackets, type Packets } from '../e2e/support/packets.ts';

/** Datagrams through a real Envoy: listeners in the gateway namespace, upstreams in another one, sandboxes beside. */

const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');
const BLOCK = '100.64.0.0/20';
const resources = new AsyncDisposableStack();
let gateway: GatewayNamespace;
let one: Packets;
let two: Packets;
let accessLog: string;

/** A resource where its type is known: without it. */
const plain = (resource: ResourceJson): object => Object.fromEntries(Object.entries(resource).filter(([field]) => field !== '@type'));

const datagrams = (destination: string, ports: string, port: number): RouteElement => ({ map: 'datagrams', source: BLOCK, destination, ports, port });

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'datagrams-'));
  resources.defer(() => rm(dir, { recursive: true }));
  accessLog = join(dir, 'access.jsonl');
  const lab = resources.use(await createLab(join(dir, 'lab')));
  gateway = resources.use(await GatewayNamespace.create(join(dir, 'gateway')));
  const sandbox = async (name: string, host: string, address: string): Promise<Packets> => {
    const network = resources.use(
      await createSandboxNetwork(gateway.path, await mkdtemp(join(dir, 's-')), name, { block: BLOCK, host, sandbox: address, inherited: false }),
    );
    return resources.use(startPackets(network.netns));
  };
  one = await sandbox('sb1', '100.64.0.0', '100.64.0.1');
  two = await sandbox('sb2', '100.64.0.2', '100.64.0.3');
  const upstream = resources.use(startPackets(lab.fixture));
  await upstream.tell({ do: 'echo', ports: [1_123, 1_124] });

  const policy = { gateway: { namespace: 'default', name: 'gw' } };
  const input = { policy, slice: sliceOf(0), netns: gateway.path, accessLog } as Parameters<typeof udpListeners>[0];
  const relays = [
    { address: '198.18.0.5', port: 123, host: 'ntp.example', route: 'EgressL4Route/default/ntp', privatePort: 20_000 },
    { address: lab.fixtureIp, port: 1_124, route: 'EgressL4Route/default/cidr', privatePort: 20_001 },
    { address: '198.18.0.6', port: 123, host: 'gone.example', route: 'EgressL4Route/default/gone', privatePort: 20_002 },
  ];
  // In place of the control plane, which gives endpoints by EDS: those of one name, none for the other.
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: { socket_address: { protocol: 'UDP', address: lab.fixtureIp, port_value: 1_123 } } } }] }];
  const clusters = udpClusters(relays, ({ host, port }) => `up/${host}:${port}`).map((cluster) =>
    cluster['type'] === 'EDS'
      ? {
          ...cluster,
          type: 'STATIC',
          eds_cluster_config: undefined,
          load_assignment: { cluster_name: cluster['name'], endpoints: JSON.stringify(cluster).includes('gone') ? [] : endpoints },
        }
      : cluster,
  );
  const config = join(dir, 'envoy.json');
  await writeFile(
    config,
    JSON.stringify({ admin: {}, static_resources: { listeners: udpListeners(input, relays).map(plain), clusters: clusters.map(plain) } }),
  );
  const args = [
    '-c',
    config,
    '--concurrency',
    '1',
    '--disable-hot-restart',
    '--file-flush-interval-msec',
    '50',
    '-l',
    'warn',
    '--component-log-level',
    'misc:error',
  ];
  const envoy = spawnChild(join(TOOLS, 'bin', 'envoy'), args, { netns: lab.stack, stdio: ['ignore', 'ignore', 'inherit'] });
  resources.defer(async () => {
    envoy.kill('SIGKILL');
    await exited(envoy);
  });
  await eventually('Envoy listens', async () => ((await run('ss', ['-uln'], { netns: gateway.path })).stdout.includes(':20002') ? true : undefined));
});
afterAll(() => resources.disposeAsync());

const send = async (from: Packets, socket: string, address: string, port: number, data: string, waitMs = 2_000) => {
  const { received, error } = await from.tell({ do: 'send', socket, address, port, data, waitMs });
  return received ?? error;
};

interface Line {
  readonly chain: string;
  readonly source: string;
  readonly destination: string;
  readonly host?: string;
  readonly route: string;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly upstream?: string;
}
const lines = async (): Promise<readonly Line[]> =>
  (await readFile(accessLog, 'utf8').catch(() => ''))
    .split('\n')
    .filter(Boolean)
    .map((text) => JSON.parse(text) as Line);

test('a name and an address are reached, and answer from the address that was dialled; two sandboxes are apart', async () => {
  const { destination } = datagrams('10.213.0.2', '1124', 20_001);
  await gateway.setBlock(BLOCK, [datagrams('198.18.0.5', '123', 20_000), datagrams(destination, '1124', 20_001), datagrams('198.18.0.6', '123', 20_002)]);
  expect(await send(one, 'name', '198.18.0.5', 123, 'first')).toBe('1123 first');
  expect(await send(two, 'name', '198.18.0.5', 123, 'second')).toBe('1123 second');
  expect(await send(one, 'name', '198.18.0.5', 123, 'third')).toBe('1123 third');
  expect(await send(one, 'address', '10.213.0.2', 1_124, 'fourth')).toBe('1124 fourth');
});

test('what no element leads anywhere is refused at once, also the port of the relay itself; a name without an address says nothing', async () => {
  for (const [address, port] of [
    ['198.18.0.5', 124],
    ['10.213.0.2', 1_123],
    ['198.18.0.9', 443],
    ['100.64.0.0', 20_000],
  ] as const) {
    const { error, ms } = await one.tell({ do: 'send', socket: `${address}:${port}`, address, port, data: 'x' });
    expect([address, port, error]).toEqual([address, port, 'ECONNREFUSED']);
    expect(ms).toBeLessThan(500);
  }
  expect(await send(one, 'gone', '198.18.0.6', 123, 'x', 300)).toBe('silence');
});

test('a way that is closed ends an open flow; a record of each flow has what it was', async () => {
  await gateway.setBlock(BLOCK, []);
  expect(await send(one, 'name', '198.18.0.5', 123, 'late')).toBe('ECONNREFUSED');
  const written = await eventually(
    'flows are recorded when they have been idle',
    async () => {
      const all = await lines();
      return all.length >= 3 ? all : undefined;
    },
    45_000,
  );
  const of = (destination: string, source: string) => written.filter((line) => line.destination === destination && line.source === source);
  expect(of('198.18.0.5:123', '100.64.0.1')).toMatchObject([
    { chain: 'udp', host: 'ntp.example', route: 'EgressL4Route/default/ntp', requestBytes: 10, responseBytes: 20, upstream: '10.213.0.2:1123' },
  ]);
  expect(of('198.18.0.5:123', '100.64.0.3')).toMatchObject([{ requestBytes: 6, responseBytes: 11 }]);
  expect(of('10.213.0.2:1124', '100.64.0.1')).toMatchObject([{ route: 'EgressL4Route/default/cidr', requestBytes: 6 }]);
  // What found no endpoint was no flow; it costs no line for each datagram.
  expect(of('198.18.0.6:123', '100.64.0.1')).toEqual([]);
});
