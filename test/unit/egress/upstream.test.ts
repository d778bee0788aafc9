import { mkdtemp, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { serversOf } from '../../../src/egress/upstream/name-servers.ts';
import { UpstreamResolver, type UpstreamResolverOptions, type Wanted } from '../../../src/egress/upstream/index.ts';
import type { Said } from '../../../src/egress/upstream/question.ts';
import { WatchedName } from '../../../src/egress/upstream/watched-name.ts';
import { a, aaaa, cname, serveNames, type Reply } from './dns-server.ts';

const PUBLIC: Wanted = { aliases: [], lookupFamily: 'V4Preferred' };
// Timers and the clock are ours; sockets and the questions' own time limits are real.
const clock = { now: () => Date.now(), monotonic: () => Date.now() };
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }));
afterEach(() => void vi.useRealTimers());

interface Told {
  readonly endpoints: readonly string[];
  readonly problem: string;
  readonly reason: string;
}

/** What a watch is told, one after the other. */
const watch = (resolver: UpstreamResolver, name: string, wanted: Wanted = PUBLIC) => {
  const told: Told[] = [];
  let wake = (): void => {};
  const watching = resolver.watch(name, wanted, (endpoints, problem, reason) => {
    told.push({ endpoints, problem, reason });
    wake();
  });
  const nth = async (n: number): Promise<Told> => {
    while (told.length < n) await new Promise<void>((resolve) => (wake = resolve));
    return told[n - 1]!;
  };
  return { told, nth, end: () => watching[Symbol.dispose]() };
};

