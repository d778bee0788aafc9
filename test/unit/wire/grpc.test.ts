import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AsyncQueue } from '#lib';
import { connect, createRpcServer, Desired, Ledger, RpcError, Runs, status, Work } from '#wire';

const socketIn = (): string => join(mkdtempSync(join(tmpdir(), 'clrk-')), 's.sock');

test('unary calls carry records both ways and errors keep their code', async () => {
  await using server = createRpcServer();
  server.add(Ledger, {
    reserve: (request) => {
      if (request.id === 'bad') throw new RpcError('INVALID_ARGUMENT', 'no');
      return { granted: request.amount <= request.budgets[0]!.cap, key: '', cap: 1, used: 0, reserved: request.amount, resetAt: 5 };
    },
    settle: () => ({}),
  });
  const socket = socketIn();
  await server.listen(socket);
  const client = connect(Ledger, socket);
  const answer = await client.reserve({ id: 'a', budgets: [{ key: 'k', cap: 2 ** 40 }], amount: 2 ** 33, deadline: 1 });
  expect(answer).toMatchObject({ granted: true, reserved: 2 ** 33, resetAt: 5 });
  await expect(client.reserve({ id: 'bad' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT, details: 'no' });
  client.close();
});

test('server streams end with an error that the reader sees', async () => {
  await using server = createRpcServer();
  server.add(Runs, {
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
