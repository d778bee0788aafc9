import { appendFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AsyncQueue, RecordFile, systemClock } from '#lib';
import type { Binding, BindingLine } from '#model';
import { Claims, connect, createRpcServer, status, type Client } from '#wire';
import { Bindings } from '../../../src/egress/bindings.ts';
import { claimsService } from '../../../src/egress/claims.ts';
import { sliceOf, type Slice } from '../../../src/egress/slices.ts';
import { Bindings as Recorded } from '../../../src/telemetry/recorder/bindings.ts';

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  file = join(dir, 'bindings.jsonl');
});
afterEach(() => rm(dir, { recursive: true }));

const binding = (n: number, invocation = `i${n}`): Binding => ({
  address: `100.64.0.${n}`,
  block: '100.64.0.0/20',
  namespace: 'n',
  agent: 'a',
  invocation,
  traceId: 't',
  spanId: 's',
  gateways: ['n/one', 'n/two'],
});
const lines = async (): Promise<readonly BindingLine[]> =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as BindingLine);

/** The service as a worker sees it, over a real socket. */
const serve = async (ready: Record<string, number>, waitMs = 8_000) => {
  const bindings = await Bindings.open(file, systemClock, true);
  const elements: string[] = [];
  const released: string[] = [];
  const server = createRpcServer().add(
    Claims,
    claimsService({
      bindings,
      waitMs,
      inForce: (name, signal) =>
        name in ready
          ? Promise.resolve(sliceOf(ready[name]!))
          : new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
      open: async ({ block, namespace, agent, gateways }) => void elements.push(`open ${block} ${namespace}/${agent} ${gateways.join()}`),
      park: async (address, port) => void elements.push(`park ${address} ${port}`),
      released: (address) => released.push(address),
    }),
  );
  const socket = join(dir, 's.sock');
  await server.listen(socket);
  const client = connect(Claims, socket);
  const close = async (): Promise<void> => {
    client.close();
    await server[Symbol.asyncDispose]();
    await bindings[Symbol.asyncDispose]();
  };
  return { client, bindings, elements, released, [Symbol.asyncDispose]: close };
};

const message = (of: Binding) => ({ ...of, gateways: [...of.gateways] });

test('a claim opens the ways to its gateways in order, and is on disk when it is answered', async () => {
  await using served = await serve({ 'n/one': 3, 'n/two': 0 });
  expect(await served.client.bind(message(binding(5)))).toMatchObject({ refused: '' });
  expect(served.elements).toEqual(['open 100.64.0.0/20 n/a n/one,n/two']);
  expect(await lines()).toMatchObject([{ event: 'bind', address: '100.64.0.5', invocation: 'i5', gateways: ['n/one', 'n/two'] }]);
  expect(await served.client.bind(message(binding(5)))).toMatchObject({ refused: '' });
  expect(await lines()).toHaveLength(1);
  await served.client.release({ address: '100.64.0.5', invocation: 'other' });
  expect(served.bindings.get('100.64.0.5')).toBeDefined();
  await served.client.release({ address: '100.64.0.5', invocation: 'i5' });
  expect(served.bindings.get('100.64.0.5')).toBeUndefined();
  expect(served.released).toEqual(['100.64.0.5']);
  expect(await lines()).toMatchObject([{ event: 'bind' }, { event: 'release', invocation: 'i5' }]);
});

test('a gateway that does not come into force in time refuses the claim and binds nothing', async () => {
  await using served = await serve({ 'n/one': 0 }, 50);
  const answer = await served.client.bind(message(binding(5)));
  expect(answer).toMatchObject({ refused: 'GatewayNotReady', message: expect.stringContaining('n/two') });
  expect(answer.message).not.toContain('n/one');
  expect(served.bindings.all).toEqual([]);
  expect(served.elements).toEqual([]);
});

test('without gateways there is nothing to wait for', async () => {
  await using served = await serve({});
  expect(await served.client.bind({ ...message(binding(5)), gateways: [] })).toMatchObject({ refused: '' });
  expect(served.elements).toEqual(['open 100.64.0.0/20 n/a ']); // which closes what another agent had
});

