import fc from 'fast-check';
import { expect, test } from 'vitest';
import { silentLogger } from '#lib';
import type { Assignment, RunUpdate, Slot, SlotRefusal, SlotRequest, SlotTicket } from '#model';
import { Scheduler, type Review } from '#scheduler';

const POOLS = ['ns/p', 'ns/q'];
const update = (invocation: string, phase: RunUpdate['phase']): RunUpdate => ({ invocation, phase, reason: '', message: '' });
const request = (invocation: string, agent: string, change: Partial<SlotRequest> = {}): SlotRequest => ({
  invocation,
  agent,
  pool: 'ns/p',
  maxConcurrent: 0,
  maxExecutionsPerWorker: 2,
  maxWaitMs: 60_000,
  ...change,
});

/** A scheduler with whoever waits in it: what became of each request, in order of the outcomes. */
const room = (limits: { queuedPerAgent?: number; queuedPerPool?: number } = {}, review?: Review) => {
  const scheduler = new Scheduler({ log: silentLogger, limits: { reattachMs: 60_000, ...limits }, ...(review && { review }) });
  const slots = new Map<string, Slot>();
  const refusals = new Map<string, SlotRefusal>();
  const tickets = new Map<string, SlotTicket>();
  const order: string[] = [];
  const once = (invocation: string): void => {
    if (order.includes(invocation)) throw new Error(`${invocation} has two outcomes`);
    order.push(invocation);
  };
  const granted = (invocation: string, slot: Slot): void => {
    once(invocation);
    slots.set(invocation, slot);
  };
  const refused = (invocation: string, refusal: SlotRefusal): void => {
    once(invocation);
    refusals.set(invocation, refusal);
  };
  const take = (of: SlotRequest): void => {
    const { invocation } = of;
    const taken = scheduler.take(of, { granted: (slot) => granted(invocation, slot), refused: (refusal) => refused(invocation, refusal) });
    if ('worker' in taken) granted(invocation, taken);
    else if ('refused' in taken) refused(invocation, taken);
    else tickets.set(invocation, taken);
  };
  const attach = (worker: string, pool = 'ns/p', running: readonly string[] = [], draining = false) => {
    let drained = false;
    const attachment = scheduler.attach(
      { worker, pool, maxExecutions: 0, running, draining },
      (message) => (drained ||= message.case === 'drained'),
      () => {},
    );
    return { ...attachment, drained: () => drained };
  };
  return { scheduler, take, attach, slots, refusals, tickets, order };
};

const assignment = (invocation: string): Assignment => ({
  invocation,
  namespace: 'ns',
  agent: 'a',
  revision: '',
  image: '',
  command: [],
  args: [],
  env: [],
  timeoutMs: 60_000,
  cpus: 1,
  memoryBytes: 2 ** 29,
  storageBytes: 2 ** 26,
  traceId: '',
  spanId: '',
  gateways: [],
  event: new Uint8Array(),
});

test('first come first served within an agent, agents take turns, and one at its limit holds up nobody', () => {
  const { scheduler, take, attach, slots, order } = room();
  using _ = scheduler;
  attach('w');
  take(request('b1', 'b', { maxConcurrent: 1 }));
  take(request('a1', 'a'));
  for (const [id, agent, maxConcurrent] of [
    ['b2', 'b', 1],
    ['a2', 'a', 0],
    ['a3', 'a', 0],
    ['c1', 'c', 0],
    ['a4', 'a', 0],
    ['c2', 'c', 0],
  ] as const) {
    take(request(id, agent, { maxConcurrent }));
  }
  expect(order).toEqual(['b1', 'a1']);
  // b goes on working: its second waits, and the other slot goes to a and c in turn.
  for (const done of ['a1', 'a2', 'c1', 'a3', 'c2', 'a4']) slots.get(done)!.release();
  expect(order).toEqual(['b1', 'a1', 'a2', 'c1', 'a3', 'c2', 'a4']);
  slots.get('b1')!.release();
  expect(order.at(-1)).toBe('b2');
});

test('nobody overtakes: who comes while others of the agent wait goes behind them', () => {
  const { scheduler, take, attach, slots, order } = room();
  using _ = scheduler;
  attach('w');
  for (const id of ['1', '2', '3']) take(request(id, 'a', { maxConcurrent: 1 }));
  slots.get('1')!.release();
  take(request('4', 'a', { maxConcurrent: 1 }));
  for (const id of ['2', '3']) slots.get(id)!.release();
  expect(order).toEqual(['1', '2', '3', '4']);
});

