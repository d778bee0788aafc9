import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { L4Match, L4Route, PolicyListener, PolicySet } from '#model';
import { cidrTargets, decideConnection, rawTargets } from '#policy';
import { rangeOf } from '../../../src/egress/steering/elements.ts';
import { elementsOf, isSteeredByName, Steering, udpDestinations, UdpRelays, type MapElement, type SteeredGateway } from '../../../src/egress/steering/index.ts';
import { destinationKey } from '../../../src/egress/steering/wants.ts';
import { ipNumber, sliceOf, UDP_PORTS } from '../../../src/egress/slices.ts';

const BLOCK = '100.64.0.0/20';
const way = (...gateways: string[]) => ({ block: BLOCK, namespace: 'n', agent: 'a', gateways });

const routeOf = (listeners: readonly string[], matches: readonly L4Match[], name = 'r'): L4Route => ({
  route: { namespace: 'n', name },
  createdAt: 1,
  listeners,
  rules: [{ index: 0, matches }],
});
const policyOf = (listeners: readonly PolicyListener[], l4Routes: readonly L4Route[], more: Partial<PolicySet> = {}): PolicySet => ({
  gateway: { namespace: 'n', name: 'one' },
  revision: 'r1',
  defaultPolicy: 'deny-all',
  listeners,
  requestTimeoutMs: 1_000,
  lookupFamily: 'V4Preferred',
  hostAliases: [],
  trustBundle: '',
  aiRoutes: [],
  l4Routes,
  mcpRoutes: [],
  ...more,
});
const TLS: PolicyListener = { name: 'tls', shape: 'tls-terminate' };
const TCP: PolicyListener = { name: 'tcp', shape: 'tcp', port: 5432 };
const UDP: PolicyListener = { name: 'udp', shape: 'udp' };
const ports = (from: number, to = from) => [{ from, to }];

/** A gateway whose destinations over UDP have ports from 20000 on, in their order. */
const gatewayOf = (index: number, policy: PolicySet, names: Readonly<Record<string, string>> = {}): SteeredGateway => {
  const known = () => Object.entries(names);
  const keys = udpDestinations({ policy, names: known }).list.map(destinationKey);
  const relayOf: SteeredGateway['relayOf'] = (destination) => {
    const at = keys.indexOf(destinationKey(destination));
    return at < 0 ? undefined : 20_000 + index * 1000 + at;
  };
  return { slice: sliceOf(index), policy, names: known, relayOf };
};
const shown = (elements: readonly MapElement[]): string[] =>
  elements.map(({ map, destination, ports: on, port }) => [map, destination, on, port].filter((part) => part !== '').join(' '));
const steer = (gateways: Readonly<Record<string, SteeredGateway | undefined>>): string[] =>
  shown(elementsOf(way(...Object.keys(gateways)), (name) => gateways[name]));

test('slices of all gateways and the first one; names only a tcp listener takes go to its raw socket', () => {
  const one = gatewayOf(0, policyOf([TLS, TCP], [routeOf(['tcp'], [{ hosts: ['db.example', '*.db.example'], ports: ports(5432) }])]), {
    'db.example': '198.18.0.1',
    'a.db.example': '198.18.0.2',
    'a.b.db.example': '198.18.0.3',
    'www.example': '198.18.0.4',
  });
  const two = gatewayOf(3, policyOf([TLS], []));
  const elements = steer({ one, two });
  expect(elements.slice(0, 3)).toEqual(['route 198.18.0.0/20 15001', 'route 198.18.48.0/20 15004', 'first 15001']);
  // On port 5432 the gateway has no other listener, so every name of it goes there.
  expect(elements.slice(3)).toEqual([
    'wide 0.0.0.0-198.18.7.255 5432 15201', // its own slice begins where the addresses before all slices end
    'wide 198.20.0.0-255.255.255.255 5432 15201',
  ]);
  expect(steer({})).toEqual([]);
});

