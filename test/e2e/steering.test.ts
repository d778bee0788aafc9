import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import { GatewayNamespace, type RefusedPacket, type RouteElement } from '#sandbox';
import { ipNumber } from '../../src/egress/slices.ts';
import { addressesText, disjoint, portsText, rangeOf, type Want } from '../../src/egress/steering/elements.ts';
import { createSandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from './harness.ts';
import { startPackets, type Packets } from './support/packets.ts';

/** The maps of the gateway namespace, with sandboxes' network namespaces and sockets in place of Envoy. */

const BLOCK = '100.64.0.0/20';
const [ONE, TWO] = ['100.64.0.1', '100.64.0.3'];
const resources = new AsyncDisposableStack();
let gateway: GatewayNamespace;
let inside: Packets;
let one: Packets;
let two: Packets;

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'steering-'));
  resources.defer(() => rm(dir, { recursive: true }));
  gateway = resources.use(await GatewayNamespace.create(join(dir, 'gateway')));
  const sandbox = async (name: string, host: string, address: string): Promise<Packets> => {
    const at = await mkdtemp(join(dir, 's-'));
    const network = resources.use(await createSandboxNetwork(gateway.path, at, name, { block: BLOCK, host, sandbox: address, inherited: false }));
    return resources.use(startPackets(network.netns));
  };
  one = await sandbox('sb1', '100.64.0.0', ONE);
  two = await sandbox('sb2', '100.64.0.2', TWO);
  inside = resources.use(startPackets(gateway.path));
  await inside.tell({ do: 'greet', ports: [15_001, 15_002, 15_201, 15_101] });
  await inside.tell({ do: 'echo', ports: [20_000, 20_001] });
});
afterAll(() => resources.disposeAsync());

const element = (map: string, rest: Partial<RouteElement>): RouteElement => ({ map, source: BLOCK, destination: '', ports: '', port: 15_001, ...rest });
const wide = (destination: string, ports: string, port: number) => element('wide', { destination, ports, port });
const datagrams = (destination: string, ports: string, port: number) => element('datagrams', { destination, ports, port });
const dial = async (address: string, port: number, from = one) => {
  const { received, error } = await from.tell({ do: 'dial', address, port });
  return received ?? error;
};
const listed = async (map: string): Promise<string> => (await run('nft', ['list', 'map', 'inet', 'gateway', map], { netns: gateway.path })).stdout;

test('TCP goes where block, address and port lead it: wide before slice before first; nothing of it is left when the block is empty', async () => {
  await gateway.setBlock(BLOCK, [
    element('first', { port: 15_001 }),
    element('route', { destination: '198.18.16.0/20', port: 15_002 }),
    wide('198.18.16.5', '5432', 15_201),
    wide('203.0.113.0-203.0.113.255', '1-79', 15_002),
    wide('203.0.113.7', '80-65535', 15_201),
  ]);
  expect(await dial('192.0.2.1', 5432)).toBe('15001');
  expect(await dial('198.18.16.5', 443)).toBe('15002');
  expect(await dial('198.18.16.5', 5432)).toBe('15201');
  expect(await dial('203.0.113.9', 79)).toBe('15002');
  expect(await dial('203.0.113.9', 80)).toBe('15001');
  expect(await dial('203.0.113.7', 65_535)).toBe('15201');
  await gateway.setBlock(BLOCK, []);
  expect(await dial('203.0.113.7', 443)).toBe('ECONNREFUSED');
  for (const map of ['first', 'route', 'wide']) expect(await listed(map)).not.toContain('elements');
});

