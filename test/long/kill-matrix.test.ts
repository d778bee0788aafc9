import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { layout, type AccessLine, type EgressLine } from '#model';
import { endedLater } from '../../src/telemetry/recorder/join.ts';
import type { SentEvents } from '../fixtures/openai/server.ts';
import { eventually, showLogOnFailure, startStack, type Exchange, type InvokeResult, type TestStack } from '../e2e/harness.ts';
import { processesOf } from '../e2e/support/leftovers.ts';
import { fixtureGateway, probeAgent, quickstart } from '../e2e/support/manifests.ts';
import { ask, nextRunWorks, noSandboxLeft, startRun, type StartedRun } from '../e2e/support/runs.ts';
import { openBooks, watchCap, type Books } from './support/books.ts';
import { startCanary, type Canary } from './support/canary.ts';
import { followLines } from './support/follow.ts';
import { rawRecords } from './support/stored.ts';
import { truthOf, type Told } from './support/truth.ts';

/**
 * Every process of a stack killed with SIGKILL at several points of a run's way. Each kill is aimed: the test waits for a state of
 * the journal, the ledger or the stream, and holds that the victim was killed in it. What is promised is then checked for that run
 * and for all that ran beside it; what can only be known at the end (each record once, each reservation closed) at the end.
 */

const RUNTIME = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default';
/** By rule of the route. The first one is raced for: three requests at a time want about a third of it each, and more. */
const CAPS = [300_000, 5_000_000];
const RULES = CAPS.map((maxTokensPerDay, index) => ({
  matches: [{ provider: 'openai', models: index === 0 ? ['gpt-4.1-nano'] : ['gpt-4.1*'], endpoints: ['/v1/chat/completions'] }],
  filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay, budgetRef: `rule-${index}` } }],
}));
const VICTIMS = ['clrk', 'controller-manager', 'dispatcher', 'worker', 'egress', 'envoy', 'recorder', 'store', 'front'] as const;
const POINTS = ['queued', 'sandbox being made', 'sandbox starting', 'stream', 'settlement'] as const;
type Victim = (typeof VICTIMS)[number];
type Point = (typeof POINTS)[number];

/** Points that mean nothing to a victim are left out: recorder and store have no part in the start of a run. */
const CELLS = VICTIMS.flatMap((victim) =>
  POINTS.filter((point) => !['recorder', 'store'].includes(victim) || ['stream', 'settlement'].includes(point)).map((point) => [victim, point] as const),
);
/** Victims without which a run goes on to its end, whatever it was doing. (Without `front` and `egress` no name is found, no request judged.) */
const UNNOTICED: readonly Victim[] = ['controller-manager', 'recorder', 'store'];
/** Victims without which an open stream goes on to its end. */
const STREAM_GOES_ON: readonly Victim[] = ['egress', 'front'];

let stack: TestStack;
let books: Books;
let canary: Canary;
let cap: ReturnType<typeof watchCap>;
let sent: () => SentEvents[];
let admitted: () => EgressLine[];
const told: Told[] = [];
/** By span of the request: how much of its stream was written, its decision id. */
const events = new Map<string, SentEvents>();
const decisions = new Map<string, string>();

