import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Binding, EgressLine } from '#model';
import { NameAddresses, type NameAddressesOptions } from '../../../src/egress/names/addresses.ts';
import { DeniedNames } from '../../../src/egress/names/denied.ts';
import { createResolver, type NamingGateway } from '../../../src/egress/names/resolver.ts';
import { NAMES_PER_SLICE, sliceOf } from '../../../src/egress/slices.ts';

let now = 1_000_000;
const clock = { now: () => now, monotonic: () => now };
const SANDBOX = '100.64.0.5';
const PARKED = '100.64.0.9';

const setup = (gateways: Record<string, NamingGateway | undefined>) => {
  const lines: EgressLine[] = [];
  const tried: string[] = [];
  const binding: Binding = {
    address: SANDBOX,
    block: '100.64.0.0/20',
    namespace: 'n',
    agent: 'a',
    invocation: 'i',
    traceId: '',
    spanId: '',
    gateways: Object.keys(gateways),
  };
  const resolver = createResolver({
    binding: (address) => (address === SANDBOX ? binding : undefined),
    parked: (address) => (address === PARKED ? { ...binding, address } : undefined),
    tried: (address, name) => void tried.push(`${address} ${name}`),
    gateway: (name) => gateways[name],
    record: async (line) => void lines.push(line),
    clock,
  });
  const ask = (name: string, type = 'A', source = SANDBOX) => resolver.resolve({ source, name, type });
  return { ask, lines, tried, resolver };
};

const gateway = (index: number, admitted: Record<string, string>, terminates = true, agent = 'n/a'): NamingGateway => {
  const denied = new DeniedNames(index, clock);
  return {
    admitsName: (who, name) => who === agent && Object.hasOwn(admitted, name),
    addressOf: async (name) => admitted[name] || undefined,
    nameOf: (address) => Object.keys(admitted).find((name) => admitted[name] === address),
    deny: (name) => (terminates ? denied.answer(name) : undefined),
  };
};

test('gateways are asked in order; the first that admits the name answers from its own slice', async () => {
  const { ask, lines } = setup({
    'n/one': gateway(0, { 'a.example': '198.18.0.1' }),
    'n/two': gateway(1, { 'a.example': '198.18.16.1', 'b.example': '198.18.16.2' }),
  });
  expect(await ask('A.Example.')).toEqual({ rcode: 'NOERROR', addresses: ['198.18.0.1'], pointer: '', ttl: 60 });
  expect(await ask('b.example')).toMatchObject({ addresses: ['198.18.16.2'] });
  for (const type of ['AAAA', 'HTTPS', 'SVCB', 'TXT', 'MX', 'NULL', 'ANY'])
    expect(await ask('a.example', type)).toMatchObject({ rcode: 'NOERROR', addresses: [] });
  // Each is one record a minute, whatever is asked of the name.
  expect(lines).toMatchObject([
    { event: 'dns', gateway: 'n/one', source: SANDBOX, host: 'a.example', verdict: 'Allowed', reason: 'Allowed' },
    { event: 'dns', gateway: 'n/two', source: SANDBOX, host: 'b.example', verdict: 'Allowed', reason: 'Allowed' },
  ]);
  now += 61_000;
  await ask('b.example');
  expect(lines).toHaveLength(3);
});

test('a name is admitted for one agent and refused for another', async () => {
  const { ask, lines } = setup({ 'n/one': gateway(0, { 'a.example': '198.18.0.1' }, false, 'n/other') });
  expect(await ask('a.example')).toMatchObject({ rcode: 'NXDOMAIN', addresses: [] });
  expect(lines).toMatchObject([{ host: 'a.example', verdict: 'Denied', reason: 'NoRoute' }]);
});

test('a gateway without a free address fails the question, and says so in the record', async () => {
  const { ask, lines } = setup({ 'n/one': gateway(0, { 'a.example': '' }) });
  expect(await ask('a.example')).toMatchObject({ rcode: 'SERVFAIL', addresses: [] });
  expect(lines).toMatchObject([{ gateway: 'n/one', verdict: 'Denied', reason: 'TooManyNames' }]);
});

test('reverse questions: the name of an address this sandbox has asked for, else nothing', async () => {
  const { ask } = setup({ 'n/one': gateway(0, { 'a.example': '198.18.0.1', 'b.example': '198.18.0.2' }) });
  await ask('a.example');
  expect(await ask('1.0.18.198.in-addr.arpa', 'PTR')).toEqual({ rcode: 'NOERROR', addresses: [], pointer: 'a.example', ttl: 60 });
  for (const name of ['2.0.18.198.in-addr.arpa', '9.0.18.198.in-addr.arpa', '8.8.8.8.in-addr.arpa'])
    expect(await ask(name, 'PTR')).toMatchObject({ rcode: 'NXDOMAIN', pointer: '' });
});

