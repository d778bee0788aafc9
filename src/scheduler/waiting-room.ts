import { messageOf, type Logger } from '#lib';
import type { Slot, SlotRefusal, SlotRequest, SlotTicket, SlotWaiter } from '#model';
import { alarm, type Alarm } from './alarm.ts';
import { chooseWorker } from './choose.ts';
import { Durations } from './durations.ts';
import { FairQueue, type Offered } from './queue.ts';

/** How many may wait for a slot; whoever comes then is told to come again. */
export interface WaitingLimits {
  readonly queuedPerAgent: number;
  readonly queuedPerPool: number;
}

/** What holds for a request now, or why it cannot be served any more: agent and pool may have changed since it began to wait. */
export type Review = (request: SlotRequest) => Pick<SlotRequest, 'maxConcurrent' | 'maxExecutionsPerWorker'> | SlotRefusal;

export const agentKey = (agent: string): string => `agent ${agent}`;
export const poolKey = (pool: string): string => `pool ${pool}`;
export const workerKey = (worker: string): string => `worker ${worker}`;

/** What there is to be given. */
export interface Slots {
  /** Workers of a pool that take runs. */
  workersOf(pool: string): readonly { readonly name: string; readonly maxExecutions: number }[];
  /** Runs by one of the keys above. */
  loadOf(key: string): number;
  /** Sandboxes on a worker that wait for just such a run. */
  warmOn(worker: string, request: SlotRequest): number;
  slotOn(worker: string, request: SlotRequest): Slot;
}

/** A request that has no slot yet, and what came of it. */
interface Waiting {
  readonly request: SlotRequest;
  waiter?: SlotWaiter;
  /** Ends the wait. */
  late?: Alarm;
  outcome?: Slot | SlotRefusal;
}

/**
 * Gives out slots, and has whoever finds none wait in the line of its agent. An agent at its limit holds up nobody else; when
 * workers are full, the next free slot is for the agent whose turn it is. Nobody overtakes within a line.
 */
export class WaitingRoom implements Disposable {
  readonly #slots: Slots;
  readonly #limits: WaitingLimits;
  readonly #review: Review;
  readonly #log: Logger;
  readonly #queues = new Map<string, FairQueue<Waiting>>();
  readonly #durations = new Durations();
  #serving = false;

  constructor(options: { slots: Slots; limits: WaitingLimits; review?: Review; log: Logger }) {
    this.#limits = options.limits;
    this.#slots = options.slots;
    this.#review = options.review ?? ((request) => request);
    this.#log = options.log;
  }