beforeAll(async () => {
  stack = await startStack();
  const kind = async (wanted: string) => (await quickstart()).find((manifest) => manifest.kind === wanted)!;
  const [gateway, route] = [await kind('EgressGateway'), await kind('AIProviderRoute')];
  // Short, so that reservations nobody settles end within this test.
  await stack.apply(fixtureGateway({ ...gateway, spec: { ...gateway.spec, requestTimeout: '10s' } }, stack.lab.fixtureIp));
  await stack.apply({ ...route, spec: { ...route.spec, rules: RULES } });
  await stack.apply(probeAgent('single', { maxConcurrent: 1 }));
  await stack.condition('taskagents', 'single', 'Ready', 'True');
  await stack.programmed();
  books = openBooks(stack);
  cap = watchCap(books, (key) => CAPS[Number(key.split('rule-')[1])] ?? 0);
  canary = await startCanary(stack);
  sent = followLines(join(stack.dir, 'fixture', 'sent.jsonl'));
  admitted = followLines(layout(stack.state, stack.run).worker('0').egressLog);
});
afterAll(async () => {
  cap?.[Symbol.dispose]();
  books?.[Symbol.dispose]();
  await canary?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

const spanOf = (traceparent: unknown): string => String(traceparent).split('-')[2] ?? '';
const look = (): void => {
  for (const line of sent()) events.set(spanOf(line.traceparent), line);
  for (const { event, id, engine } of admitted()) if (event === 'admit' && engine?.spanId) decisions.set(engine.spanId, id);
};

/** The span of the one request of a run, once the provider has it. */
const requestOf = async ({ traceId }: StartedRun): Promise<string> => spanOf((await stack.seenOf(traceId))[0]!.headers['traceparent']);
const isHeld = (span: string): boolean => books.reservation(decisions.get(span) ?? '')?.state === 'held';

/** Resolves when the run is at the point, at once. Undefined = it went by unseen; another run has to be tried. */
const reach = async (run: StartedRun, point: Point): Promise<true | undefined> => {
  const until = async (what: string, at: () => boolean, over: () => boolean): Promise<true | undefined> => {
    const found = await eventually(`${run.id}: ${what}`, () => (at() ? 'at' : over() ? 'over' : undefined), 20_000, 2);
    return found === 'at' ? true : undefined;
  };
  const phase = (): string | undefined => books.invocation(run.id)?.phase;
  if (point === 'queued') {
    return until(
      'Pending',
      () => phase() === 'Pending',
      () => ![undefined, 'Pending'].includes(phase()),
    );
  }
  if (point === 'sandbox being made') {
    return until(
      'Dispatched',
      () => phase() === 'Dispatched',
      () => !['Pending', undefined, 'Dispatched'].includes(phase()),
    );
  }
  if (point === 'sandbox starting') {
    return until(
      'Running',
      () => phase() === 'Running',
      () => !['Pending', undefined, 'Dispatched', 'Running'].includes(phase()),
    );
  }
  const span = await requestOf(run);
  const stream = (): SentEvents | undefined => (look(), events.get(span));
  return point === 'stream'
    ? until(
        'three events of its stream',
        () => (stream()?.events ?? 0) >= 3 && !stream()!.ended && isHeld(span) && phase() === 'Running',
        () => stream()?.ended ?? false,
      )
    : until(
        'its stream is over, its reservation is not',
        () => (stream()?.ended ?? false) && isHeld(span) && phase() === 'Running',
        () => (stream()?.ended ?? false) && !isHeld(span),
      );
};

const STEPS: Readonly<Record<Point, readonly object[]>> = {
  queued: [{ must: ask('gpt-4.1-slow', 2) }],
  'sandbox being made': [{ must: ask('gpt-4.1-slow', 4) }],
  'sandbox starting': [{ must: ask('gpt-4.1-slow', 4) }],
  stream: [{ must: ask('gpt-4.1-slow', 12) }],
  settlement: [{ must: ask('gpt-4.1-slow', 4) }, { sleep: 500 }],
};

/** Brings a run to the point and kills the victim there. */
const killAt = async (
  victim: Victim,
  point: Point,
): Promise<{ readonly run: StartedRun; readonly pid: number; readonly at: number; readonly more: readonly StartedRun[] }> => {
  const pids = victim === 'clrk' ? [stack.devPid] : await stack.pids(victim);
  expect(pids, `processes of ${victim}`).toHaveLength(1);
  let first: StartedRun | undefined;
  for (let tries = 0; tries < 8; tries++) {
    // One run of `single` at a time: the second one waits.
    if (point === 'queued') first = startRun(stack, [ask('gpt-4.1-slow', 6)], 'single');
    if (first) await eventually('the first run goes', () => (['Running'].includes(books.invocation(first!.id)?.phase ?? '') ? true : undefined));
    const run = startRun(stack, STEPS[point], point === 'queued' ? 'single' : 'probe');
    if (!(await reach(run, point))) {
      told.push(await truthOf(stack, books, run));
      continue;
    }
    const at = Date.now();
    if (victim === 'clrk') await stack.killDev();
    else process.kill(pids[0]!, 'SIGKILL');
    return { run, pid: pids[0]!, at, more: first ? [first] : [] };
  }
  throw new Error(`no run could be caught at point "${point}"`);
};

/** Small requests, one after the other, so that some are being judged, sent or settled whenever something is killed. */
const ALLOWED = [ask('gpt-4.1-mini', 5), ...Array.from({ length: 3 }, () => ask('gpt-4.1-nano', 30_000, { n: 3 }))];

interface Hammered {
  readonly at: number;
  readonly outcome: unknown;
}

describe.each(VICTIMS)('%s killed', (victim) => {
  it.each(CELLS.filter(([of]) => of === victim).map(([, point]) => point))('with a run at: %s', async (point) => {
    // Beside it: a stream, and an agent that tries to get out by every way it knows, all the time.
    const beside = startRun(stack, [ask('gpt-4.1-slow', 10)]);
    const prisoner = startRun(stack, [{ hammer: { forMs: 4_000, steps: [...canary.attempts, ...ALLOWED] } }]);
    await stack.seenOf(beside.traceId);
    const { run, pid, at, more } = await killAt(victim, point);

    if (victim === 'clrk') {
      await eventually('every process is gone', async () => ((await processesOf(stack.state, stack.run)).length === 0 ? true : undefined));
      await stack.start();
    } else await stack.restarted(victim, pid);
    const back = Date.now();
    await nextRunWorks(stack);

    const [truth, other, tried] = await Promise.all([run, beside, prisoner].map((each) => truthOf(stack, books, each)));
    told.push(truth!, other!, tried!);
    for (const each of more) told.push(await truthOf(stack, books, each));
    if (UNNOTICED.includes(victim)) for (const each of [truth!, other!, tried!]) expect(each, victim).toMatchObject({ phase: 'Succeeded' });
    if (STREAM_GOES_ON.includes(victim) && ['stream', 'settlement'].includes(point)) expect(truth).toMatchObject({ phase: 'Succeeded' });
    if (['worker', 'clrk'].includes(victim)) expect(truth!.phase).not.toBe(point === 'queued' ? 'Timeout' : 'Succeeded');
    checkPrisoner(tried!.answer, victim, at, back);
    expect(cap.broken).toEqual([]);
  });
});

/** It got nowhere; where it outlived the victim, it did try while the victim was away. */
const checkPrisoner = (answer: InvokeResult | undefined, victim: Victim, at: number, back: number): void => {
  expect(canary.touched(), 'what reached the canary').toBe(0);
  if (answer?.status !== 200) return;
  const { results } = answer.json() as { results: [Hammered[][]] };
  const tries = results[0].slice(0, canary.attempts.length).flat();
  expect(tries.filter(({ outcome }) => outcome === 200 || outcome === 'canary')).toEqual([]);
  // A try is over within 3 s: one that began before the kill and ended after it counts, too.
  if (['egress', 'envoy', 'front'].includes(victim)) expect(tries.filter((each) => each.at > at - 100 && each.at <= back).length).toBeGreaterThan(0);
};

describe('afterwards', () => {
  it('nobody was left over', () => noSandboxLeft(stack));

  it('every request the provider saw carried the key, and is on record', async () => {
    await eventually(
      'requests and records agree',
      async () => {
        const recorded = new Map((await allExchanges()).map((record) => [record.spanId, record]));
        const seen = await stack.seen();
        expect(seen.filter(({ headers }) => headers['authorization'] !== `Bearer ${stack.key}`)).toEqual([]);
        expect(seen.filter(({ path }) => path.includes('canary'))).toEqual([]);
        const missing = seen.filter(({ headers }) => recorded.get(spanOf(headers['traceparent']))?.verdict !== 'Allowed');
        expect(missing.map(({ time, headers }) => `${time} ${String(headers['traceparent'])}`)).toEqual([]);
        return true;
      },
      45_000,
      500,
    );
  });

  it('no budget was ever beyond its cap, no reservation is held for ever, and what was used is what was settled', async () => {
    expect(cap.broken).toEqual([]);
    expect(cap.looks()).toBeGreaterThan(1_000);
    await eventually('no reservation is held', () => (books.reservations().every(({ state }) => state !== 'held') ? true : undefined), 60_000, 500);
    const recorded = new Map((await allExchanges()).map((record) => [record.decisionId, record]));
    for (const { id, state, amount, used } of books.reservations()) {
      const record = recorded.get(id);
      const known = typeof record?.inputTokens === 'number' && typeof record.outputTokens === 'number' ? record.inputTokens + record.outputTokens : undefined;
      if (known !== undefined) expect([id, state, used], `the provider's count of ${id}`).toEqual([id, 'settled', known]);
      // Spent in full only where nobody can say: its Envoy was killed, or with it (by the worker's death) the engine before it wrote it down.
      if (state === 'spent') expect([id, used, record?.reason ?? 'GatewayDied'], 'spent').toEqual([id, amount, 'GatewayDied']);
    }
    for (const { key, settled, reserved } of books.counters()) {
      const used = books.reservations().filter((row) => row.key === key);
      expect({ settled, reserved }).toEqual({ settled: used.reduce((sum, row) => sum + (row.used ?? 0), 0), reserved: 0 });
    }
  });

  it('every invocation has ended once, and its end is still the one that was told', async () => {
    const log = await readFile(stack.logFile, 'utf8');
    for (const { id, phase, reason } of told) {
      const entry = books.invocation(id);
      expect([id, entry?.phase, entry?.reason ?? '']).toEqual([id, phase, reason]);
      const ends = log.split('\n').filter((line) => line.includes('invocation ended') && line.includes(id));
      expect(ends.length, ends.join('\n')).toBeLessThanOrEqual(1);
    }
    expect(books.invocations().filter(({ phase }) => !['Succeeded', 'Failed', 'Timeout', 'Rejected'].includes(phase))).toEqual([]);
    console.log(
      Object.entries(Object.groupBy(told, ({ phase, reason }) => `${phase ?? 'not accepted'} ${reason}`)).map(([what, all]) => `${all!.length} x ${what}`),
    );
  });

  it('the canary works', async () => {
    await canary.reach();
    expect(canary.touched()).toBe(1);
  });

  it('stopped: nothing is left over, and every line that was written is one row', async () => {
    await stack.stop();
    const at = layout(stack.state, stack.run).worker('0');
    const written = new Set<string>();
    for (const name of await readdir(at.records, { recursive: true })) {
      if (!/^(access-\d|egress\.jsonl)/.test(basename(name))) continue;
      for (const line of followLines<AccessLine | EgressLine>(join(at.records, name))()) {
        if ('chain' in line ? !endedLater(line) : line.event !== 'gateway-died') written.add(line.id);
      }
    }
    const rows = await rawRecords(layout(stack.state, stack.run).clickhouse);
    const ids = rows.map(({ decision_id: id }) => id);
    expect(ids.length, 'rows of one decision').toBe(new Set(ids).size);
    expect(
      [...written].filter((id) => !ids.includes(id)),
      'lines without a row',
    ).toEqual([]);
    expect(
      ids.filter((id) => !written.has(id)),
      'rows without a line',
    ).toEqual([]);
    console.log(`${rows.length} records, ${told.length} runs, ${cap.looks()} looks at the budgets`);
    // What the last victims left is removed by the next start.
    await stack.start();
    await stack.programmed();
    await stack.stop();
    expect(await leftFiles(stack.state)).toEqual([]);
  });
});

/** Records of every run; an answer has 10,000 at most, and all of them together are more. */
const allExchanges = async (): Promise<(Exchange & { readonly spanId: string })[]> => {
  const { items } = await stack.api<{ items: { metadata: { name: string } }[] }>('GET', `${RUNTIME}/invocations?limit=10000`);
  const all = [];
  for (const { metadata } of items) {
    const path = `${RUNTIME}/exchanges?limit=10000&invocation=${metadata.name}`;
    all.push(...(await stack.api<{ items: (Exchange & { spanId: string })[] }>('GET', path)).items);
  }
  return all;
};

/** Files of half-made writes. */
const leftFiles = async (dir: string): Promise<string[]> => (await readdir(dir, { recursive: true })).filter((name) => /\.tmp$|\.new-|\.partial$/.test(name));
