import { MAX_BODY_BYTES, Refusal, type RequestHead } from './request.ts';

/** Bytes of bodies that one sandbox may have on their way to a verdict; Envoy holds them in its memory, which all of a gateway share. */
const MAX_SOURCE_BYTES = 4 * MAX_BODY_BYTES;
/** What a request takes that does not say how large its body is: few are as large as they may be. */
const UNSAID_BYTES = MAX_BODY_BYTES / 2;
/** A request takes this at least. */
const MIN_BYTES = 64 * 1024;

/** What sandboxes have under way: a body is collected whole before it is judged, and one that never ends is held as long as its client likes. */
export class Holds {
  readonly #held = new Map<string, number>();

  /** Counts a request until it is disposed of, or refuses it. */
  take({ gateway, source, contentLength }: RequestHead, bodiless: boolean): Disposable {
    const said = bodiless ? 0 : /^\d{1,12}$/.test(contentLength) ? Number(contentLength) : UNSAID_BYTES;
    const bytes = Math.max(MIN_BYTES, Math.min(said, MAX_BODY_BYTES));
    const key = `${gateway} ${source}`;
    const sum = (this.#held.get(key) ?? 0) + bytes;
    if (sum > MAX_SOURCE_BYTES)
      throw new Refusal(
        503,
        'GatewayBusy',
        `This sandbox has ${MAX_SOURCE_BYTES / 1024 / 1024} MiB of requests under way that have no verdict yet; end some of them first.`,
      );
    this.#held.set(key, sum);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const left = this.#held.get(key)! - bytes;
        if (left > 0) this.#held.set(key, left);
        else this.#held.delete(key);
      },
    };
  }
}