test("an address dialled without DNS goes to the first gateway with a range for it; slices are nobody's range", () => {
  const one = gatewayOf(0, policyOf([TLS], [routeOf(['tls'], [{ cidrs: ['10.1.0.0/16'], ports: ports(443) }])]));
  const two = gatewayOf(1, policyOf([TLS], [routeOf(['tls'], [{ cidrs: ['10.0.0.0/8', '198.0.0.0/8', '2001:db8::/32'], ports: ports(400, 500) }])]));
  const elements = steer({ one, two }).filter((element) => element.startsWith('wide'));
  expect(elements.sort()).toEqual([
    'wide 10.0.0.0-10.0.255.255 400-500 15002',
    'wide 10.1.0.0-10.1.255.255 400-442 15002',
    'wide 10.1.0.0-10.1.255.255 444-500 15002',
    'wide 10.2.0.0-10.255.255.255 400-500 15002',
    'wide 198.0.0.0-198.17.255.255 400-500 15002',
    'wide 198.20.0.0-198.255.255.255 400-500 15002',
  ]);
  // While the first is not there, nobody knows what it would take.
  expect(steer({ one: undefined, two })).toEqual(['route 198.18.16.0/20 15002']);
});

test('datagrams: an element for each address and port that is let through to this agent, and for nothing else', () => {
  const policy = policyOf(
    [UDP],
    [
      routeOf(['udp'], [{ hosts: ['ntp.example'], ports: ports(123), protocol: 'UDP' }]),
      routeOf(['udp'], [{ cidrs: ['203.0.113.8/31'], ports: ports(53, 54), protocol: 'UDP', agents: ['n/a'] }], 's'),
      routeOf(['udp'], [{ hosts: ['*.x.example'], ports: ports(9), protocol: 'UDP', agents: ['n/other'] }], 't'),
    ],
  );
  const one = gatewayOf(0, policy, { 'ntp.example': '198.18.0.1', 'a.x.example': '198.18.0.2' });
  expect(steer({ one }).filter((element) => element.startsWith('datagrams'))).toEqual([
    'datagrams 198.18.0.1 123 20000',
    'datagrams 203.0.113.8 53 20001',
    'datagrams 203.0.113.8 54 20002',
    'datagrams 203.0.113.9 53 20003',
    'datagrams 203.0.113.9 54 20004',
  ]);
  const other = shown(elementsOf({ ...way('one'), agent: 'other' }, () => one)).filter((element) => element.startsWith('datagrams'));
  expect(other).toEqual(['datagrams 198.18.0.1 123 20000', 'datagrams 198.18.0.2 9 20005']);
});

test('agents whose names are confined to different ranges are relayed apart; what a policy denies is relayed for nobody', () => {
  const matches: L4Match[] = [
    { hosts: ['q.example'], cidrs: ['10.0.0.0/8'], ports: ports(443), protocol: 'UDP', agents: ['n/a'] },
    { hosts: ['q.example'], ports: ports(443), protocol: 'UDP', agents: ['n/b'] },
  ];
  const names = { 'q.example': '198.18.0.1' };
  const one = gatewayOf(0, policyOf([UDP], [routeOf(['udp'], matches)]), names);
  expect(udpDestinations(one).list).toMatchObject([{ ranges: ['10.0.0.0/8'], host: 'q.example' }, { host: 'q.example' }]);
  expect(steer({ one })).toContain('datagrams 198.18.0.1 443 20000');
  expect(shown(elementsOf({ ...way('one'), agent: 'b' }, () => one))).toContain('datagrams 198.18.0.1 443 20001');
  const denied = { ...routeOf(['udp'], matches), denied: { policy: 'n/p', status: 403, message: '' } };
  expect(steer({ one: gatewayOf(0, policyOf([UDP], [denied]), names) }).join()).not.toContain('datagrams');
});

