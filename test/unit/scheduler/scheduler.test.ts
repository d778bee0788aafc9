import { expect, test } from 'vitest';
import { silentLogger } from '#lib';
import type { Assignment, RunUpdate, Slot, SlotRefusal, SlotRequest, SlotTicket } from '#model';
import { Scheduler, type SchedulerLimits, type WorkerMessage } from '#scheduler';

const make = (limits: Partial<SchedulerLimits> = {}): Scheduler => new Scheduler({ log: silentLogger, limits });

const attach = (scheduler: Scheduler, worker: string, options: { pool?: string; maxExecutions?: number; running?: string[] } = {}) => {
  const sent: WorkerMessage[] = [];
  let closed = false;
  const { pool = 'ns/p', maxExecutions = 0, running = [] } = options;
  const attachment = scheduler.attach(
    { worker, pool, maxExecutions, running, draining: false },
    (message) => sent.push(message),
    () => (closed = true),
  );
  return { ...attachment, sent, closed: () => closed };
};

let ids = 0;
const request = (change: Partial<SlotRequest> = {}): SlotRequest => ({
  invocation: `i${++ids}`,
  agent: 'ns/a',
  pool: 'ns/p',
  maxConcurrent: 0,
  maxExecutionsPerWorker: 16,
  maxWaitMs: 60_000,
  ...change,
});
const taken = (slot: Slot | SlotTicket | SlotRefusal): Slot => {
  if (!('worker' in slot)) throw new Error(slot.message);
  return slot;
};
const assignment = (invocation: string, timeoutMs = 60_000): Assignment => ({
  invocation,
  namespace: 'ns',
  agent: 'a',
  revision: 'a-00001',
  image: 'i',
  command: [],
  args: [],
  env: [],
  timeoutMs,
  cpus: 1,
  memoryBytes: 2 ** 29,
  storageBytes: 2 ** 26,
  traceId: '',
  spanId: '',
  gateways: [],
  event: new Uint8Array(),
});
const watchUpdates = () => {
  const updates: RunUpdate[] = [];
  const end = Promise.withResolvers<RunUpdate>();
  return {
    updates,
    end: end.promise,
    observer: {
      output: () => {},
      update: (update: RunUpdate) => {
        updates.push(update);
        if (update.phase !== 'Running') end.resolve(update);
      },
    },
  };
};

test('the worker with the fewest runs is chosen, of the right pool only', () => {
  using scheduler = make();
  attach(scheduler, 'elsewhere', { pool: 'ns/other' });
  attach(scheduler, 'one');
  attach(scheduler, 'two');
  const workers = Array.from({ length: 6 }, () => taken(scheduler.take(request())).worker);
  expect(workers.toSorted()).toEqual(['one', 'one', 'one', 'two', 'two', 'two']);
  expect(new Set(workers.slice(0, 2)).size).toBe(2);
});

test('a worker with a warm sandbox of just that template comes first, as often as it has one', () => {
  using scheduler = make();
  attach(scheduler, 'cold');
  const warm = attach(scheduler, 'warm');
  warm.warm([{ template: 't', count: 2 }]);
  const workers = (template: string, count: number) => Array.from({ length: count }, () => taken(scheduler.take(request({ template }))).worker);
  expect(workers('t', 3)).toEqual(['warm', 'warm', 'cold']);
  expect(workers('other', 1)).toEqual(['cold']);
  warm.warm([{ template: 't', count: 1 }]);
  expect(workers('t', 1)).toEqual(['warm']);
  warm.warm([]);
  expect(workers('t', 1)).toEqual(['cold']);
});

test('a run is announced before it begins, and called off when it does not', () => {
  using scheduler = make();
  const { sent } = attach(scheduler, 'one');
  const [begun, off, plain] = [request(), request(), request()];
  const { observer } = watchUpdates();
  const first = taken(scheduler.take(begun));
  first.announce(assignment(begun.invocation));
  first.start(assignment(begun.invocation), observer);
  const second = taken(scheduler.take(off));
  second.announce(assignment(off.invocation));
  second.release();
  taken(scheduler.take(plain)).release();
  expect(sent.map(({ case: what, value }) => [what, 'invocation' in value && value.invocation])).toEqual([
    ['announcement', begun.invocation],
    ['begin', begun.invocation],
    ['announcement', off.invocation],
    ['cancel', off.invocation],
  ]);
});

test('a worker that went away has given up what was announced to it: the run is not begun anywhere', async () => {
  using scheduler = make();
  const asked = request();
  const old = attach(scheduler, 'one');
  const slot = taken(scheduler.take(asked));
  slot.announce(assignment(asked.invocation));
  old.lost();
  const { sent } = attach(scheduler, 'one', { running: [] });
  const { observer, end } = watchUpdates();
  slot.start(assignment(asked.invocation), observer);
  expect(await end).toMatchObject({ phase: 'Failed', reason: 'WorkerLost' });
  expect(sent).toEqual([]);
});

test('a run that its worker could not prepare ends with its start, as the worker said', async () => {
  using scheduler = make();
  const { update, sent } = attach(scheduler, 'one');
  const asked = request();
  const slot = taken(scheduler.take(asked));
  slot.announce(assignment(asked.invocation));
  update({ invocation: asked.invocation, phase: 'Failed', reason: 'NoAddress', message: 'none is free' });
  const { observer, updates, end } = watchUpdates();
  slot.start(assignment(asked.invocation), observer);
  expect(await end).toMatchObject({ phase: 'Failed', reason: 'NoAddress' });
  expect(updates).toHaveLength(1);
  expect(sent.map(({ case: what }) => what)).toEqual(['announcement']);
  expect(taken(scheduler.take(request({ maxExecutionsPerWorker: 1 }))).worker).toBe('one');
});