test('who leaves is told nothing and holds up nobody; a new worker serves at once', () => {
  const { scheduler, take, attach, tickets, slots, order } = room();
  using _ = scheduler;
  attach('w');
  for (const id of ['1', '2', '3', '4', '5']) take(request(id, 'a'));
  tickets.get('3')!.leave();
  tickets.get('3')!.leave();
  attach('v');
  expect(order).toEqual(['1', '2', '4', '5']);
  expect(slots.get('4')!.worker).toBe('v');
});

test('a worker that drains gets nothing new, and may go when what it has has ended; also after it came back', () => {
  const { scheduler, take, attach, slots, order, refusals } = room();
  using _ = scheduler;
  const one = attach('1');
  for (const id of ['a', 'b', 'c']) take(request(id, 'x'));
  one.drain();
  slots.get('a')!.release();
  expect(order).toEqual(['a', 'b']);
  slots.get('b')!.start(assignment('b'), { output: () => {}, update: () => {} });
  one.lost();
  const again = attach('1', 'ns/p', ['b'], true);
  expect(again.drained()).toBe(false);
  take(request('d', 'x'));
  expect(refusals.get('d')).toMatchObject({ refused: 'NoWorker' });
  const two = attach('2');
  expect(slots.get('c')!.worker).toBe('2');
  again.update(update('b', 'Succeeded'));
  expect(again.drained()).toBe(true);
  two.drain();
  expect(two.drained()).toBe(false);
  slots.get('c')!.release();
  expect(two.drained()).toBe(true);
});

test('beyond the bounds there is a refusal that says when to come again, by what runs take', () => {
  const { scheduler, take, attach, slots, refusals } = room({ queuedPerAgent: 2, queuedPerPool: 3 });
  using _ = scheduler;
  const worker = attach('w');
  for (const id of ['1', '2', '3', '4', '5']) take(request(id, 'a'));
  expect(refusals.get('5')).toMatchObject({ refused: 'PoolFull', retryAfterMs: 0 });
  for (const id of ['6', '7']) take(request(id, 'b'));
  expect([...refusals.keys()]).toEqual(['5', '7']);
  expect(refusals.get('7')!.message).toContain('full');
  // One at its limit says so, also when the pool is full.
  take(request('8', 'a', { maxConcurrent: 1 }));
  expect(refusals.get('8')).toMatchObject({ refused: 'AgentFull' });
  slots.get('1')!.start(assignment('1'), { output: () => {}, update: () => {} });
  worker.update(update('1', 'Succeeded'));
  take(request('9', 'a'));
  take(request('10', 'a'));
  expect(refusals.get('10')!.retryAfterMs).toBeGreaterThan(0);
});

test('a wait that takes too long is refused, and one whose agent cannot run any more', async () => {
  let refused: SlotRefusal | undefined;
  const { scheduler, take, attach, refusals, order } = room({}, (of) => refused ?? of);
  using _ = scheduler;
  attach('w');
  for (const id of ['1', '2']) take(request(id, 'a'));
  take(request('3', 'a', { maxWaitMs: 5 }));
  take(request('4', 'a'));
  await new Promise<void>((resolve) => {
    const check = (): void => void (refusals.has('3') ? resolve() : setTimeout(check, 5));
    check();
  });
  expect(refusals.get('3')).toMatchObject({ refused: 'QueueTimeout' });
  refused = { refused: 'AgentNotFound', message: 'gone' };
  scheduler.review();
  expect(refusals.get('4')).toBe(refused);
  expect(order).toEqual(['1', '2', '3', '4']);
});

test('limits that change while runs wait hold from then on', () => {
  let maxConcurrent = 1;
  const { scheduler, take, attach, order } = room({}, (of) => ({ ...of, maxConcurrent }));
  using _ = scheduler;
  attach('w');
  attach('v');
  for (const id of ['1', '2', '3', '4']) take(request(id, 'a', { maxConcurrent: 1 }));
  expect(order).toEqual(['1']);
  maxConcurrent = 3;
  scheduler.review();
  expect(order).toEqual(['1', '2', '3']);
});

/** Random lives of a pool against the rules themselves. */
type Step =
  | { readonly do: 'take'; readonly agent: number; readonly pool: number }
  | { readonly do: 'end' | 'leave'; readonly nth: number }
  | { readonly do: 'attach' | 'lose' | 'forget' | 'drain'; readonly worker: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), agent: fc.nat(3), pool: fc.nat(1) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('end' as const, 'leave' as const), nth: fc.nat(50) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('attach' as const, 'lose' as const, 'forget' as const, 'drain' as const), worker: fc.nat(3) }) },
);
/** maxConcurrent by agent. */
const CAPS = [0, 1, 2, 5];