const setup = async (reply: (name: string, type: string) => Reply | Promise<Reply>, options: Partial<UpstreamResolverOptions> = {}) => {
  const server = await serveNames(reply);
  const resolver = new UpstreamResolver({ servers: [server.address], clock, ownAddresses: () => [], timeoutMs: 250, tries: 1, ...options });
  return {
    server,
    resolver,
    /** Lets time pass, and the question that is then due be asked. */
    later: async (ms: number) => {
      const before = server.asked.length;
      await vi.advanceTimersByTimeAsync(ms);
      return server.asked.length - before;
    },
    [Symbol.asyncDispose]: async () => {
      resolver[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
};

/** Waits for real I/O while timers are ours. */
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
};

test('a name is asked for once, its addresses come in a stable order; a second watch is told without a question', async () => {
  await using at = await setup(() => ({ answers: [a('db.example', '203.0.113.9'), a('db.example', '203.0.113.10')] }));
  const first = watch(at.resolver, 'db.example');
  expect(first.told).toEqual([]);
  expect(await first.nth(1)).toEqual({ endpoints: ['203.0.113.10', '203.0.113.9'], problem: '', reason: '' });
  const second = watch(at.resolver, 'db.example');
  expect((await second.nth(1)).endpoints).toHaveLength(2);
  expect(at.server.asked).toEqual(['A db.example']);
});

test('lookupFamily: which types are asked for and which addresses are taken', async () => {
  const both: Record<string, Reply> = { A: { answers: [a('x.example', '203.0.113.1')] }, AAAA: { answers: [aaaa('x.example', '2606:4700::1')] } };
  const only6: Record<string, Reply> = { A: {}, AAAA: both['AAAA']! };
  for (const [lookupFamily, replies, endpoints, asked] of [
    ['V4Preferred', both, ['203.0.113.1'], ['A']],
    ['V4Preferred', only6, ['2606:4700::1'], ['A', 'AAAA']],
    ['V4Only', only6, [], ['A']],
    ['V6Only', both, ['2606:4700::1'], ['AAAA']],
    ['Auto', both, ['2606:4700::1'], ['A', 'AAAA']],
    ['Auto', { ...both, AAAA: {} }, ['203.0.113.1'], ['A', 'AAAA']],
    ['All', both, ['203.0.113.1', '2606:4700::1'], ['A', 'AAAA']],
  ] as const) {
    await using at = await setup((_, type) => (replies as Record<string, Reply>)[type] ?? {});
    const told = await watch(at.resolver, 'x.example', { aliases: [], lookupFamily }).nth(1);
    expect([lookupFamily, told.endpoints, at.server.asked.map((question) => question.split(' ')[0]!).sort()]).toEqual([lookupFamily, endpoints, asked]);
    if (endpoints.length === 0) expect(told.reason).toBe('NameNotFound');
  }
});

test('forbidden addresses never come back: private, special, own and mapped ones; a range allows private ones in it and nothing outside', async () => {
  const v4 = ['127.0.0.1', '169.254.169.254', '10.1.2.3', '100.64.0.5', '198.18.0.1', '192.0.2.77', '0.0.0.0', '224.0.0.1', '203.0.113.1'];
  const v6 = ['::1', 'fe80::1', 'fd00:ec2::254', '::ffff:10.0.0.1', '64:ff9b::a00:1', '2606:4700::77', '2606:4700::1'];
  await using at = await setup((name, type) => ({ answers: type === 'A' ? v4.map((data) => a(name, data)) : v6.map((data) => aaaa(name, data)) }), {
    ownAddresses: () => ['192.0.2.77', '2606:4700::77'],
  });
  const ask = async (wanted: Partial<Wanted>) => (await watch(at.resolver, 'x.example', { ...PUBLIC, ...wanted }).nth(1)).endpoints;
  expect(await ask({ lookupFamily: 'All' })).toEqual(['203.0.113.1', '2606:4700::1']);
  expect(await ask({ ranges: ['10.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16'] })).toEqual(['10.1.2.3']);
  expect(await ask({ ranges: ['203.0.113.0/24'] })).toEqual(['203.0.113.1']);
  expect(await ask({ ranges: ['192.0.2.0/24'] })).toEqual([]);
  expect((await watch(at.resolver, 'x.example', { ...PUBLIC, lookupFamily: 'V4Only', ranges: ['192.0.2.0/24'] }).nth(1)).reason).toBe('ForbiddenAddress');
});

test('rebinding: an answer that turns to a private address takes the public one away', async () => {
  let address = '203.0.113.1';
  await using at = await setup((name, type) => (type === 'A' ? { answers: [a(name, address, 0)] } : {}));
  const watching = watch(at.resolver, 'x.example');
  expect((await watching.nth(1)).endpoints).toEqual(['203.0.113.1']);
  address = '169.254.169.254';
  await at.later(5_000); // a time to live of 0 counts as 5 s
  const told = await watching.nth(2);
  expect(told).toMatchObject({ endpoints: [], reason: 'ForbiddenAddress' });
  expect(told.problem).toContain('169.254.169.254');
});

test('aliases: no server is asked, a private address is fine, a forbidden one is not', async () => {
  await using at = await setup(() => ({ answers: [a('x.example', '203.0.113.1')] }), { ownAddresses: () => ['10.9.9.9'] });
  const ask = (aliases: readonly string[]) => watch(at.resolver, 'x.example', { ...PUBLIC, aliases }).nth(1);
  expect((await ask(['10.0.0.5'])).endpoints).toEqual(['10.0.0.5']);
  for (const ip of ['169.254.169.254', '127.0.0.1', '100.64.0.3', '198.18.0.1', '10.9.9.9'])
    expect(await ask([ip])).toMatchObject({ endpoints: [], reason: 'ForbiddenAddress' });
  expect(at.server.asked).toEqual([]);
});

test('CNAME chains and answers too large for UDP', async () => {
  const many = Array.from({ length: 300 }, (_, i) => a('huge.example', `203.0.${100 + (i >> 8)}.${i & 255}`));
  await using at = await setup((name, type) => {
    if (type !== 'A') return {};
    if (name === 'huge.example') return { answers: many };
    return { answers: [cname('c.example', 'd.example'), cname('d.example', 'e.example'), a('e.example', '203.0.113.4')] };
  });
  expect((await watch(at.resolver, 'c.example').nth(1)).endpoints).toEqual(['203.0.113.4']);
  expect((await watch(at.resolver, 'huge.example').nth(1)).endpoints).toHaveLength(128);
  expect(at.server.asked).toEqual(['A c.example', 'A huge.example', 'A huge.example tcp']);
});

test('NXDOMAIN and no data: said, kept 5 s and asked again', async () => {
  let reply: Reply = { rcode: 3 };
  await using at = await setup((_, type) => (type === 'A' ? reply : { rcode: 3 }));
  const watching = watch(at.resolver, 'x.example');
  expect(await watching.nth(1)).toMatchObject({ endpoints: [], reason: 'NameNotFound' });
  expect(await at.later(4_900)).toBe(0);
  reply = { answers: [a('x.example', '203.0.113.4')] };
  await at.later(200);
  expect((await watching.nth(2)).endpoints).toEqual(['203.0.113.4']);
  // A server that says that the name is gone is believed at once.
  reply = { rcode: 3 };
  await at.later(60_000);
  expect(await watching.nth(3)).toMatchObject({ endpoints: [], reason: 'NameNotFound' });
});

test('servers that fail: SERVFAIL, silence, nobody there', async () => {
  await using at = await setup((name) => (name === 'servfail.example' ? { rcode: 2 } : { silent: true }));
  const gone = new UpstreamResolver({ servers: ['127.0.0.1:1'], timeoutMs: 250, tries: 1 });
  for (const watching of [watch(at.resolver, 'servfail.example'), watch(at.resolver, 'silent.example'), watch(gone, 'x.example')])
    expect(await watching.nth(1)).toMatchObject({ endpoints: [], reason: 'NameServerUnavailable' });
  gone[Symbol.dispose]();
});

test('while servers fail, what was known is kept for ten minutes after its time; then nothing; then the name is back', async () => {
  let said: Said = { kind: 'addresses', addresses: ['203.0.113.4'], ttlS: 60 };
  const asked: number[] = [];
  const name = new WatchedName({
    name: 'x.example',
    ask: async () => {
      asked.push(Date.now());
      return said;
    },
    ownAddresses: () => [],
    clock,
  });
  const told: string[] = [];
  const watching = name.add({ aliases: [], lookupFamily: 'V4Only' }, ({ endpoints, reason }) => told.push(endpoints.join() || reason));
  await vi.advanceTimersByTimeAsync(53_000);
  said = { kind: 'failed', cause: 'ESERVFAIL' };
  await vi.advanceTimersByTimeAsync(606_000);
  expect(told).toEqual(['203.0.113.4']);
  expect(asked.length).toBeGreaterThan(100); // every five seconds
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toEqual(['203.0.113.4', 'NameServerUnavailable']);
  said = { kind: 'addresses', addresses: ['203.0.113.5'], ttlS: 60 };
  await vi.advanceTimersByTimeAsync(5_000);
  expect(told.slice(2)).toEqual(['203.0.113.5']);
  watching[Symbol.dispose]();
  const before = asked.length;
  await vi.advanceTimersByTimeAsync(600_000);
  expect(asked.length).toBe(before);
  expect(name.idle).toBe(true);
});

test('a name is renewed before its time while it is watched, never after; times to live are taken between 5 s and an hour', async () => {
  await using at = await setup((name) => ({ answers: [a(name, '203.0.113.4', name.startsWith('long') ? 1e6 : 100)] }));
  const watching = watch(at.resolver, 'x.example');
  const long = watch(at.resolver, 'long.example');
  await Promise.all([watching.nth(1), long.nth(1)]);
  expect(await at.later(89_000)).toBe(0);
  await at.later(2_000);
  await until(() => at.server.asked.length === 3);
  watching.end();
  await vi.advanceTimersByTimeAsync(3_000_000);
  expect(at.server.asked).toEqual(['A x.example', 'A long.example', 'A x.example']);
  await vi.advanceTimersByTimeAsync(600_000);
  await until(() => at.server.asked.length === 4);
  expect(at.server.asked.at(-1)).toBe('A long.example');
});

test('many names: no more questions under way than allowed, and every name is answered', async () => {
  let underWay = 0;
  let most = 0;
  const reply = async (name: string): Promise<Reply> => {
    most = Math.max(most, ++underWay);
    await new Promise((resolve) => setImmediate(resolve));
    underWay--;
    return { answers: [a(name, '203.0.113.4')] };
  };
  await using at = await setup(reply, { maxQuestions: 8, timeoutMs: 2_000 });
  await Promise.all(Array.from({ length: 100 }, (_, i) => watch(at.resolver, `h${i}.example`).nth(1)));
  expect(most).toBeLessThanOrEqual(8);
  expect(at.server.asked).toHaveLength(100);
});

test('the servers of resolv.conf, looked at again when it changes; none is a reason', async () => {
  const file = join(await mkdtemp(join(tmpdir(), 'resolv-')), 'resolv.conf');
  expect(serversOf('# x\nnameserver 192.0.2.1\n  nameserver 2001:db8::1 # y\nsearch a.b\nnameserver 1.1.1.1\nnameserver 9.9.9.9\n')).toEqual([
    '192.0.2.1',
    '2001:db8::1',
    '1.1.1.1',
  ]);
  vi.useRealTimers();
  await using server = await serveNames((name) => ({ answers: [a(name, '203.0.113.4')] }));
  using resolver = new UpstreamResolver({ resolvConf: file, ownAddresses: () => [] });
  expect(await watch(resolver, 'x.example').nth(1)).toMatchObject({ endpoints: [], reason: 'NameServerUnavailable' });
  await writeFile(`${file}.new`, `nameserver ${server.address}\n`);
  await rename(`${file}.new`, file);
  await new Promise((resolve) => setTimeout(resolve, 1_100)); // the file is looked at once a second
  expect((await watch(resolver, 'y.example').nth(1)).endpoints).toEqual(['203.0.113.4']);
});
