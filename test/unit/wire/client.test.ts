import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import http2 from 'node:http2';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connect, createRpcServer, Names, Runs, status, type RpcServer } from '#wire';
import { frames } from '../../../src/wire/frame.ts';

const socketIn = (): string => join(mkdtempSync(join(tmpdir(), 'clrk-')), 's.sock');

/** A server behind a connection that can be made to read nothing for a while. */
const stallable = async (server: RpcServer) => {
  const [behind, socket] = [socketIn(), socketIn()];
  await server.listen(behind);
  const sides: Socket[] = [];
  const proxy = createServer((from) => {
    const to = createConnection(behind);
    for (const side of [from, to]) sides.push(side.on('error', () => {}));
    from.pipe(to).pipe(from);
  }).listen(socket);
  await once(proxy, 'listening');
  return {
    socket,
    stall: () => sides.forEach((side) => side.unpipe()),
    goOn: () => sides.forEach((side, index) => side.pipe(sides[index ^ 1]!)),
    [Symbol.dispose]: () => (sides.forEach((side) => side.destroy()), proxy.close()),
  };
};

test('a call is given up in time also when its peer reads nothing, and the peer hears of it when it reads again', async () => {
  let waiting = 0;
  const [arrived, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const held = async (signal: AbortSignal): Promise<void> => {
    signal.addEventListener('abort', () => --waiting === 0 && gone.resolve());
    if (++waiting === 3) arrived.resolve();
    await new Promise(() => {});
  };
  await using server = createRpcServer();
  server.add(Runs, {
    budgets: () => ({ items: [] }),
    async *invoke(_, { signal }) {
      await held(signal);
      yield {};
    },
    async get({ id }, { signal }) {
      if (id === 'wait') await held(signal);
      return {};
    },
    list: () => ({ items: [] }),
    async *watch() {},
  });
  using way = await stallable(server);
  const client = connect(Runs, way.socket);
  await client.list({});
  const [abort, late] = [new AbortController(), new AbortController()];
  const get = client.get({ id: 'wait' }, { signal: abort.signal });
  const other = client.get({ id: 'wait' }, { signal: abort.signal });
  const stream = client.invoke({}, { signal: abort.signal })[Symbol.asyncIterator]().next();
  await arrived.promise;
  way.stall();
  // More than the kernel and the streams on the way hold: nothing can be sent any more.
  const flood = Array.from({ length: 40 }, () => client.get({ id: 'x'.repeat(500_000) }, { signal: late.signal }));
  await expect(client.get({ id: 'x' }, { timeoutMs: 20 })).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  abort.abort();
  await expect(get).rejects.toMatchObject({ code: status.CANCELLED });
  await expect(other).rejects.toMatchObject({ code: status.CANCELLED });
  expect(await stream).toMatchObject({ done: true });
  late.abort();
  for (const call of flood) await expect(call).rejects.toMatchObject({ code: status.CANCELLED });
  way.goOn();
  await gone.promise;
  expect(await client.list({})).toMatchObject({ items: [] });
  client.close();
});

test('a connection can be closed before it is made', async () => {
  await using server = createRpcServer().add(Names, { resolve: () => ({ rcode: 'ok' }) });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Names, socket);
  const call = client.resolve({});
  client.close();
  await expect(call).rejects.toMatchObject({ code: status.UNAVAILABLE });
  // By now the first one was made, too: it came before this one.
  const next = connect(Names, socket);
  expect(await next.resolve({})).toMatchObject({ rcode: 'ok' });
  next.close();
});

test('a connection that is worn out ends with its calls, and a closed client makes none', async () => {
  const [held, arrived] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using server = createRpcServer().add(Names, {
    async resolve({ name }) {
      if (name !== 'wait') return { rcode: name };
      arrived.resolve();
      await held.promise;
      return { rcode: 'waited' };
    },
  });
  const behind = socketIn();
  await server.listen(behind);
  let [open, made] = [0, 0];
  const proxy = createServer((from) => {
    [open, made] = [open + 1, made + 1];
    const to = createConnection(behind);
    for (const side of [from, to]) side.on('error', () => {});
    from.once('close', () => open--);
    from.pipe(to).pipe(from);
  });
  const socket = socketIn();
  await once(proxy.listen(socket), 'listening');
  const client = connect(Names, socket, { calls: 3 });
  const waiting = client.resolve({ name: 'wait' });
  await arrived.promise;
  for (let call = 0; call < 8; call++) expect(await client.resolve({ name: 'x' })).toMatchObject({ rcode: 'x' });
  expect(made).toBe(3);
  held.resolve();
  expect(await waiting).toMatchObject({ rcode: 'waited' });
  await expect.poll(() => open).toBe(1);
  client.close();
  await expect.poll(() => open).toBe(0);
  await expect(client.resolve({ name: 'x' })).rejects.toMatchObject({ code: status.UNAVAILABLE });
  expect(made).toBe(3);
  proxy.close();
});

test('an answer that is not understood, or is none, says so; the connection goes on', async () => {
  const answers: Record<string, (stream: http2.ServerHttp2Stream) => void> = {
    unreadable: (stream) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 3, 255, 255, 255]));
    },
    none: (stream) => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true }),
    proxy: (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
    reset: (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    cut: (stream) => {
      stream.respond({ ':status': 200 });
      stream.end(Buffer.from([0, 0, 0, 0, 9, 1]));
    },
  };
  let answer = '';
  const server = http2.createServer().on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.resume();
    answers[answer]!(stream);
  });
  const socket = socketIn();
  server.listen(socket);
  await once(server, 'listening');
  const client = connect(Runs, socket);
  const codes: Record<string, unknown> = {};
  const codeOf = (call: Promise<unknown>): Promise<unknown> =>
    call.then(
      () => status.OK,
      (error: { code?: number }) => error.code,
    );
  for (answer of Object.keys(answers)) codes[answer] = [await codeOf(client.list({})), await codeOf(Array.fromAsync(client.watch({})))];
  expect(codes).toEqual({
    unreadable: [status.INTERNAL, status.INTERNAL],
    none: [status.INTERNAL, status.OK],
    proxy: [status.UNKNOWN, status.UNKNOWN],
    reset: [status.UNAVAILABLE, status.UNAVAILABLE],
    cut: [status.UNAVAILABLE, status.UNAVAILABLE],
  });
  client.close();
  server.close();
});

test('what comes after a message that cannot be taken is thrown away', () => {
  const taken: number[] = [];
  const take = frames((message) => taken.push(message.byteLength));
  take(Buffer.from([0, 0, 0, 0, 1, 7]));
  expect(() => take(Buffer.from([0, 255, 0, 0, 0, 1]))).toThrow(/too large/);
  take(Buffer.from([0, 0, 0, 0, 1, 7]));
  expect(taken).toEqual([1]);
});