test('a name no route admits: the deny slice of the first gateway that terminates TLS, else NXDOMAIN; recorded once a minute', async () => {
  const { ask, lines } = setup({ 'n/one': gateway(0, {}, false), 'n/two': gateway(1, {}) });
  const [address] = (await ask('evil.example')).addresses;
  expect(address).toMatch(/^198\.18\.(2[4-9]|3[01])\./);
  await ask('evil.example', 'AAAA');
  await ask('evil.example');
  expect(lines).toMatchObject([{ event: 'dns', gateway: 'n/two', source: SANDBOX, host: 'evil.example', verdict: 'Denied', reason: 'NoRoute' }]);
  now += 61_000;
  await ask('evil.example');
  expect(lines).toHaveLength(2);
  const none = setup({ 'n/one': gateway(0, {}, false) });
  expect(await none.ask('evil.example')).toMatchObject({ rcode: 'NXDOMAIN', addresses: [] });
  expect(none.lines).toMatchObject([{ gateway: 'n/one', reason: 'NoRoute' }]);
});

test('without a binding everything is refused; reserved names need no gateway; a gateway that is not there yet fails the question', async () => {
  const { ask, lines } = setup({});
  expect(await ask('a.example', 'A', '100.64.0.7')).toMatchObject({ rcode: 'REFUSED', addresses: [] });
  expect(lines).toMatchObject([{ source: '100.64.0.7', reason: 'NotClaimed' }]);
  expect(await ask('metadata.clrk.internal')).toMatchObject({ addresses: ['198.19.255.1'] });
  expect(await ask('otlp.clrk.internal', 'AAAA')).toMatchObject({ rcode: 'NOERROR', addresses: [] });
  expect(await ask('constructor')).toMatchObject({ rcode: 'NXDOMAIN' });
  expect(await setup({ 'n/one': undefined }).ask('a.example')).toMatchObject({ rcode: 'SERVFAIL' });
});

test('a sandbox without a run learns no address, not even a reserved one; its gateway has the record, and what it tried is told', async () => {
  const { ask, lines, tried } = setup({ 'n/one': gateway(0, { 'a.example': '198.18.0.1' }) });
  for (const name of ['a.example', 'metadata.clrk.internal']) expect(await ask(name, 'A', PARKED)).toMatchObject({ rcode: 'REFUSED', addresses: [] });
  expect(lines).toMatchObject([
    { source: PARKED, gateway: 'n/one', host: 'a.example', reason: 'NotClaimed' },
    { source: PARKED, gateway: 'n/one', host: 'metadata.clrk.internal', reason: 'NotClaimed' },
  ]);
  expect(tried).toEqual([`${PARKED} a.example`, `${PARKED} metadata.clrk.internal`]);
});

