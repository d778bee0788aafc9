import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLedgerClient } from '#egress';
import { silentLogger } from '#lib';
import { openLedger } from '#ledger';
import type { LedgerPort, ReserveRequest } from '#model';
import { connect, createRpcServer, Ledger } from '#wire';
import { ledgerService } from '../../../src/cmd/dispatcher/services.ts';

let dir: string;
let socket: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clrk-session-'));
  socket = join(dir, 'ledger.sock');
});
afterEach(() => rmSync(dir, { recursive: true }));

const serve = async (ledger: LedgerPort) => {
  const server = createRpcServer().add(Ledger, ledgerService(ledger));
  await server.listen(socket);
  return server;
};
const request = (id: string, amount = 6, cap = 2 ** 40): ReserveRequest => ({
  id,
  execution: '',
  entries: [{ key: 'b', unit: 'tokens', window: 'day', cap, amount }],
  deadline: Date.now() + 60_000,
});

test('calls of a session are answered each by its own answer, and a call that fails fails alone', async () => {
  await using ledger = openLedger(join(dir, 'ledger.db'), { log: silentLogger, alive: () => false });
  await using _ = await serve(ledger);
  const counters = connect(Ledger, socket);
  const client = createLedgerClient(counters, { timeoutMs: 5_000 });
  const answers = await Promise.allSettled([
    ...Array.from({ length: 100 }, (_, i) => client.reserve(request(`${i}`, 2 ** 33 + i))),
    client.reserve(request('half', 0.5)),
    client.reserve({ ...request('week'), entries: [{ ...request('week').entries[0]!, window: 'week' as never }] }),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([...Array<string>(100).fill('fulfilled'), 'rejected', 'rejected']);
  await Promise.all(Array.from({ length: 100 }, (_, i) => client.settle({ id: `${i}`, tokens: i, microdollars: 0 })));
  expect(await client.reserve(request('probe', 1, 0))).toMatchObject({ granted: false, used: 4950, reserved: 0 });
  counters.close();
});

test('a ledger that goes away fails what is open, and is found again', async () => {
  const asked = Promise.withResolvers<void>();
  const silent: LedgerPort = { reserve: () => (asked.resolve(), new Promise(() => {})), settle: async () => {} };
  const first = await serve(silent);
  const counters = connect(Ledger, socket);
  const client = createLedgerClient(counters, { timeoutMs: 60_000 });
  const lost = expect(client.reserve(request('lost'))).rejects.toThrow();
  await asked.promise;
  await first[Symbol.asyncDispose]();
  await lost;
  await expect(client.settle({ id: 'lost', tokens: 0, microdollars: 0 })).rejects.toThrow();
  await using ledger = openLedger(join(dir, 'ledger.db'), { log: silentLogger, alive: () => false });
  await using _ = await serve(ledger);
  const again = async (): Promise<boolean> => client.reserve(request('lost')).then(({ granted }) => granted, again);
  expect(await again()).toBe(true);
  counters.close();
});

test('a ledger that does not answer fails the call in time; a late answer harms nothing', async () => {
  const answer = Promise.withResolvers<void>();
  const settled: string[] = [];
  const slow: LedgerPort = {
    reserve: async () => {
      await answer.promise;
      return { granted: true, entry: -1, used: 0, reserved: 0, resetAt: 0 };
    },
    settle: async ({ id }) => void settled.push(id),
  };
  await using _ = await serve(slow);
  const counters = connect(Ledger, socket);
  const client = createLedgerClient(counters, { timeoutMs: 50 });
  await expect(client.reserve(request('late'))).rejects.toThrow('no answer of the ledger in 50 ms');
  answer.resolve();
  await client.settle({ id: 'after', tokens: 1, microdollars: 0 });
  expect(settled).toEqual(['after']);
  counters.close();
});