test('what is no address or block never becomes part of a rule', async () => {
  await using served = await serve({ 'n/one': 0, 'n/two': 1 });
  for (const bad of [{ address: '100.64.0.5; flush' }, { address: '::1' }, { block: '100.64.0.0' }, { block: '0.0.0.0/0' }, { block: '100.64.0.0/20 }' }])
    await expect(served.client.bind({ ...message(binding(5)), ...bad })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(served.elements).toEqual([]);
});

type ParkMessage = Parameters<Client<typeof Claims>['park']>[0] extends AsyncIterable<infer M> ? M : never;

/** A parked address: its first answer, and what comes after it. */
const park = (client: Client<typeof Claims>, n: number) => {
  const { address, block, namespace, agent, gateways } = binding(n);
  const gone = new AbortController();
  const messages = new AsyncQueue<ParkMessage>();
  messages.push({ message: { case: 'park', value: { address, block, namespace, agent, gateways: [...gateways] } } });
  const answers = client.park(messages, { signal: gone.signal })[Symbol.asyncIterator]();
  return {
    next: async () => (await answers.next()).value,
    bind: (to: Binding) => messages.push({ message: { case: 'bind', value: message(to) } }),
    leave: () => gone.abort(),
  };
};

test('a parked address has its ways and no run: it is refused until it is bound, which touches nothing but the binding', async () => {
  await using served = await serve({ 'n/one': 3, 'n/two': 0 });
  const parked = park(served.client, 5);
  expect(await parked.next()).toMatchObject({ refused: '' });
  expect(served.elements).toEqual(['open 100.64.0.0/20 n/a n/one,n/two', 'park 100.64.0.5 15104']);
  expect(served.bindings.get('100.64.0.5')).toBeUndefined();
  served.elements.length = 0;
  parked.bind(binding(5));
  expect(await parked.next()).toMatchObject({ refused: '' });
  expect(served.elements).toEqual([]);
  expect(served.bindings.get('100.64.0.5')).toMatchObject({ invocation: 'i5' });
  expect(served.bindings.parked('100.64.0.5')).toBeUndefined();
  parked.leave(); // it is a run's by now
  await served.client.release({ address: '100.64.0.5', invocation: 'i5' });
  expect(await lines()).toMatchObject([
    { event: 'park', address: '100.64.0.5', agent: 'a', invocation: '', gateways: ['n/one', 'n/two'] },
    { event: 'bind', invocation: 'i5' },
    { event: 'release', invocation: 'i5' },
  ]);
});

test('the stream of a parked address binds no other address', async () => {
  await using served = await serve({ 'n/one': 3, 'n/two': 0 });
  const parked = park(served.client, 5);
  await parked.next();
  parked.bind(binding(7));
  await expect(parked.next()).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(served.bindings.all).toEqual([]);
  await expect.poll(() => served.released).toEqual(['100.64.0.5']);
});

/** The service without a socket, so that what happens between its steps can be chosen; a gateway is in force when it is said. */
const direct = async () => {
  const bindings = await Bindings.open(file, systemClock, true);
  const inForce = Promise.withResolvers<Slice>();
  const service = claimsService({ bindings, inForce: () => inForce.promise, open: async () => {}, park: async () => {}, released: () => {} });
  const abort = new AbortController();
  const context = { signal: abort.signal, metadata: () => undefined };
  const ready = async (): Promise<void> => {
    inForce.resolve(sliceOf(3));
    // What needs no disk happens now.
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  };
  const bind = (of: Binding) => Promise.resolve(service.bind(create(Claims.method.bind.input, message(of)), context));
  return { bindings, abort, ready, bind, [Symbol.asyncDispose]: () => bindings[Symbol.asyncDispose]() };
};

test('a claim that is given up before its gateways are in force binds nothing', async () => {
  await using served = await direct();
  const answer = served.bind(binding(5));
  served.abort.abort();
  await served.ready();
  await expect(answer).rejects.toMatchObject({ code: status.CANCELLED });
  expect(served.bindings.all).toEqual([]);
});

test('what a parked sandbox tries while it is claimed refuses the claim', async () => {
  await using served = await direct();
  await served.bindings.park(binding(5), () => {});
  const answer = served.bind(binding(5));
  served.bindings.tried('100.64.0.5', 'a.example', Date.now());
  await served.ready();
  expect(await answer).toMatchObject({ refused: 'StartsBeforeEvent' });
  expect(served.bindings.all).toEqual([]);
});

test('what a parked sandbox tries is told once, and it cannot be claimed any more', async () => {
  await using served = await serve({ 'n/one': 3, 'n/two': 0 });
  const parked = park(served.client, 5);
  await parked.next();
  served.bindings.tried('100.64.0.5', 'long.ago', 1);
  served.bindings.tried('100.64.0.7', 'by.another', Date.now());
  expect(served.bindings.parked('100.64.0.5')?.tried).toBeUndefined();
  served.bindings.tried('100.64.0.5', 'a.example', Date.now());
  expect(await parked.next()).toMatchObject({ refused: 'StartsBeforeEvent', message: expect.stringContaining('a.example') });
  expect(await served.client.bind(message(binding(5)))).toMatchObject({ refused: 'StartsBeforeEvent' });
  parked.bind(binding(5));
  expect(await parked.next()).toMatchObject({ refused: 'StartsBeforeEvent' });
  expect(served.bindings.get('100.64.0.5')).toBeUndefined();
  parked.leave();
  await expect.poll(() => served.released).toEqual(['100.64.0.5']);
  expect(await lines()).toMatchObject([{ event: 'park' }, { event: 'release', invocation: '' }]);
});

test('a gateway that is not in force parks nothing, and no parked address outlives egress', async () => {
  {
    await using served = await serve({ 'n/one': 3 }, 20);
    expect(await park(served.client, 7).next()).toMatchObject({ refused: 'GatewayNotReady' });
    expect(served.elements).toEqual([]);
  }
  const first = await Bindings.open(file, systemClock, true);
  await first.park(binding(5), () => {});
  await first[Symbol.asyncDispose]();
  const second = await Bindings.open(file, systemClock, true);
  expect(second.parked('100.64.0.5')).toBeUndefined();
  await second[Symbol.asyncDispose]();
  expect(await lines()).toMatchObject([{ event: 'park' }, { event: 'release', address: '100.64.0.5', invocation: '' }]);
});

test('a run that is over still had its address when it had it', async () => {
  await using bindings = await Bindings.open(file, systemClock, true);
  await bindings.bind(binding(5));
  const during = Date.now();
  await bindings.release('100.64.0.5', 'i5');
  const after = Date.now() + 1;
  expect(bindings.get('100.64.0.5')).toBeUndefined();
  expect([bindings.at('100.64.0.5', during)?.invocation, bindings.at('100.64.0.5', after)]).toEqual(['i5', undefined]);
  await bindings.bind(binding(5, 'next'));
  expect([bindings.at('100.64.0.5', during)?.invocation, bindings.at('100.64.0.5', after)?.invocation]).toEqual(['i5', 'next']);
});

test('bindings outlive egress, not their worker', async () => {
  const first = await Bindings.open(file, systemClock, true);
  await Promise.all([first.bind(binding(5)), first.bind(binding(7)), first.bind(binding(9))]);
  await first.release('100.64.0.7', 'i7');
  await first.bind(binding(9, 'next')); // the address was given to another run
  await first[Symbol.asyncDispose]();
  await appendFile(file, '{"event":"bind","addr'); // torn by a crash
  const second = await Bindings.open(file, systemClock, true);
  expect(second.all.map(({ address, invocation }) => [address, invocation])).toEqual([
    ['100.64.0.5', 'i5'],
    ['100.64.0.9', 'next'],
  ]);
  expect(second.get('100.64.0.5')).toMatchObject(binding(5));
  await second.bind(binding(11));
  await second[Symbol.asyncDispose]();
  const third = await Bindings.open(file, systemClock, true);
  expect(third.all).toHaveLength(3); // the torn line swallowed nothing
  await third[Symbol.asyncDispose]();
  const afterWorker = await Bindings.open(file, systemClock, false);
  expect(afterWorker.all).toEqual([]);
  await afterWorker[Symbol.asyncDispose]();
  expect((await readFile(file, 'utf8')).match(/"release"/g)).toHaveLength(5);
});

test('a record file that has grown is put aside, begins with what still holds, and old ones go', async () => {
  let time = 1;
  const records = new RecordFile<object>(file, { now: () => time++, carry: () => [{ carried: true }], rotateBytes: 100 });
  for (let i = 0; i < 40; i++) await records.append({ i, text: 'x'.repeat(60) });
  await records[Symbol.asyncDispose]();
  const names = await readdir(dir);
  expect(names.filter((name) => name.startsWith('bindings.jsonl.'))).toHaveLength(4);
  const [first, second] = (await readFile(file, 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { carried?: boolean; i?: number });
  expect(first).toEqual({ carried: true });
  expect(second!.i).toBeGreaterThan(30);
});

test('a record file put aside after the clock was set back is the newest all the same', async () => {
  const records = (from: number) => new RecordFile<object>(file, { now: () => from++, rotateBytes: 10 });
  for (const from of [5_000, 100]) {
    const written = records(from);
    for (let i = 0; i < 8; i++) await written.append({ from, i, text: 'x'.repeat(20) });
    await written[Symbol.asyncDispose]();
  }
  const kept = (await readdir(dir)).filter((name) => name.startsWith('bindings.jsonl.'));
  const texts = await Promise.all(kept.map((name) => readFile(join(dir, name), 'utf8')));
  expect(texts).toHaveLength(4);
  for (const text of texts) expect(text).toContain('"from":1');
});

test('a clock set back: what is bound is bound again, so that the recorder finds the run that has the address now', async () => {
  let now = Date.parse('2026-11-25T13:00:00Z');
  const clock = { now: () => now, monotonic: () => 0 };
  const bindings = await Bindings.open(file, clock, true);
  await bindings.bind(binding(5, 'earlier'));
  now += 600_000;
  await bindings.release('100.64.0.5', 'earlier');
  now += 3_000_000;
  await bindings.bind(binding(5, 'current'));
  now -= 3_300_000; // into the time of the earlier run
  await bindings.bindAgain();
  await bindings[Symbol.asyncDispose]();
  const table = new Recorded();
  (await lines()).forEach((line, offset) => table.add(line, { inode: 1, offset }));
  expect(table.find('100.64.0.5', now + 1_000)?.invocation).toBe('current');
  expect(table.find('100.64.0.5', now - 100_000)?.invocation).toBe('earlier');
});
