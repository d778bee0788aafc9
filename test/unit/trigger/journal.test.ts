import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openDatabase, silentLogger, type Clock } from '#lib';
import { isTerminal, NEXT_PHASES, PHASES, type Invocation, type Phase } from '#model';
import { Journal } from '#trigger';

const dir = mkdtempSync(join(tmpdir(), 'clrk-journal-'));
afterAll(() => rmSync(dir, { recursive: true }));
const file = (): string => join(dir, `${randomUUID()}.db`);
const open = (path: string, clock?: Clock): Journal => new Journal(path, { log: silentLogger, ...(clock && { clock }) });

const pending = (change: Partial<Invocation> = {}): Invocation => ({
  id: randomUUID(),
  namespace: 'default',
  agent: 'hello',
  trigger: 'HTTP',
  source: 'test',
  bodyHash: 'h',
  traceId: 't',
  phase: 'Pending',
  reason: '',
  message: '',
  revision: '',
  worker: '',
  createdAt: Date.now(),
  ...change,
});

/** Every way from Pending to `phase`. */
const waysTo = (phase: Phase, from: Phase = 'Pending'): Phase[][] =>
  from === phase ? [[]] : NEXT_PHASES[from].flatMap((next) => waysTo(phase, next).map((rest) => [next, ...rest]));

test('only legal moves are taken, from every phase', async () => {
  await using journal = open(file());
  for (const phase of PHASES) {
    for (const way of waysTo(phase)) {
      for (const next of PHASES) {
        const invocation = pending();
        journal.insert(invocation);
        for (const step of way) journal.move(invocation.id, step);
        if (NEXT_PHASES[phase].includes(next)) expect(journal.move(invocation.id, next).phase).toBe(next);
        else {
          expect(() => journal.move(invocation.id, next), `${phase} -> ${next}`).toThrow('cannot move');
          expect(journal.get(invocation.id)!.phase).toBe(phase);
        }
      }
    }
  }
});

test('an invocation that has ended, and is out of memory, cannot move either', async () => {
  await using journal = open(file());
  const invocation = pending();
  journal.insert(invocation);
  journal.move(invocation.id, 'Rejected');
  await journal.committed();
  expect(() => journal.move(invocation.id, 'Dispatched')).toThrow('from Rejected to Dispatched');
  expect(() => journal.insert(invocation)).toThrow('cannot be inserted');
});

test('what was committed is there after a crash, also what shared a commit', async () => {
  const path = file();
  const journal = open(path);
  const [one, two] = [pending(), pending({ agent: 'other' })];
  journal.insert(one);
  journal.insert(two);
  journal.move(one.id, 'Dispatched', { worker: '0', revision: 'hello-00001', dispatchedAt: 5 }, 77);
  await journal.committed();
  // The first one stays open, as it would in a process that was killed.
  await using reader = open(path);
  expect(reader.get(one.id)).toEqual({ ...one, phase: 'Dispatched', worker: '0', revision: 'hello-00001', dispatchedAt: 5 });
  expect(reader.unfinished().map(({ invocation, deadline }) => [invocation.id, deadline])).toEqual([
    [one.id, 77],
    [two.id, 0],
  ]);
  await journal[Symbol.asyncDispose]();
});

test('lists are newest first and filtered; a watch gives what is there, then every step in order', async () => {
  await using journal = open(file());
  const all = ['a', 'b', 'a'].map((agent) => pending({ agent }));
  for (const invocation of all) journal.insert(invocation);
  expect(journal.list({}).map(({ id }) => id)).toEqual(all.map(({ id }) => id).toReversed());
  expect(journal.list({ agent: 'a', limit: 1 }).map(({ id }) => id)).toEqual([all[2]!.id]);
  expect(journal.list({ namespace: 'other' })).toEqual([]);

  const abort = new AbortController();
  const seen: [string, Phase][] = [];
  for await (const { id, phase } of journal.watch({ agent: 'a' }, abort.signal)) {
    seen.push([id, phase]);
    if (seen.length === 2) {
      journal.move(all[1]!.id, 'Rejected');
      for (const step of ['Dispatched', 'Running', 'Succeeded'] as const) journal.move(all[0]!.id, step);
    }
    if (isTerminal(phase)) abort.abort();
  }
  expect(seen).toEqual([
    [all[0]!.id, 'Pending'],
    [all[2]!.id, 'Pending'],
    [all[0]!.id, 'Dispatched'],
    [all[0]!.id, 'Running'],
    [all[0]!.id, 'Succeeded'],
  ]);
});

test('invocations older than a week go, unless they have not ended', async () => {
  const path = file();
  const day = 86_400_000;
  let now = 0;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const [old, running, recent] = [pending({ createdAt: 0 }), pending({ createdAt: 0 }), pending({ createdAt: 2 * day })];
  {
    await using journal = open(path, clock);
    for (const invocation of [old, running, recent]) journal.insert(invocation);
    journal.move(running.id, 'Dispatched');
    for (const { id } of [old, recent]) journal.move(id, 'Rejected');
  }
  now = 8 * day;
  await using journal = open(path, clock);
  expect(journal.list({}).map(({ id }) => id)).toEqual([recent.id, running.id]);
});

test('beyond 10,000 the oldest go', async () => {
  const path = file();
  const first = pending();
  {
    await using journal = open(path);
    for (const invocation of [first, ...Array.from({ length: 10_400 }, () => pending())]) {
      journal.insert(invocation);
      journal.move(invocation.id, 'Rejected');
    }
    await journal.committed();
  }
  await using journal = open(path);
  expect(journal.list({ limit: 20_000 })).toHaveLength(10_000);
  expect(journal.get(first.id)).toBeUndefined();
});

test('a write that fails is reported, and a discarded invocation is never written', async () => {
  const path = file();
  const journal = open(path);
  const kept = pending();
  journal.insert(kept);
  await journal.committed();
  const lock = openDatabase(path, [], 'lock');
  lock.exec('BEGIN IMMEDIATE');
  const refused = pending();
  journal.insert(refused);
  await expect(journal.committed()).rejects.toThrow('locked');
  journal.discard(refused.id);
  lock.exec('ROLLBACK');
  lock.close();
  await journal[Symbol.asyncDispose]();
  await using reader = open(path);
  expect(reader.list({}).map(({ id }) => id)).toEqual([kept.id]);
});