  take(request: SlotRequest, waiter?: SlotWaiter): Slot | SlotTicket | SlotRefusal {
    const { pool, agent } = request;
    if (this.#slots.workersOf(pool).length === 0) return noWorker(pool);
    const queue = this.#queueOf(pool);
    const waiting: Waiting = { request };
    queue.push(waiting);
    this.serve();
    if (waiting.outcome) return waiting.outcome;
    const why = this.#obstacle(request);
    const tooMany = queue.sizeOf(agent) > this.#limits.queuedPerAgent || queue.size > this.#limits.queuedPerPool;
    if (!waiter || tooMany) {
      queue.delete(waiting);
      return { ...why, retryAfterMs: this.#retryAfterMs(request, why.refused), ...(tooMany && { message: `${why.message} ${this.#waiters(request)} wait.` }) };
    }
    waiting.waiter = waiter;
    waiting.late = alarm(request.maxWaitMs, () => this.#expire(waiting));
    return { waiting: why.refused, message: why.message, leave: () => this.#leave(waiting) };
  }

  /** Gives free slots to those who wait. */
  serve(): void {
    // What a waiter does with its slot may come back here: the loop of the first call sees to it.
    if (this.#serving) return;
    this.#serving = true;
    try {
      for (const queue of this.#queues.values()) {
        for (let served = queue.next((waiting) => this.#offer(waiting)); served; served = queue.next((waiting) => this.#offer(waiting))) this.#tell(served);
      }
    } finally {
      this.#serving = false;
    }
  }

  /** Ends the wait of everybody who cannot be served any more. */
  review(): void {
    for (const queue of this.#queues.values()) {
      for (const waiting of Array.from(queue)) {
        const now = this.#review(waiting.request);
        if (!('refused' in now) || !queue.delete(waiting)) continue;
        waiting.outcome = now;
        this.#tell(waiting);
      }
    }
    this.serve();
  }

  #offer(waiting: Waiting): Offered {
    const { request } = waiting;
    // One that has just come says what holds now.
    const limits = waiting.waiter ? this.#review(request) : request;
    if ('refused' in limits) {
      waiting.outcome = limits;
      return 'leaves';
    }
    if (limits.maxConcurrent > 0 && this.#slots.loadOf(agentKey(request.agent)) >= limits.maxConcurrent) return 'next';
    const candidates = this.#slots.workersOf(request.pool).map(({ name, maxExecutions }) => ({
      name,
      load: this.#slots.loadOf(workerKey(name)),
      capacity: Math.min(limits.maxExecutionsPerWorker, maxExecutions || Infinity),
      warm: this.#slots.warmOn(name, request),
    }));
    const worker = chooseWorker(request, candidates);
    // Whoever needs a slot first gets the first that is free.
    if (!worker) return 'stop';
    waiting.outcome = this.#slots.slotOn(worker.name, request);
    return 'leaves';
  }

  #tell({ request, outcome, waiter, late }: Waiting): void {
    late?.stop();
    if (!waiter || !outcome) return;
    try {
      if ('refused' in outcome) waiter.refused(outcome);
      else waiter.granted(outcome);
    } catch (error) {
      // Whoever made room must not pay for it.
      this.#log.error(`a waiting run was not started: ${messageOf(error)}`, { invocation: request.invocation, err: error });
      if (!('refused' in outcome)) outcome.release();
    }
  }

  #leave(waiting: Waiting): void {
    waiting.late?.stop();
    if (this.#queueOf(waiting.request.pool).delete(waiting)) this.serve();
  }

  #expire(waiting: Waiting): void {
    const { pool, maxWaitMs } = waiting.request;
    if (!this.#queueOf(pool).delete(waiting)) return;
    const why = this.#obstacle(waiting.request);
    const message = `It waited ${Math.round(maxWaitMs / 1_000)} s for a slot. ${why.message}`;
    const late = { refused: 'QueueTimeout', message, retryAfterMs: this.#retryAfterMs(waiting.request, why.refused) };
    waiting.outcome = this.#slots.workersOf(pool).length > 0 ? late : noWorker(pool);
    this.#tell(waiting);
    this.serve();
  }

  /** Why a request that was not served has to wait. */
  #obstacle({ agent, pool, ...request }: SlotRequest): { refused: 'AgentFull' | 'PoolFull'; message: string } {
    const now = this.#review({ agent, pool, ...request });
    const { maxConcurrent } = 'refused' in now ? request : now;
    const runs = this.#slots.loadOf(agentKey(agent));
    if (maxConcurrent > 0 && runs >= maxConcurrent) {
      return { refused: 'AgentFull', message: `${agent} already has ${runs} runs; its maxConcurrent is ${maxConcurrent}.` };
    }
    return { refused: 'PoolFull', message: `Every worker of pool ${pool} is full.` };
  }

  #waiters = ({ agent, pool }: SlotRequest): string => {
    const queue = this.#queueOf(pool);
    return `${queue.sizeOf(agent)} more of this agent and ${queue.size} of this pool`;
  };

  /** When a request that came now would have a slot: all before it, at the pace of recent runs. */
  #retryAfterMs({ agent, pool }: SlotRequest, obstacle: 'AgentFull' | 'PoolFull'): number {
    const queue = this.#queueOf(pool);
    const [key, ahead] = obstacle === 'AgentFull' ? [agentKey(agent), queue.sizeOf(agent)] : [poolKey(pool), queue.size];
    return ((this.#durations.of(key) ?? 0) * (ahead + 1)) / Math.max(1, this.#slots.loadOf(key));
  }

  #queueOf(pool: string): FairQueue<Waiting> {
    const queue = this.#queues.get(pool) ?? new FairQueue<Waiting>();
    this.#queues.set(pool, queue);
    return queue;
  }

  /** A run had its slot for so long. */
  lasted({ agent, pool }: SlotRequest, ms: number): void {
    this.#durations.add(agentKey(agent), ms);
    this.#durations.add(poolKey(pool), ms);
  }

  [Symbol.dispose](): void {
    for (const queue of this.#queues.values()) for (const { late } of queue) late?.stop();
    this.#queues.clear();
  }
}

const noWorker = (pool: string): SlotRefusal => ({
  refused: 'NoWorker',
  message: `No worker of pool ${pool} is connected; one that was lost is started again by itself. See the status of the pool.`,
});
