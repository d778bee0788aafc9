import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type Exchange, type TestStack } from '../e2e/harness.ts';
import { ask, nextRunWorks, startRun } from '../e2e/support/runs.ts';
import { openBooks, watchCap, type Books } from './support/books.ts';
import { booksBalance, fakeClock, fillDisk, stopFor } from './support/faults.ts';
import { truthOf } from './support/truth.ts';

/**
 * What may happen to a machine: the disk fills up, a process is slow, the clock is set. No answer may be wrong, nothing may end in
 * a loop of crashes, and all must be well by itself afterwards.
 */

let stack: TestStack;
let books: Books;
let cap: ReturnType<typeof watchCap>;
const open = async (options: Parameters<typeof startStack>[0] = {}): Promise<void> => {
  stack = await startStack(options);
  books = openBooks(stack);
  cap = watchCap(books, () => 200_000);
};
const close = async (): Promise<void> => {
  cap[Symbol.dispose]();
  books[Symbol.dispose]();
  await stack[Symbol.asyncDispose]();
};
beforeEach(() => showLogOnFailure(() => stack));
afterEach(() => expect(cap.broken).toEqual([]));

const PROGRAMS = ['controller-manager', 'dispatcher', 'worker', 'egress', 'front', 'recorder', 'store', 'envoy'] as const;
const allPids = async (): Promise<Record<string, number[]>> =>
  Object.fromEntries(await Promise.all(PROGRAMS.map(async (name) => [name, await stack.pids(name)] as const)));
/** Each is the process it was. (One that is just starting another shows up twice for a moment.) */
const nobodyCrashed = (before: Awaited<ReturnType<typeof allPids>>): Promise<true> =>
  eventually('nobody crashed', async () => {
    expect(await allPids()).toEqual(before);
    return true as const;
  });
const resultsOf = (text: string): { status?: number; body?: string; error?: string }[] => (JSON.parse(text) as { results: [] }).results;

