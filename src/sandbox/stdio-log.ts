import { randomBytes } from 'node:crypto';
import { RecordFile, sleep, systemClock, type Clock, type Logger } from '#lib';
import type { Assignment, RunUpdate, StdioLine } from '#model';
import { LineCutter } from './line-cutter.ts';

/** Limits in bytes of the record file: every line costs its text and LINE_OVERHEAD. */
export interface StdioLimits {
  /** One run, a second; twice that at once. */
  readonly runPerSecond: number;
  /** One run, in all. */
  readonly run: number;
  /** All runs of the worker, a second. */
  readonly workerPerSecond: number;
  /** stderr of all runs of the worker that is read, a second: beyond it the processes that write it wait. */
  readonly read: number;
  /** Waiting to be written. */
  readonly queue: number;
  /** Size at which the file is put aside; five files are kept. */
  readonly rotate: number;
}

const MIB = 1024 * 1024;
export const STDIO_LIMITS: StdioLimits = { runPerSecond: MIB, run: 64 * MIB, workerPerSecond: 4 * MIB, read: 16 * MIB, queue: 8 * MIB, rotate: 16 * MIB };
/** About what ids, names and punctuation of a line take. */
export const LINE_OVERHEAD = 400;
/** A clock that was set back by less than this does not show: lines go on a nanosecond apart. */
const MAX_LAG_NS = 10_000_000_000n;

/** A token bucket of bytes that holds two seconds' worth. */
class Rate {
  readonly #perSecond: number;
  readonly #clock: Clock;
  #level: number;
  #at: number;

  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#level = 2 * perSecond;
    this.#at = clock.monotonic();
  }

  get level(): number {
    const now = this.#clock.monotonic();
    this.#level = Math.min(2 * this.#perSecond, this.#level + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    return this.#level;
  }

  take(bytes: number): void {
    this.#level -= bytes;
  }
}

/** A piece passes when those before it are over at `perSecond` bytes, or within this long of that. */
const AHEAD_MS = 100;

/** Holds back streams that together flow faster than a rate, in the order of their pieces. */
class Pace {
  readonly #perSecond: number;
  readonly #clock: Clock;
  /** When all that has passed would be over. */
  #over = 0;

  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond;
    this.#clock = clock;
  }

  /** Counts a piece; resolves when the next may come. */
  async pass(bytes: number): Promise<void> {
    const now = this.#clock.monotonic();
    this.#over = Math.max(this.#over, now) + (bytes / this.#perSecond) * 1000;
    const ms = this.#over - now - AHEAD_MS;
    if (ms > 0) await sleep(ms);
  }
}

/** What one run prints, on its way to the record file. */
export interface RunLog {
  /** Passes a stream on unchanged and keeps its lines. */
  tee(stream: AsyncIterable<Buffer>, iostream: 'stdout' | 'stderr'): AsyncIterable<Buffer>;
  /** The run began. */
  started(): void;
  /** Writes the last line of the run, when its streams have ended. */
  ended(update: RunUpdate): void;
}

/**
 * The lines of all runs of a worker as records in one file, for the recorder. Nothing waits for it: what is beyond the
 * limits or cannot be written is dropped, and a line in its place says how much. Killing the worker loses what it had not
 * written yet, a few milliseconds.
 */
export class StdioLog implements AsyncDisposable {
  readonly #file: RecordFile<StdioLine>;
  readonly #limits: StdioLimits;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #rate: Rate;
  readonly #pace: Pace;
  #waiting: StdioLine[] = [];
  #writing: NodeJS.Immediate | undefined;
  #queued = 0;
  #last = 0n;
  #failing = false;

  constructor(options: { readonly path: string; readonly log: Logger; readonly clock?: Clock; readonly limits?: Partial<StdioLimits> }) {
    this.#limits = { ...STDIO_LIMITS, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log;
    this.#rate = new Rate(this.#limits.workerPerSecond, this.#clock);
    this.#pace = new Pace(this.#limits.read, this.#clock);
    this.#file = new RecordFile(options.path, { now: () => this.#clock.now(), rotateBytes: this.#limits.rotate, sync: false });
  }