test('without a worker of the pool there is no slot', () => {
  using scheduler = make();
  expect(scheduler.take(request())).toMatchObject({ refused: 'NoWorker' });
  const { lost } = attach(scheduler, 'one');
  lost();
  expect(scheduler.take(request())).toMatchObject({ refused: 'NoWorker' });
});

test('limits of agent, pool and worker hold, and a released slot is free again', () => {
  using scheduler = make();
  attach(scheduler, 'small', { maxExecutions: 1 });
  const one = taken(scheduler.take(request({ maxExecutionsPerWorker: 5 })));
  expect(scheduler.take(request({ maxExecutionsPerWorker: 5 }))).toMatchObject({ refused: 'PoolFull' });
  attach(scheduler, 'large');
  const rest = Array.from({ length: 2 }, () => taken(scheduler.take(request({ maxExecutionsPerWorker: 2 }))));
  expect(rest.map(({ worker }) => worker)).toEqual(['large', 'large']);
  expect(scheduler.take(request({ maxExecutionsPerWorker: 2 }))).toMatchObject({ refused: 'PoolFull' });
  expect(scheduler.take(request({ maxConcurrent: 3 }))).toMatchObject({ refused: 'AgentFull' });
  expect(scheduler.take(request({ maxConcurrent: 3, agent: 'ns/b' }))).toHaveProperty('worker');
  one.release();
  expect(scheduler.take(request({ maxConcurrent: 3 }))).toMatchObject({ worker: 'small' });
  expect(scheduler.take(request({ maxExecutionsPerWorker: 0 }))).toMatchObject({ refused: 'PoolFull' });
});

test('a run has one end: the first, from its own worker', () => {
  using scheduler = make();
  const mine = attach(scheduler, 'mine');
  const other = attach(scheduler, 'other', { pool: 'ns/other' });
  const { invocation, ...rest } = request();
  const { updates, observer } = watchUpdates();
  taken(scheduler.take({ invocation, ...rest })).start(assignment(invocation), observer);
  expect(mine.sent).toMatchObject([{ case: 'assignment', value: { invocation } }]);
  const update = (phase: RunUpdate['phase']): RunUpdate => ({ invocation, phase, reason: '', message: '' });
  other.update(update('Failed'));
  mine.update(update('Running'));
  mine.update(update('Succeeded'));
  mine.update(update('Failed'));
  mine.lost();
  expect(updates.map(({ phase }) => phase)).toEqual(['Running', 'Succeeded']);
});

test('a second stream of the same worker takes the place of the first, whose messages no longer count', () => {
  using scheduler = make();
  const first = attach(scheduler, 'w');
  const { invocation, ...rest } = request();
  const { updates, observer } = watchUpdates();
  taken(scheduler.take({ invocation, ...rest })).start(assignment(invocation), observer);
  const second = attach(scheduler, 'w', { running: [invocation] });
  expect(first.closed()).toBe(true);
  first.update({ invocation, phase: 'Failed', reason: '', message: '' });
  first.lost();
  expect(updates).toEqual([]);
  expect(scheduler.take(request())).toMatchObject({ worker: 'w' });
  second.update({ invocation, phase: 'Succeeded', reason: '', message: '', outputBytes: 0 });
  expect(updates.map(({ phase }) => phase)).toEqual(['Succeeded']);
});

test('after a broken stream a success without a total of its output is not believed', () => {
  using scheduler = make();
  const first = attach(scheduler, 'w');
  const { invocation, ...rest } = request();
  const { updates, observer } = watchUpdates();
  taken(scheduler.take({ invocation, ...rest })).start(assignment(invocation), observer);
  first.lost();
  const second = attach(scheduler, 'w', { running: [invocation] });
  second.update({ invocation, phase: 'Succeeded', reason: '', message: '' });
  expect(updates).toMatchObject([{ phase: 'Failed', reason: 'OutputLost' }]);
});

test('a worker lost between slot and start loses the run at once', async () => {
  using scheduler = make();
  const { lost } = attach(scheduler, 'w');
  const { invocation, ...rest } = request();
  const slot = taken(scheduler.take({ invocation, ...rest }));
  lost();
  const { end, observer } = watchUpdates();
  slot.start(assignment(invocation), observer);
  expect(await end).toMatchObject({ phase: 'Failed', reason: 'WorkerLost' });
});

test('a timeout of months does not ring at once', async () => {
  using scheduler = make({ timeoutSlackMs: 0 });
  attach(scheduler, 'w');
  const { invocation, ...rest } = request();
  const { updates, observer } = watchUpdates();
  const control = taken(scheduler.take({ invocation, ...rest })).start(assignment(invocation, 2 ** 40), observer);
  const short = request();
  const { end, observer: shortObserver } = watchUpdates();
  taken(scheduler.take(short)).start(assignment(short.invocation, 20), shortObserver);
  expect(await end).toMatchObject({ phase: 'Timeout' });
  expect(updates).toEqual([]);
  control.cancel('Done');
});