describe('a process that is stopped for a while', () => {
  beforeAll(() => open());
  afterAll(() => close());

  it('store: runs go on; a question to it is never answered with less than there is', async () => {
    const before = await nextRunWorks(stack);
    await stack.egressLog(before.invocation, (all) => all.length > 0);
    const [pid] = await stack.pids('store');
    const question = async (): Promise<Exchange[]> => {
      const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?invocation=${before.invocation}`;
      return (await stack.api<{ items: Exchange[] }>('GET', path)).items.filter(({ protocol }) => protocol !== 'dns');
    };
    let asked: Promise<Exchange[]> | undefined;
    const during = startRun(stack, [ask('gpt-4.1-mini', 20)]);
    await stopFor(pid!, 5_000, async () => {
      asked = question();
      expect(await truthOf(stack, books, during)).toMatchObject({ phase: 'Succeeded' });
    });
    expect(await asked!).toHaveLength(1);
    await stack.egressLog(during.id, (all) => all.some(({ outputTokens }) => outputTokens !== null));
    // Longer than a question may take: then the answer is an error that says so.
    await stopFor(pid!, 11_500, async () => expect(question()).rejects.toThrow(/50[34].*store/is));
    expect(await question()).toHaveLength(1);
  });

  it('recorder: nobody notices, and every record comes', async () => {
    const [pid] = await stack.pids('recorder');
    const run = startRun(stack, [ask('gpt-4.1-mini', 20)]);
    await stopFor(pid!, 3_000, async () => expect(await truthOf(stack, books, run)).toMatchObject({ phase: 'Succeeded' }));
    await stack.egressLog(run.id, (all) => all.some(({ outputTokens }) => outputTokens !== null));
  });

  it('dispatcher: requests are refused by then, callers hear the truth later, and what was not used is free again', async () => {
    const [pid] = await stack.pids('dispatcher');
    const run = startRun(stack, [ask('gpt-4.1-slow', 4), ask('gpt-4.1-mini', 20), { sleep: 3_000 }, ask('gpt-4.1-mini', 20)]);
    await stack.seenOf(run.traceId);
    await stopFor(pid!, 4_000);
    const told = await truthOf(stack, books, run);
    expect(told.phase).toBe('Succeeded');
    const [stream, during, , after] = resultsOf(told.answer!.text);
    expect([stream!.status, during!.status, after!.status]).toEqual([200, 503, 200]);
    expect(during!.body).toContain('LedgerUnavailable');
    await booksBalance(stack, books, 10_000);
  });

  it('egress: requests are refused, open streams go on, and what was not used is free again', async () => {
    const [pid] = await stack.pids('egress');
    const run = startRun(stack, [ask('gpt-4.1-slow', 4), ask('gpt-4.1-mini', 20), { sleep: 3_000 }, ask('gpt-4.1-mini', 20)]);
    await stack.seenOf(run.traceId);
    await stopFor(pid!, 4_000);
    const told = await truthOf(stack, books, run);
    const [stream, during, , after] = resultsOf(told.answer!.text);
    expect([stream!.status, during!.status, after!.status]).toEqual([200, 503, 200]);
    await booksBalance(stack, books, 10_000);
  });

  it.each(['envoy', 'worker', 'controller-manager', 'front'])('%s: its work waits, and is done', async (component) => {
    const [pid] = await stack.pids(component);
    const run = startRun(stack, [ask('gpt-4.1-slow', 6), ask('gpt-4.1-mini', 20)]);
    await stack.seenOf(run.traceId);
    await stopFor(pid!, 2_500);
    const told = await truthOf(stack, books, run);
    expect(told.phase).toBe('Succeeded');
    expect(resultsOf(told.answer!.text).map(({ status }) => status)).toEqual([200, 200]);
    await nextRunWorks(stack);
  });

  it('each process is the one it was', async () => {
    await booksBalance(stack, books, 10_000);
    expect(await readFile(stack.logFile, 'utf8')).not.toContain('child ended');
  });
});

describe('a disk that is full', () => {
  beforeAll(() => open({ diskBytes: 160 * 1024 * 1024 }));
  afterAll(() => close());

  it('runs that go on are told the truth, new ones are refused with the reason, and all is well when there is room', async () => {
    await nextRunWorks(stack);
    const pids = await allPids();
    const run = startRun(stack, [ask('gpt-4.1-slow', 10)]);
    await stack.seenOf(run.traceId);
    const refused: string[] = [];
    {
      await using _full = await fillDisk(stack.state);
      for (let i = 0; i < 8; i++) {
        const answer = await stack.invoke('probe', { steps: [ask('gpt-4.1-mini', 20)] });
        refused.push(`${answer.status} ${answer.text}`);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      await nobodyCrashed(pids);
      expect((await run.answer).status).toBe(200);
    }
    console.log(refused.join(''));
    await nextRunWorks(stack);
    expect(await truthOf(stack, books, run)).toMatchObject({ phase: 'Succeeded' });
    await nobodyCrashed(pids);
    for (const answer of refused) expect(answer).toMatch(/^503 .*(JournalUnavailable|disk)/s);
  });

  it('a dispatcher that is killed meanwhile starts on the full disk', async () => {
    const run = startRun(stack, [ask('gpt-4.1-slow', 10)]);
    await stack.seenOf(run.traceId);
    {
      await using _full = await fillDisk(stack.state);
      await stack.restarted('dispatcher', await stack.kill('dispatcher'));
      await eventually('it answers', async () => ((await stack.invoke('probe', { steps: [] }).catch(() => undefined)) ? true : undefined), 20_000);
    }
    await nextRunWorks(stack);
    expect(['Succeeded', 'Failed']).toContain((await truthOf(stack, books, run)).phase);
  });

  it('every record is there, or its loss is said with a number', async () => {
    const { items } = await stack.api<{ items: Exchange[] }>('GET', '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?limit=10000');
    const seen = await stack.seen();
    const recorded = new Set(items.map((record) => (record as Exchange & { spanId: string }).spanId));
    const missing = seen.filter(({ headers }) => !recorded.has(String(headers['traceparent']).split('-')[2] ?? ''));
    console.log(`${seen.length} seen, ${missing.length} without a record`);
    if (missing.length > 0) expect(await readFile(stack.logFile, 'utf8')).toMatch(/dropped=\d+|records=\d+/);
  });
});

describe('a clock that is set', () => {
  let dir: string;
  let clock: Awaited<ReturnType<typeof fakeClock>>;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'clrk-clock-'));
    clock = await fakeClock(dir);
    await open({ env: clock.env });
  });
  afterAll(async () => {
    await close();
    await rm(dir, { recursive: true, force: true });
  });

  it.each([
    ['forward by 50 minutes', 3_000],
    ['back by 20 hours', -72_000],
    ['to now', 0],
  ])('%s: a run goes on, its record is its own, the next one works, also after a dispatcher was killed', async (_, seconds) => {
    const before = Date.now();
    const run = startRun(stack, [ask('gpt-4.1-slow', 8), ask('gpt-4.1-mini', 20), { sleep: 3_000 }]);
    const orphan = startRun(stack, [{ sleep: 9_000 }, ask('gpt-4.1-mini', 20)]);
    await stack.seenOf(run.traceId);
    await clock.set(seconds);
    const told = await truthOf(stack, books, run);
    expect(told.phase).toBe('Succeeded');
    expect(
      resultsOf(told.answer!.text)
        .slice(0, 2)
        .map(({ status }) => status),
    ).toEqual([200, 200]);
    await stack.egressLog(run.id, (all) => all.filter(({ outputTokens }) => outputTokens !== null).length === 2);
    // Its end is not judged by a time of day that was written down before.
    await stack.restarted('dispatcher', await stack.kill('dispatcher'));
    expect(await truthOf(stack, books, orphan)).toMatchObject({ phase: 'Succeeded' });
    await nextRunWorks(stack);
    const { status } = await stack.invocation((await nextRunWorks(stack)).invocation);
    expect(status.firstByteMs).toBeLessThan(Date.now() - before);
    await booksBalance(stack, books, 20_000);
  });
});