test('a block that changes is at every moment as it was or as it is to be, and other blocks are not touched', async () => {
  await gateway.setBlock('100.64.16.0/20', [element('first', { source: '100.64.16.0/20', port: 15_009 })]);
  await gateway.setBlock(BLOCK, [wide('203.0.113.0-203.0.113.255', '443', 15_001)]);
  let done = false;
  const seen = new Set<string | undefined>();
  const dialling = (async () => {
    while (!done) seen.add(await dial('203.0.113.7', 443));
  })();
  for (let i = 0; i < 60; i++) {
    const parts =
      i % 2 === 0 ? [wide('203.0.113.0-203.0.113.6', '443', 15_001), wide('203.0.113.7', '1-443', 15_002)] : [wide('203.0.113.0-203.0.113.255', '443', 15_001)];
    await gateway.setBlock(BLOCK, parts);
  }
  done = true;
  await dialling;
  expect(seen).toEqual(new Set(['15001', '15002']));
  expect(await listed('first')).toContain('100.64.16.0/20 : 15009');
  await gateway.setBlock('100.64.16.0/20', []);
});

test('an element that is not well formed, or of another block, changes nothing', async () => {
  await gateway.setBlock(BLOCK, [element('first', { port: 15_001 })]);
  for (const bad of [
    wide('10.0.0.0/8', '1', 1),
    wide('10.0.0.1', '0', 1),
    element('first', { source: '100.64.16.0/20' }),
    element('parked', { source: '::1' }),
  ])
    await expect(gateway.setBlock(BLOCK, [bad])).rejects.toThrow(RangeError);
  // The kernel refuses a range that is none; what was there stays.
  await expect(gateway.setBlock(BLOCK, [wide('10.0.0.9-10.0.0.1', '1', 1)])).rejects.toThrow('nft');
  expect(await dial('192.0.2.1', 1)).toBe('15001');
});

