import { randomBytes } from 'node:crypto';
import { apiVersionOf, events, type Event, type KubeObject } from '#api';
import { kubeTime, messageOf, type Clock, type Logger } from '#lib';
import { isNotFound } from './api-error.ts';
import type { Client } from './client.ts';
import type { ResourceKind } from './paths.ts';

/** What happened to an object. */
export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase; with the object and the type it says what counts as the same happening again. */
  readonly reason: string;
  readonly message: string;
  /** What it is about besides the object: happenings of different ones are told apart, not counted together. */
  readonly of?: string;
}

export interface EventRecorder extends AsyncDisposable {
  /** Never throws and never waits: Events are for people, and nothing may depend on them. */
  record<T extends KubeObject>(kind: ResourceKind<T>, about: T, happening: Happening): void;
}

export interface RecorderOptions {
  readonly client: Client;
  /** Name of the program that tells. */
  readonly component: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** The same happening is written at most once in this time, with a count; 10 s by default. */
  readonly everyMs?: number;
  /** Writes in any one minute, over everything; 120 by default. */
  readonly perMinute?: number;
}

/** Happenings that are remembered, to count them; the longest quiet one is forgotten first. */
const REMEMBERED = 1_000;
const MAX_MESSAGE = 1_024;

interface Series {
  readonly event: Omit<Event, 'apiVersion' | 'kind'>;
  /** Whether the server has it. */
  written: boolean;
  count: number;
  writtenCount: number;
  message: string;
  last: number;
  /** Monotonic ms before which it is not written again. */
  notBefore: number;
}

/**
 * Writes Events: the first of a kind at once, repetitions as a count on the same object, at a bounded rate whatever happens.
 * Source of the form: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
 */
export const createEventRecorder = (options: RecorderOptions): EventRecorder => new Recorder(options);

class Recorder implements EventRecorder {
  readonly #options: Required<RecorderOptions>;
  /** By object and happening, in the order of their last occurrence. */
  readonly #series = new Map<string, Series>();
  #window = { since: 0, writes: 0 };
  #timer: NodeJS.Timeout | undefined;
  /** When it fires, monotonic ms. */
  #timerAt = 0;
  #work: Promise<void> | undefined;
  #ended = false;

  constructor(options: RecorderOptions) {
    this.#options = { everyMs: 10_000, perMinute: 120, ...options };
  }

  record<T extends KubeObject>(kind: ResourceKind<T>, about: T, { type, reason, message, of = '' }: Happening): void {
    if (this.#ended) return;
    const { component, clock } = this.#options;
    const { name, namespace, uid, resourceVersion } = about.metadata;
    const key = [apiVersionOf(kind), kind.kind, uid, type, reason, of].join('\n');
    const now = clock.now();
    const series = this.#series.get(key) ?? {
      event: {
        metadata: { name: `${name.slice(0, 230)}.${randomBytes(8).toString('hex')}`, namespace: namespace || 'default' },
        involvedObject: {
          apiVersion: apiVersionOf(kind),
          kind: kind.kind,
          name,
          ...(namespace && { namespace }),
          ...(uid && { uid }),
          ...(resourceVersion && { resourceVersion }),
        },
        reason,
        type,
        source: { component },
        reportingComponent: component,
        firstTimestamp: kubeTime(now),
      },
      written: false,
      count: 0,
      writtenCount: 0,
      message: '',
      last: 0,
      notBefore: 0,
    };
    series.count += 1;
    series.message = message.slice(0, MAX_MESSAGE);
    series.last = now;
    this.#series.delete(key);
    this.#series.set(key, series);
    if (this.#series.size > REMEMBERED) this.#series.delete(this.#series.keys().next().value!);
    this.#schedule(0);
  }

  #schedule(ms: number): void {
    if (this.#work || this.#ended) return;
    // A repetition that has to wait must not hold up what is new.
    const at = this.#options.clock.monotonic() + ms;
    if (this.#timer && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#work = this.#flush().finally(() => {
        this.#work = undefined;
        const due = this.#due();
        if (due !== undefined) this.#schedule(Math.max(due, 100));
      });
    }, ms).unref();
  }

  /** Milliseconds until something can be written; undefined when nothing waits. */
  #due(): number | undefined {
    const now = this.#options.clock.monotonic();
    const waiting = [...this.#series.values()].filter(({ count, writtenCount }) => count > writtenCount);
    if (waiting.length === 0) return undefined;
    const first = Math.max(0, Math.min(...waiting.map(({ notBefore }) => notBefore)) - now);
    return this.#window.writes < this.#options.perMinute ? first : Math.max(first, this.#window.since + 60_000 - now);
  }

  async #flush(): Promise<void> {
    const { clock, perMinute, everyMs, log } = this.#options;
    for (const series of this.#series.values()) {
      const now = clock.monotonic();
      if (this.#ended || series.count === series.writtenCount || series.notBefore > now) continue;
      if (now - this.#window.since >= 60_000) this.#window = { since: now, writes: 0 };
      if (this.#window.writes >= perMinute) return;
      this.#window.writes += 1;
      series.notBefore = now + everyMs;
      const count = series.count;
      try {
        await this.#write(series, count);
        series.writtenCount = count;
      } catch (error) {
        log.debug(`an event cannot be written: ${messageOf(error)}`);
        // Refused for good, such as in a namespace that goes: it is told no more until it happens again.
        if ('code' in (error as object) && Number((error as { code: unknown }).code) < 500) series.writtenCount = count;
      }
    }
  }

  async #write(series: Series, count: number): Promise<void> {
    const { client } = this.#options;
    const { namespace, name } = series.event.metadata;
    const changes = { count, message: series.message, lastTimestamp: kubeTime(series.last) };
    if (series.written) {
      try {
        await client.patch(events, namespace!, name, changes);
        return;
      } catch (error) {
        if (!isNotFound(error)) throw error; // else it has expired, and is made anew
      }
    }
    await client.create(events, { ...series.event, ...changes });
    series.written = true;
  }

  /** What waits is dropped. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    await this.#work;
  }
}