test('names that are no names are refused before anything else sees them', async () => {
  const { ask } = setup({ 'n/one': gateway(0, {}) });
  for (const name of [
    '',
    '.',
    'a..b',
    'a b',
    'xn--\u0000',
    '203.0.113.1',
    '0x7f.0.0.1',
    'a_b.example',
    'ex\u00e4mple',
    'a.example:443',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(140)}b`,
  ])
    expect([name, (await ask(name)).rcode]).toEqual([name, 'NXDOMAIN']);
});

test('limits of one sandbox: twenty new denied names a minute, 512 names in all; another is not affected', async () => {
  const { ask } = setup({ 'n/one': gateway(0, {}) });
  const answered = async (from: number, to: number) => {
    let count = 0;
    for (let i = from; i < to; i++) if ((await ask(`x${i}.example`)).addresses.length > 0) count++;
    return count;
  };
  now = 60_000_000;
  expect(await answered(0, 600)).toBe(20);
  now += 60_000;
  expect(await answered(0, 600)).toBe(40); // what was answered before, and twenty more
  const many = setup({ 'n/one': gateway(0, Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`x${i}.example`, '198.18.0.9']))) });
  let refused = 0;
  for (let i = 0; i < 600; i++) if ((await many.ask(`x${i}.example`)).rcode === 'REFUSED') refused++;
  expect(refused).toBe(88);
  many.resolver.forget(SANDBOX);
  expect(await many.ask('x599.example')).toMatchObject({ rcode: 'NOERROR' });
});

test('a flood of questions is cut at the records, too: after 240 in a minute one says that there were more', async () => {
  const { ask, lines } = setup({ 'n/one': gateway(0, {}) });
  now = 120_000_000;
  for (let i = 0; i < 1000; i++) await ask(`x${i} y`);
  expect(lines).toHaveLength(241);
  expect(lines.at(-1)).toMatchObject({ host: '', verdict: 'Denied', reason: 'TooManyQuestions' });
  now += 60_000;
  await ask('z z');
  expect(lines.at(-1)).toMatchObject({ host: 'z z', reason: 'InvalidName' });
});

const inDirectory = async (work: (open: (options?: Partial<NameAddressesOptions>) => Promise<NameAddresses>, dir: string) => Promise<void>): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  try {
    await work((options) => NameAddresses.open({ dir, gateway: 'n/one', index: 2, clock, ...options }), dir);
  } finally {
    await rm(dir, { recursive: true });
  }
};
const names = (from: number, count: number): string[] => Array.from({ length: count }, (_, i) => `h${from + i}.example`);

test('addresses are stable over restarts, unique, on disk before they are given out, and lead back to their names', () =>
  inDirectory(async (open, dir) => {
    const first = await open();
    await first.admit(names(0, 3));
    const known = names(0, 3).map((name) => first.of(name));
    expect(known).toEqual(['198.18.32.1', '198.18.32.2', '198.18.32.3']);
    expect(await Promise.all([first.assign('new.example'), first.assign('new.example'), first.assign('h1.example')])).toEqual([
      '198.18.32.4',
      '198.18.32.4',
      '198.18.32.2',
    ]);
    expect(JSON.parse(await readFile(join(dir, '2.json'), 'utf8'))).toMatchObject({ names: { 'new.example': 3 } });
    const again = await open();
    await again.admit(names(10, 5));
    expect(names(0, 3).map((name) => again.of(name))).toEqual(known);
    expect(again.nameOf('198.18.32.4')).toBe('new.example');
    for (const address of ['198.18.32.0', '198.18.32.200', '198.18.48.4', '198.18.40.4', '203.0.113.1']) expect(again.nameOf(address)).toBeUndefined();
    expect((await open({ gateway: 'n/other' })).of('h1.example')).toBeUndefined();
  }));

test('an address whose name cannot be written is not given out', () =>
  inDirectory(async (open, dir) => {
    const addresses = await open();
    await mkdir(join(dir, '2.json')); // nothing can be renamed to it
    await expect(Promise.all([addresses.assign('a.example'), addresses.assign('b.example')])).rejects.toThrow();
    expect([addresses.of('a.example'), addresses.nameOf('198.18.32.1')]).toEqual([undefined, undefined]);
    await rm(join(dir, '2.json'), { recursive: true });
    expect(await addresses.assign('b.example')).toBe('198.18.32.1');
  }));

test('a full slice: the least recently asked gives way, but for what policy lists and what was just answered', () =>
  inDirectory(async (open) => {
    const assigned: string[] = [];
    const addresses = await open({ assigned: async (name) => void assigned.push(name) });
    await addresses.admit(['listed.example']);
    await Promise.all(names(0, NAMES_PER_SLICE - 1).map((name) => addresses.assign(name)));
    // Whoever asked a moment ago may be about to dial.
    expect(await addresses.assign('late.example')).toBeUndefined();
    now += 100_000;
    await addresses.assign('h0.example');
    const free = addresses.of('h1.example');
    expect(await addresses.assign('late.example')).toBe(free);
    expect([addresses.of('h1.example'), addresses.nameOf(free!)]).toEqual([undefined, 'late.example']);
    for (const name of ['listed.example', 'h0.example', 'h2.example']) expect(addresses.of(name)).toBeDefined();
    expect(assigned.filter((name) => !name.startsWith('h'))).toEqual(['late.example']);
    now += 100_000;
    await addresses.admit(names(5000, NAMES_PER_SLICE + 2));
    const all = names(5000, NAMES_PER_SLICE + 2).flatMap((name) => addresses.of(name) ?? []);
    expect([new Set(all).size, all.length]).toEqual([NAMES_PER_SLICE, NAMES_PER_SLICE]);
  }));

test('a name is given out when what follows from it is in force, to all who ask; what failed is tried again', () =>
  inDirectory(async (open) => {
    const gate = Promise.withResolvers<void>();
    let calls = 0;
    const addresses = await open({ assigned: () => (calls++ === 0 ? gate.promise : Promise.resolve()) });
    const given: string[] = [];
    const ask = async () => void given.push((await addresses.assign('a.example').catch(() => 'failed'))!);
    const both = Promise.all([ask(), ask()]);
    await expect.poll(() => calls).toBe(1);
    void ask();
    await new Promise((resolve) => setImmediate(resolve));
    expect(given).toEqual([]);
    gate.reject(new Error('the worker is away'));
    await both;
    expect(given).toEqual(['failed', 'failed', 'failed']);
    await ask();
    expect(given.at(-1)).toBe('198.18.32.1');
    expect(calls).toBe(2);
  }));

test('slices do not overlap, and leave the reserved addresses alone', () => {
  expect(sliceOf(0)).toEqual({
    all: '198.18.0.0/20',
    admitted: '198.18.0.0/21',
    denied: '198.18.8.0/21',
    port: 15_001,
    unclaimedPort: 15_101,
    rawPort: 15_201,
    floodedPort: 15_301,
  });
  expect(sliceOf(30)).toEqual({
    all: '198.19.224.0/20',
    admitted: '198.19.224.0/21',
    denied: '198.19.232.0/21',
    port: 15_031,
    unclaimedPort: 15_131,
    rawPort: 15_231,
    floodedPort: 15_331,
  });
});
