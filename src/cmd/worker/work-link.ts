import { createConnection } from 'node:net';
import { once } from 'node:events';
import { AsyncQueue, messageOf, retry, sleep, type Logger } from '#lib';
import type { Assignment, RunUpdate } from '#model';
import { connect, Work, type Client } from '#wire';

type MessageToDispatcher = Parameters<Client<typeof Work>['attach']>[0] extends AsyncIterable<infer M> ? M : never;

export interface WorkHandler {
  /** Invocations that run here. */
  readonly running: () => readonly string[];
  /** Sandboxes that wait for a run here. */
  readonly warm: () => readonly { readonly template: string; readonly count: number }[];
  assign(assignment: Assignment): void;
  /** It is going to be assigned: everything but its event may happen, until `begin` or `cancel`. */
  announce(assignment: Assignment): void;
  begin(invocation: string): void;
  /** What was announced and has not begun will not. */
  forget(): void;
  cancel(invocation: string, reason: string): void;
  credit(invocation: string, bytes: number): void;
  /** After `drain`: the dispatcher gives no more runs and waits for the end of none. */
  drained(): void;
}

/** An end counts as heard when its stream lived on this long; else it is told again (the dispatcher takes the first only). */
const HEARD_AFTER_MS = 5_000;

/**
 * The stream to the dispatcher, kept open for the life of the worker. While the dispatcher is away, output waits here (no
 * more than runs have credit for) and so do the ends of runs, which are told again until they were surely heard.
 */
export class WorkLink implements AsyncDisposable {
  readonly #socket: string;
  readonly #who: { readonly worker: string; readonly pool: string };
  readonly #handler: WorkHandler;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  readonly #unheard = new Map<string, RunUpdate>();
  #draining = false;
  #waiting: MessageToDispatcher[] = [];
  #up: AsyncQueue<MessageToDispatcher> | undefined;
  #attached: Promise<void> = Promise.resolve();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: { socket: string; worker: string; pool: string; handler: WorkHandler; log: Logger }) {
    this.#socket = options.socket;
    this.#who = { worker: options.worker, pool: options.pool };
    this.#handler = options.handler;
    this.#log = options.log;
  }

  start(): void {
    const { signal } = this.#abort;
    const backoff = { firstMs: 50, maxMs: 500, factor: 2 };
    this.#loop = (async () => {
      while (!signal.aborted) {
        await retry(() => reachable(this.#socket), { signal, backoff });
        this.#attached = this.#attach().catch((error: unknown) => this.#log.warn(`the dispatcher went away: ${messageOf(error)}`));
        await this.#attached;
        await sleep(backoff.firstMs, signal);
      }
    })().catch(() => {});
  }

  output(invocation: string, data: Uint8Array): void {
    this.#send({ message: { case: 'stdout', value: { invocation, data } } });
  }

  update(update: RunUpdate): void {
    if (update.phase === 'Running') return this.#send({ message: { case: 'update', value: update } });
    this.#unheard.set(update.invocation, update);
    if (this.#up) this.#tell(update);
  }

  /** Takes no new runs from here on, also after a reconnect; `drained` is called once all have ended. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#up?.push({ message: { case: 'drain', value: {} } });
  }

  /** What waits for runs has changed; the dispatcher hears of it when it is there. */
  warmChanged(): void {
    this.#up?.push({ message: { case: 'warm', value: { counts: [...this.#handler.warm()] } } });
  }

  #send(message: MessageToDispatcher): void {
    if (this.#up) this.#up.push(message);
    else this.#waiting.push(message);
  }

  #tell(update: RunUpdate): void {
    const up = this.#up!;
    up.push({ message: { case: 'update', value: update } });
    const heard = (): void => void (this.#up === up && this.#unheard.delete(update.invocation));
    sleep(HEARD_AFTER_MS, this.#abort.signal).then(heard, () => {});
  }

  async #attach(): Promise<void> {
    const { signal } = this.#abort;
    const client = connect(Work, this.#socket);
    const up = new AsyncQueue<MessageToDispatcher>();
    const running = [...new Set([...this.#handler.running(), ...this.#unheard.keys()])];
    up.push({ message: { case: 'hello', value: { ...this.#who, maxExecutions: 0, running, draining: this.#draining } } });
    for (const message of this.#waiting) up.push(message);
    this.#waiting = [];
    this.#up = up;
    this.warmChanged();
    for (const update of this.#unheard.values()) this.#tell(update);
    try {
      for await (const { message } of client.attach(up, { signal })) {
        if (message.case === 'assignment') this.#handler.assign(message.value as Assignment);
        else if (message.case === 'announcement') this.#handler.announce(message.value as Assignment);
        else if (message.case === 'begin') this.#handler.begin(message.value.invocation);
        else if (message.case === 'cancel') this.#handler.cancel(message.value.invocation, message.value.reason);
        else if (message.case === 'drained') this.#handler.drained();
        else if (message.case === 'credit') this.#handler.credit(message.value.invocation, message.value.bytes);
      }
    } finally {
      this.#handler.forget();
      this.#up = undefined;
      up.end();
      client.close();
    }
  }

  /** Lets the dispatcher read what was told, then ends the stream. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#up?.end();
    await Promise.race([this.#attached, sleep(2_000, this.#abort.signal)]);
    this.#abort.abort();
    await this.#loop;
  }
}

/** Resolves when somebody listens: a call to a socket nobody serves would take what is written to it along. */
const reachable = async (socket: string): Promise<void> => {
  const connection = createConnection(socket);
  try {
    await once(connection, 'connect');
  } finally {
    connection.destroy();
  }
};