  run({ namespace, agent, revision, invocation, traceId, spanId }: Assignment): RunLog {
    const nonce = randomBytes(4).toString('hex');
    const name = revision.slice(revision.indexOf('/') + 1);
    const facts = { namespace, agent, revision: name, invocation, traceId, spanId };
    let number = 0;
    const write = (iostream: StdioLine['iostream'], event: StdioLine['event'], body: string): void =>
      this.#append({
        id: `${invocation}-${nonce}-${++number}`,
        time: this.#time(),
        ...facts,
        iostream,
        event,
        body,
      });
    const limits = this.#limits;
    const rate = new Rate(limits.runPerSecond, this.#clock);
    let left = limits.run;
    const room = (bytes: number): boolean => left >= bytes && rate.level >= bytes && this.#rate.level >= bytes && this.#queued + bytes <= limits.queue;
    const budget = {
      take: (bytes: number): boolean => {
        const cost = bytes + LINE_OVERHEAD;
        if (!room(cost)) return false;
        left -= cost;
        rate.take(cost);
        this.#rate.take(cost);
        return true;
      },
      ready: () => room(limits.runPerSecond / 2),
    };
    const open: Promise<void>[] = [];
    return {
      tee: (stream, iostream) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        open.push(promise);
        const dropped = (bytes: number): void => {
          const why = left < limits.runPerSecond / 2 ? `of one run ${limits.run} bytes are kept` : `more than ${limits.runPerSecond} bytes a second`;
          write(iostream, 'dropped', `(${bytes} bytes of ${iostream} are not kept: ${why})`);
        };
        const cutter = new LineCutter(budget, { line: (text) => write(iostream, '', text), dropped });
        // What is read of stdout is bounded by what its reader takes; stderr has none.
        return tee(stream, cutter, resolve, iostream === 'stderr' ? this.#pace : undefined);
      },
      started: () => write('', 'started', `Revision ${name} runs.`),
      ended: (update) => void Promise.all(open).then(() => write('', 'ended', endText(update))),
    };
  }

  /** Nanoseconds since the epoch as RFC 3339; later than every time given before, unless the clock was set back far. */
  #time(): string {
    const now = BigInt(this.#clock.now()) * 1_000_000n;
    this.#last = now > this.#last || this.#last - now > MAX_LAG_NS ? now : this.#last + 1n;
    const seconds = new Date(Number(this.#last / 1_000_000n)).toISOString().slice(0, 19);
    return `${seconds}.${String(this.#last % 1_000_000_000n).padStart(9, '0')}Z`;
  }

  #append(line: StdioLine): void {
    this.#queued += line.body.length + LINE_OVERHEAD;
    this.#waiting.push(line);
    this.#writing ??= setImmediate(() => this.#write());
  }

  /** Everything of one turn of the event loop in one write, so that runs that print much hold up nothing else. */
  #write(): void {
    clearImmediate(this.#writing);
    this.#writing = undefined;
    const lines = this.#waiting;
    this.#waiting = [];
    this.#queued = 0;
    if (lines.length === 0) return;
    this.#file.append(...lines).then(
      () => (this.#failing = false),
      (error: unknown) => {
        if (!this.#failing) this.#log.error('lines of runs cannot be written; the recorder will say how many are missing', { err: error });
        this.#failing = true;
      },
    );
  }

  /** Resolves when everything is written. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#write();
    await this.#file[Symbol.asyncDispose]();
  }
}

async function* tee(stream: AsyncIterable<Buffer>, cutter: LineCutter, ended: () => void, pace?: Pace): AsyncGenerator<Buffer, void> {
  try {
    for await (const chunk of stream) {
      cutter.push(chunk);
      yield chunk;
      await pace?.pass(chunk.length);
    }
  } finally {
    cutter.end();
    ended();
  }
}

const endText = ({ phase, reason, message, exitCode, outputBytes }: RunUpdate): string =>
  [`${phase}${reason ? ` (${reason})` : ''}.`, message, exitCode === undefined ? '' : `Exit code ${exitCode}.`, `${outputBytes ?? 0} bytes of output.`]
    .filter(Boolean)
    .join(' ');