test('random elements, one set after the other: the kernel has exactly those that were asked for', async () => {
  const range = (most: number) => fc.tuple(fc.nat(most), fc.nat(most)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
  const base = 0xcb00_7100; // 203.0.113.0
  const wants = fc.array(
    fc
      .tuple(range(255), range(65_534), fc.integer({ min: 1, max: 4 }))
      .map(([[from, to], [a, b], target]): Want => ({ from: base + from, to: base + to, fromPort: a + 1, toPort: b + 1, target })),
    { maxLength: 8 },
  );
  for (const all of fc.sample(wants, 60)) {
    const elements = disjoint(all).map((want) => wide(addressesText(want), portsText(want), want.target));
    await gateway.setBlock(BLOCK, elements);
    const shown = [...(await listed('wide')).matchAll(/100\.64\.0\.0\/20 \. (\S+) \. (\S+) : (\d+)/g)];
    expect(shown.map(([, destination, ports, port]) => `${rangeText(destination!)} ${ports} ${port}`).sort()).toEqual(
      elements.map(({ destination, ports, port }) => `${rangeText(destination)} ${ports} ${port}`).sort(),
    );
  }
  await gateway.setBlock(BLOCK, []);
  expect(await listed('wide')).not.toContain('elements');
});

test('thousands of elements in one step', async () => {
  const many = Array.from({ length: 4_000 }, (_, i) => wide(`10.${i >> 8}.${i & 255}.1`, '1-65535', 15_001));
  const start = performance.now();
  await gateway.setBlock(BLOCK, many);
  const added = performance.now() - start;
  expect(await dial('10.15.159.1', 443)).toBe('15001');
  await gateway.setBlock(BLOCK, many.slice(0, -1));
  expect(await dial('10.15.159.1', 443)).toBe('ECONNREFUSED');
  const removing = performance.now();
  await gateway.setBlock(BLOCK, []);
  console.log(`4,000 elements: added in ${Math.round(added)} ms, removed in ${Math.round(performance.now() - removing)} ms`);
});

/** nft shows a range that is a prefix as one. */
const rangeText = (text: string): string => {
  const [first, last] = text.split('-');
  return JSON.stringify(last === undefined ? rangeOf(text) : { from: ipNumber(first!), to: ipNumber(last) });
};

const send = async (from: Packets, socket: string, address: string, port: number, data = 'x', waitMs = 2_000) => {
  const { received, error, ms } = await from.tell({ do: 'send', socket, address, port, data, waitMs });
  expect(ms).toBeLessThan(error === 'silence' ? waitMs + 500 : 500);
  return received ?? error;
};

test('datagrams reach what an element leads them to, answers come from the dialled address, and all else is refused at once', async () => {
  await gateway.setBlock(BLOCK, [datagrams('198.18.0.5', '123', 20_000), datagrams('203.0.113.9', '123', 20_001)]);
  expect(await send(one, 'a', '198.18.0.5', 123, 'hello')).toBe('20000 hello');
  expect(await send(one, 'b', '203.0.113.9', 123, 'hello')).toBe('20001 hello');
  expect(await send(two, 'a', '198.18.0.5', 123, 'other')).toBe('20000 other');
  for (const [address, port] of [
    ['198.18.0.5', 124],
    ['198.18.0.6', 123],
    ['203.0.113.9', 443],
    ['8.8.8.8', 443],
    ['100.64.0.2', 20_000],
  ] as const)
    expect(await send(one, `${address}:${port}`, address, port)).toBe('ECONNREFUSED');
});

test('an element taken away ends what is open, in both directions; a sandbox without a run sends nothing', async () => {
  await gateway.setBlock(BLOCK, [datagrams('198.18.0.5', '123', 20_000)]);
  expect(await send(one, 'c', '198.18.0.5', 123, 'before')).toBe('20000 before');
  await gateway.setBlock(BLOCK, []);
  expect(await send(one, 'c', '198.18.0.5', 123, 'after')).toBe('ECONNREFUSED');
  await gateway.setBlock(BLOCK, [datagrams('198.18.0.5', '123', 20_000)]);
  expect(await send(one, 'c', '198.18.0.5', 123, 'again')).toBe('20000 again');
  await gateway.setRoute({ map: 'parked', source: ONE, destination: '', ports: '', port: 15_101 });
  expect(await send(one, 'c', '198.18.0.5', 123)).toBe('ECONNREFUSED');
  expect(await dial('198.18.0.5', 443)).toBe('15101');
  expect(await send(two, 'c', '198.18.0.5', 123, 'two')).toBe('20000 two');
  await gateway.deleteRoute({ map: 'parked', source: ONE, destination: '', ports: '' });
  expect(await send(one, 'c', '198.18.0.5', 123, 'run')).toBe('20000 run');
});

test('many refusals in a row are all told at once, not one a second', async () => {
  for (let i = 0; i < 20; i++) expect(await send(one, `many ${i}`, '192.0.2.9', 9_000 + i)).toBe('ECONNREFUSED');
});

test('what is refused is told once a minute, of each sandbox no more than its share', async () => {
  const abort = new AbortController();
  const told: RefusedPacket[] = [];
  const reading = (async () => {
    for await (const packet of gateway.refusals(abort.signal)) told.push(packet);
  })();
  const of = (source: string, destination: string) => told.filter((packet) => packet.source === source && packet.destination === destination);
  await send(two, 'quic', '192.0.2.44', 443);
  await send(two, 'quic', '192.0.2.44', 443);
  await eventually('a refused datagram is told', () => (of(TWO, '192.0.2.44').length > 0 ? true : undefined));
  expect(of(TWO, '192.0.2.44')).toMatchObject([{ source: TWO, protocol: 'udp', destination: '192.0.2.44', port: 443 }]);
  expect(Math.abs(of(TWO, '192.0.2.44')[0]!.time - Date.now())).toBeLessThan(5_000);
  for (let i = 0; i < 200; i++) await send(one, `flood ${i}`, '192.0.2.50', 1_000 + i);
  await send(two, 'mdns', '192.0.2.46', 5353);
  await eventually('the neighbour of a flood is heard', () => (of(TWO, '192.0.2.46').length > 0 ? true : undefined));
  expect(of(ONE, '192.0.2.50').length).toBeLessThan(80);
  expect(of(TWO, '192.0.2.44')).toHaveLength(1);
  abort.abort();
  await reading;
});
