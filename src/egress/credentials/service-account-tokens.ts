import { messageOf, type Clock, type Logger } from '#lib';
import type { ServiceAccountKey } from '#model';
import { NoToken, type Token } from './token-request.ts';

/** A token is replaced this long before it ends, or in the middle of its life when that is short. */
const EARLY_MS = 5 * 60_000;
/** Not every worker asks at the same time. */
const SPREAD_MS = 60_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

export interface TokensOptions {
  readonly request: (key: ServiceAccountKey, signal: AbortSignal) => Promise<Token>;
  /** A token came, ended, or is not there for another reason than before. */
  readonly changed: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Held {
  readonly token: string;
  /** Monotonic milliseconds. */
  readonly ends: number;
}

/** The token of one service account, kept fresh. */
class AccountToken implements Disposable {
  readonly #name: string;
  readonly #options: TokensOptions;
  readonly #abort = new AbortController();
  #json: string;
  #held: Held | undefined;
  /** Why there is none. */
  #reason = 'TokenPending';
  #retryMs = FIRST_RETRY_MS;
  #next: NodeJS.Timeout | undefined;
  #end: NodeJS.Timeout | undefined;
  /** Answers to requests with an earlier key come too late. */
  #generation = 0;

  constructor(name: string, json: string, options: TokensOptions) {
    this.#name = name;
    this.#json = json;
    this.#options = options;
    void this.#renew();
  }

  get token(): string | undefined {
    return this.#held?.token;
  }

  get reason(): string {
    return this.#reason;
  }

  /** Another key: its token takes the place of the one before, or what is said of it does. */
  use(json: string): void {
    if (json === this.#json) return;
    this.#json = json;
    this.#retryMs = FIRST_RETRY_MS;
    void this.#renew(true);
  }

  async #renew(replaced = false): Promise<void> {
    const { request, clock, log } = this.#options;
    clearTimeout(this.#next);
    const generation = ++this.#generation;
    const asked = clock.monotonic();
    try {
      const { token, lifetimeMs } = await request(JSON.parse(this.#json) as ServiceAccountKey, this.#abort.signal);
      if (generation !== this.#generation) return;
      this.#hold({ token, ends: asked + lifetimeMs });
      this.#retryMs = FIRST_RETRY_MS;
      this.#next = this.#later(Math.max(lifetimeMs / 2, lifetimeMs - EARLY_MS - Math.random() * SPREAD_MS));
    } catch (error) {
      if (generation !== this.#generation || this.#abort.signal.aborted) return;
      this.#reason = error instanceof NoToken ? error.reason : 'TokenUnavailable';
      log.warn('no token for a service account, trying again', { credential: this.#name, reason: this.#reason, why: messageOf(error), inMs: this.#retryMs });
      this.#next = this.#later(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
      // The token of a key that is not that of the Secret any more goes; one that could not be renewed is good until it ends.
      if (replaced) this.#drop();
      else if (!this.#held) this.#options.changed();
    }
  }

  #later(ms: number): NodeJS.Timeout {
    return setTimeout(() => void this.#renew(), ms).unref();
  }

  #hold(held: Held): void {
    clearTimeout(this.#end);
    this.#held = held;
    this.#end = setTimeout(() => this.#drop(), held.ends - this.#options.clock.monotonic()).unref();
    this.#options.changed();
  }

  #drop(): void {
    clearTimeout(this.#end);
    this.#held = undefined;
    this.#options.changed();
  }

  [Symbol.dispose](): void {
    this.#generation++;
    this.#abort.abort();
    clearTimeout(this.#next);
    clearTimeout(this.#end);
  }
}

/** Tokens for service accounts by the name of their credential: asked for as soon as they are wanted, replaced before they end. */
export class ServiceAccountTokens implements Disposable {
  readonly #options: TokensOptions;
  readonly #accounts = new Map<string, AccountToken>();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** The accounts wanted now, with their keys (JSON of `ServiceAccountKey`). */
  want(keys: ReadonlyMap<string, string>): void {
    for (const [name, account] of this.#accounts) {
      if (keys.has(name)) continue;
      account[Symbol.dispose]();
      this.#accounts.delete(name);
    }
    for (const [name, json] of keys) {
      const known = this.#accounts.get(name);
      if (known) known.use(json);
      else this.#accounts.set(name, new AccountToken(name, json, this.#options));
    }
  }

  /** The token of an account, or why there is none. */
  of(name: string): { readonly token: string } | { readonly reason: string } {
    const account = this.#accounts.get(name);
    const token = account?.token;
    return token === undefined ? { reason: account?.reason ?? 'TokenPending' } : { token };
  }

  [Symbol.dispose](): void {
    for (const account of this.#accounts.values()) account[Symbol.dispose]();
  }
}
