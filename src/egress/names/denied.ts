import { createHash } from 'node:crypto';
import type { Clock } from '#lib';
import { NAMES_PER_SLICE, slotAddress } from '../slices.ts';

/** How long a denied name that was answered from the deny slice may get a leaf. */
const LIFETIME = 3_600_000;
const MAX_NAMES = 4096;

/** Names of one gateway that its deny slice was given out for, and for which it answers 403 with a leaf. */
export class DeniedNames {
  readonly #index: number;
  readonly #clock: Clock;
  readonly #until = new Map<string, number>();

  constructor(index: number, clock: Clock) {
    this.#index = index;
    this.#clock = clock;
  }

  /** The address for a denied name: any of the slice will do, because the client hello names it. */
  answer(name: string): string {
    this.#until.delete(name);
    this.#until.set(name, this.#clock.monotonic() + LIFETIME);
    if (this.#until.size > MAX_NAMES) this.#until.delete(this.#until.keys().next().value!);
    return slotAddress(this.#index, 'denied', createHash('sha256').update(name).digest().readUInt32BE(0) % NAMES_PER_SLICE);
  }

  has(name: string): boolean {
    return (this.#until.get(name) ?? -Infinity) > this.#clock.monotonic();
  }
}