test('whatever happens: no limit is passed, no slot is idle while somebody could have it, everybody has one outcome', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const { scheduler, take, attach, slots, refusals, tickets, order } = room({ queuedPerAgent: 5, queuedPerPool: 12 });
      using _ = scheduler;
      const requests = new Map<string, SlotRequest>();
      const running = new Map<string, string>(); // invocation -> worker
      const left = new Set<string>();
      const attached = new Map<string, ReturnType<typeof attach>>();
      /** Workers that take no more, with the runs they had when they said so. */
      const draining = new Map<string, ReadonlySet<string>>();
      const poolOf = (worker: string): string => POOLS[Number(worker) % 2]!;
      const waiting = (): SlotRequest[] => [...tickets.keys()].filter((id) => !order.includes(id) && !left.has(id)).map((id) => requests.get(id)!);
      let started = 0;
      const startGranted = (): void => {
        // A granted slot is started at once; its end is told by its worker.
        for (; started < order.length; started++) {
          const id = order[started]!;
          const slot = slots.get(id);
          if (!slot) continue;
          running.set(id, slot.worker);
          slot.start(assignment(id), {
            output: () => {},
            update: ({ phase }) => {
              if (phase === 'Running') return;
              expect(running.delete(id), `${id} ends once`).toBe(true);
            },
          });
        }
      };
      const count = (of: (id: string, worker: string) => boolean): number => [...running].filter(([id, worker]) => of(id, worker)).length;
      const check = (): void => {
        startGranted();
        for (const worker of ['0', '1', '2', '3']) expect(count((_, on) => on === worker)).toBeLessThanOrEqual(2);
        for (const [worker, had] of draining) {
          expect([...running].filter(([id, on]) => on === worker && !had.has(id))).toEqual([]);
          expect(attached.get(worker)!.drained()).toBe(count((_, on) => on === worker) === 0);
        }
        for (const [agent, cap] of CAPS.entries()) if (cap > 0) expect(count((id) => requests.get(id)!.agent === `${agent}`)).toBeLessThanOrEqual(cap);
        for (const pool of POOLS) {
          const room = [...attached.keys()].some((worker) => !draining.has(worker) && poolOf(worker) === pool && count((_, on) => on === worker) < 2);
          const could = waiting().filter((one) => {
            const cap = CAPS[Number(one.agent)]!;
            return one.pool === pool && (cap === 0 || count((id) => requests.get(id)!.agent === one.agent) < cap);
          });
          if (room) expect(could.map(({ invocation }) => invocation)).toEqual([]);
          expect(waiting().filter((one) => one.pool === pool).length).toBeLessThanOrEqual(12);
        }
        for (const [agent] of CAPS.entries()) {
          for (const pool of POOLS) expect(waiting().filter((one) => one.pool === pool && one.agent === `${agent}`).length).toBeLessThanOrEqual(5);
        }
      };
      const end = (id: string): void => attached.get(running.get(id)!)?.update(update(id, 'Succeeded'));
      let ids = 0;
      for (const one of steps) {
        if (one.do === 'take') {
          const of = request(String(++ids), String(one.agent), { pool: POOLS[one.pool]!, maxConcurrent: CAPS[one.agent]! });
          requests.set(of.invocation, of);
          take(of);
        } else if (!('worker' in one) && one.do === 'end') {
          const id = [...running.keys()][one.nth % Math.max(1, running.size)];
          if (id !== undefined) end(id);
        } else if (!('worker' in one)) {
          const id = waiting()[one.nth % Math.max(1, waiting().length)]?.invocation;
          if (id !== undefined) {
            left.add(id);
            tickets.get(id)!.leave();
          }
        } else {
          const worker = String(one.worker);
          if (one.do === 'drain') {
            if (!attached.has(worker) || draining.has(worker)) continue;
            draining.set(worker, new Set([...running].filter(([, on]) => on === worker).map(([id]) => id)));
            attached.get(worker)!.drain();
            check();
            continue;
          }
          draining.delete(worker);
          if (one.do === 'lose') attached.get(worker)?.lost();
          if (one.do === 'lose') attached.delete(worker);
          // It comes back with its runs, or without.
          const has = one.do === 'attach' ? [...running].filter(([, on]) => on === worker).map(([id]) => id) : [];
          if (one.do !== 'lose') attached.set(worker, attach(worker, poolOf(worker), has));
        }
        check();
      }
      draining.clear();
      // Once workers are there and runs end, nobody is left waiting.
      for (const worker of ['0', '1', '2', '3']) {
        attached.set(
          worker,
          attach(
            worker,
            poolOf(worker),
            [...running].filter(([, on]) => on === worker).map(([id]) => id),
          ),
        );
        check();
      }
      while (running.size > 0) {
        end([...running.keys()][0]!);
        check();
      }
      expect(waiting()).toEqual([]);
      for (const id of requests.keys()) expect([slots.has(id), refusals.has(id), left.has(id)].filter(Boolean), id).toHaveLength(1);
    }),
    { numRuns: 300 },
  );
});