test('which new names change anything', () => {
  const set = policyOf(
    [{ name: 'tls', shape: 'tls-terminate' }, { name: 'tcp', shape: 'tcp' }, UDP],
    [
      routeOf(['tcp'], [{ hosts: ['*.db.example'], ports: ports(5432), protocol: 'TCP' }]),
      routeOf(['udp'], [{ hosts: ['ntp.example'], ports: ports(123), protocol: 'UDP' }]),
    ],
  );
  expect(['a.db.example', 'ntp.example', 'www.example', 'db.example', 'a.b.db.example'].map((name) => isSteeredByName(set, name))).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});

const targetOf = (elements: readonly MapElement[], map: MapElement['map'], address: string, port: number): number | undefined => {
  const value = ipNumber(address);
  const inside = (text: string, at: number, parse: (part: string) => number): boolean => {
    const [from, to = from] = text.split('-').map(parse);
    return from! <= at && at <= to!;
  };
  const found = elements.filter((each) => each.map === map && inside(each.destination, value, ipNumber) && inside(each.ports, port, Number));
  expect(found.length).toBeLessThanOrEqual(1);
  return found[0]?.port;
};

test('random policies of two gateways: every point goes where the targets of the first gateway that covers it say, and datagrams as policy decides', () => {
  const cidr = fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/28', '10.1.2.3/32', '203.0.113.0/28', '0.0.0.0/0');
  const range = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.nat(4)).map(([from, more]) => ports(from, from + more));
  const match = fc
    .record({
      cidrs: fc.array(cidr, { minLength: 1, maxLength: 2 }),
      ports: range,
      protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
      mine: fc.boolean(),
    })
    .map(({ mine, cidrs, ...rest }): L4Match => ({ cidrs: [...new Set(cidrs)], ...rest, ...(!mine && { agents: ['n/other'] }) }));
  const listeners = fc.constantFrom<readonly PolicyListener[]>(
    [TLS, { name: 'tcp', shape: 'tcp' }, UDP],
    [{ name: 'tcp', shape: 'tcp' }],
    [TLS, { ...TCP, port: 5 }, { ...UDP, port: 7 }],
    [UDP],
  );
  const policy = fc.tuple(listeners, fc.array(match, { maxLength: 3 })).map(([of, matches]) =>
    policyOf(
      of,
      matches.map((each, index) =>
        routeOf(
          of.map(({ name }) => name),
          [each],
          `r${index}`,
        ),
      ),
    ),
  );
  const addresses = ['10.1.2.3', '10.1.2.4', '10.1.9.9', '10.9.9.9', '203.0.113.1', '8.8.8.8', '198.19.0.9'];
  const covers = (cidrs: readonly string[], address: string): boolean =>
    cidrs.some((text) => rangeOf(text)!.from <= ipNumber(address) && ipNumber(address) <= rangeOf(text)!.to);
  const onPort = (all: readonly { from: number; to: number }[], port: number): boolean => all.some(({ from, to }) => from <= port && port <= to);
  fc.assert(
    fc.property(policy, policy, (first, second) => {
      const gateways = { one: gatewayOf(0, first), two: gatewayOf(1, second) };
      const elements = elementsOf(way('one', 'two'), (name) => gateways[name as 'one']);
      for (const address of addresses) {
        for (let port = 1; port <= 17; port++) {
          const sorts = [gateways.one, gateways.two].flatMap(({ policy: set, slice }) => {
            const mine = <T extends { agents?: readonly string[] }>(all: readonly T[]) => all.filter(({ agents }) => !agents || agents.includes('n/a'));
            const v4 = (cidrs: readonly string[]) => cidrs.filter((text) => !text.includes(':'));
            if (mine(rawTargets(set)).some((target) => covers(v4(target.cidrs), address) && onPort(target.ports, port))) return [slice.rawPort];
            const wanted = mine(cidrTargets(set)).filter(({ transport, cidr: text }) => transport === 'TCP' && !text.includes(':'));
            return wanted.some((target) => covers([target.cidr], address) && onPort(target.ports, port)) ? [slice.port] : [];
          });
          const expected = address.startsWith('198.19.') ? undefined : sorts[0];
          expect([address, port, targetOf(elements, 'wide', address, port) ?? 15_001]).toEqual([address, port, expected ?? 15_001]);
          const allowed = [first, second].findIndex(
            (set) => decideConnection(set, { agent: 'n/a', transport: 'UDP', address, port, speaks: 'plain' }).verdict === 'Allowed',
          );
          const datagram = targetOf(elements, 'datagrams', address, port);
          expect([address, port, datagram === undefined ? -1 : Math.floor((datagram - 20_000) / 1000)]).toEqual([address, port, allowed]);
        }
      }
    }),
    { numRuns: 150 },
  );
});

