import { mkdtempSync } from 'node:fs';
import http2 from 'node:http2';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AsyncQueue } from '#lib';
import { connect, createRpcServer, Desired, Names, RpcError, Runs, status, Work, type Implementation } from '#wire';

const socketIn = (): string => join(mkdtempSync(join(tmpdir(), 'clrk-')), 's.sock');

const resolveWith = (resolve: Implementation<typeof Names>['resolve']) => createRpcServer().add(Names, { resolve });

test('unary calls carry records both ways and errors keep their code and text', async () => {
  await using server = resolveWith(({ name, type }) => {
    if (name === 'bad') throw new RpcError('INVALID_ARGUMENT', 'no: 100% \u2013 \ud800');
    return { rcode: `${name} ${type}`, addresses: ['192.0.2.1'], ttl: 5 };
  });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Names, socket);
  const answer = await client.resolve({ source: 's', name: 'n', type: 'A' });
  expect(answer).toMatchObject({ rcode: 'n A', addresses: ['192.0.2.1'], ttl: 5 });
  await expect(client.resolve({ name: 'bad' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT, message: 'no: 100% \u2013 \ufffd' });
  client.close();
});

test('messages of any size arrive whole, also many at once', async () => {
  await using server = resolveWith(({ name }) => ({ rcode: name, addresses: [], ttl: name.length }));
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Names, socket);
  const sizes = [0, 1, 16_379, 16_384, 70_000, 3_000_000, ...Array.from({ length: 200 }, (_, i) => i * 40)];
  const answers = await Promise.all(sizes.map((size) => client.resolve({ name: 'x'.repeat(size) })));
  expect(answers.map(({ ttl, rcode }) => [ttl, rcode.length])).toEqual(sizes.map((size) => [size, size]));
  client.close();
});

test('a message that is too large, or a method nobody serves, fails its call alone', async () => {
  await using server = resolveWith(() => ({ rcode: 'ok' }));
  const socket = socketIn();
  await server.listen(socket);
  const raw = http2.connect('http://clrk', { createConnection: () => createConnection(socket) });
  const call = (path: string, body: Buffer): Promise<string> =>
    new Promise((resolve, reject) => {
      const stream = raw.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      const status = (headers: http2.IncomingHttpHeaders): void => void (headers['grpc-status'] !== undefined && resolve(String(headers['grpc-status'])));
      stream.on('response', status).on('trailers', status).on('error', reject).resume();
      stream.end(body);
    });
  const resolvePath = `/${Names.typeName}/Resolve`;
  const prefix = (flag: number, length: number): Buffer => {
    const bytes = Buffer.alloc(5);
    bytes[0] = flag;
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  expect(await call(resolvePath, prefix(0, 0xffff_ffff))).toBe(String(status.RESOURCE_EXHAUSTED));
  expect(await call(resolvePath, prefix(1, 0))).toBe(String(status.UNIMPLEMENTED));
  expect(await call('/nobody/Serves', prefix(0, 0))).toBe(String(status.UNIMPLEMENTED));
  expect(await call(resolvePath, Buffer.alloc(0))).toBe(String(status.INVALID_ARGUMENT));
  expect(await call(resolvePath, prefix(0, 0))).toBe(String(status.OK));
  raw.destroy();
});

test('a caller that goes away aborts its call, and thousands of them close no connection', async () => {
  const heard = Promise.withResolvers<void>();
  let aborted = 0;
  await using server = resolveWith(async ({ name }, { signal }) => {
    if (name !== 'wait') return { rcode: name };
    signal.addEventListener('abort', () => ++aborted === 3_000 && heard.resolve());
    await new Promise(() => {});
    return {};
  });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Names, socket);
  for (let round = 0; round < 30; round++) {
    const abort = new AbortController();
    const calls = Array.from({ length: 100 }, () => client.resolve({ name: 'wait' }, { signal: abort.signal }));
    expect((await client.resolve({ name: 'go' })).rcode).toBe('go'); // so that the others have arrived
    abort.abort();
    await Promise.all(calls.map((call) => expect(call).rejects.toMatchObject({ code: status.CANCELLED })));
  }
  await heard.promise;
  client.close();
});

test('server streams end with an error that the reader sees', async () => {
  await using server = createRpcServer();
  server.add(Runs, {
    budgets: () => ({ items: [] }),
    async *invoke() {
      yield { part: { case: 'head', value: { status: 200, headers: {} } } };
      throw new RpcError('ABORTED', 'cut');
    },
    get: () => ({}),
    list: () => ({ items: [] }),
    async *watch() {},
  });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Runs, socket);
  const seen: unknown[] = [];
  await expect(
    (async () => {
      for await (const part of client.invoke({ namespace: 'a', agent: 'b' })) seen.push(part.part.case);
    })(),
  ).rejects.toMatchObject({ code: status.ABORTED });
  expect(seen).toEqual(['head']);
  client.close();
});

test('bidirectional streams: each side sees the other end', async () => {
  await using server = createRpcServer();
  const gone = Promise.withResolvers<string[]>();
  server.add(Work, {
    async *attach(messages) {
      const seen: string[] = [];
      for await (const { message } of messages) {
        seen.push(message.case!);
        if (message.case === 'hello') yield { message: { case: 'credit', value: { invocation: 'i', bytes: 7 } } };
      }
      gone.resolve(seen);
    },
  });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Work, socket);
  const abort = new AbortController();
  const up = new AsyncQueue<{ message: { case: 'hello'; value: { worker: string } } }>();
  up.push({ message: { case: 'hello', value: { worker: '0' } } });
  for await (const message of client.attach(up, { signal: abort.signal })) {
    expect(message.message).toMatchObject({ case: 'credit', value: { bytes: 7 } });
    abort.abort();
  }
  expect(await gone.promise).toEqual(['hello']);
  client.close();
});

test('a call without a server fails instead of hanging', async () => {
  const client = connect(Desired, socketIn());
  await expect(client.workers({})[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: status.UNAVAILABLE });
  client.close();
});