test('a block is told when it opens and when what it is told changes, one change after the other; what failed is told again', async () => {
  const told: string[] = [];
  let policy = policyOf([TLS], []);
  let fail = false;
  const steering = new Steering({
    setBlock: async (block, elements) => {
      if (fail) throw new Error('the worker is away');
      told.push(`${block} ${elements.length}`);
    },
    gateway: () => gatewayOf(0, policy),
    ways: [{ ...way('n/one'), block: '100.64.16.0/20' }], // from before a restart
  });
  await steering.open(way('n/one'));
  await steering.refresh();
  await steering.refresh();
  expect(told).toEqual(['100.64.0.0/20 2', '100.64.16.0/20 2']);
  policy = policyOf([TLS, TCP], []);
  await Promise.all([steering.refresh('n/one'), steering.refresh('n/one')]);
  expect(told.slice(2).sort()).toEqual(['100.64.0.0/20 4', '100.64.16.0/20 4']);
  await steering.refresh('n/another');
  policy = policyOf([TLS], []);
  fail = true;
  await expect(steering.refresh()).rejects.toThrow('away');
  fail = false;
  await steering.refresh();
  expect(told.slice(4).sort()).toEqual(['100.64.0.0/20 2', '100.64.16.0/20 2']);
  await steering.open(way('n/one')); // the worker may have emptied the block meanwhile
  expect(told.length).toBe(7);
});

test('private ports are stable over restarts, apart for each gateway, and not used again before all others', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  try {
    const file = join(dir, 'udp.json');
    const to = (...list: string[]) => list.map((address) => ({ address, port: 123, route: 'r' }));
    const first = await UdpRelays.open(file);
    const [a, b] = await Promise.all([first.assign(0, to('10.0.0.1', '10.0.0.2')), first.assign(1, to('10.0.0.1'))]);
    expect([...a, ...b].map(({ privatePort }) => privatePort)).toEqual([20_000, 20_001, 20_002]);
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ '0 10.0.0.2 123': 20_001 });
    await first.assign(0, to('10.0.0.2'));
    expect(first.of(0, to('10.0.0.1')[0]!)).toBeUndefined();
    const again = await UdpRelays.open(file);
    expect((await again.assign(0, to('10.0.0.3', '10.0.0.1'))).map(({ privatePort }) => privatePort)).toEqual([20_003, 20_000]);
    // All of the range: then the destination that was dropped first gives way.
    const many = Array.from({ length: 5000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
    for (const round of [0, 1]) await again.assign(2, to(...many.map((address) => address.replace('10.1', `10.${round + 1}`))));
    const all = Object.values(JSON.parse(await readFile(file, 'utf8')) as Record<string, number>);
    expect(new Set(all).size).toBe(all.length);
    expect(Math.max(...all)).toBeLessThanOrEqual(UDP_PORTS.to);
    expect(again.of(0, to('10.0.0.3')[0]!)).toBe(20_003);
  } finally {
    await rm(dir, { recursive: true });
  }
});
