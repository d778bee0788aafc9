import type { Clock } from '#lib';

/** 100.64.0.0/10 (RFC 6598) of each worker's own gateway namespace: 1,024 blocks of 2,048 pairs. */
const BASE = 0x64_40_00_00;
const BLOCKS = 1024;
const BLOCK_SIZE = 4096;
const PAIRS = BLOCK_SIZE / 2;

/** An address is not given out again for this long, so that nothing late is taken for another run's. */
export const QUARANTINE_MS = 60_000;

export interface AddressPair {
  /** Block of the agent, CIDR. */
  readonly block: string;
  /** End in the gateway namespace; even. */
  readonly host: string;
  /** The sandbox's own; odd. */
  readonly sandbox: string;
  /** The block was another agent's before, and this is the first pair of the new one: its routes have to go first. */
  readonly inherited: boolean;
}

interface Block {
  readonly base: number;
  readonly inherited: boolean;
  /** Index of the pair to try next: going round makes reuse as late as it can be. */
  next: number;
  /** Pair index -> when it may be used again; Infinity = in use. */
  readonly busy: Map<number, number>;
}

/**
 * Gives out /31 pairs (RFC 3021). Sandboxes of one agent with the same gateways share a /20, so that one map element
 * steers them all; a block changes hands only when none of its addresses is in use or in quarantine.
 */
export class Addresses {
  readonly #clock: Clock;
  readonly #blocks = new Map<string, Block>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A pair for one run of `agent` (`namespace/name`), or undefined when all are taken. */
  take(agent: string, gateways: readonly string[]): AddressPair | undefined {
    const key = [agent, ...gateways].join(' ');
    const known = this.#blocks.get(key);
    const block = known ?? this.#newBlock();
    if (!block) return undefined;
    const inherited = !known && block.inherited;
    this.#blocks.delete(key);
    this.#blocks.set(key, block); // last in the order of use
    const now = this.#clock.monotonic();
    for (let tried = 0; tried < PAIRS; tried++) {
      const pair = (block.next + tried) % PAIRS;
      if ((block.busy.get(pair) ?? 0) > now) continue;
      block.busy.set(pair, Infinity);
      block.next = (pair + 1) % PAIRS;
      const host = block.base + 2 * pair;
      return { block: `${dotted(block.base)}/20`, host: dotted(host), sandbox: dotted(host + 1), inherited };
    }
    return undefined;
  }

  /** Starts the quarantine of a pair that `take` gave. */
  release({ sandbox }: Pick<AddressPair, 'sandbox'>): void {
    const address = number(sandbox);
    for (const { base, busy } of this.#blocks.values()) {
      if (address > base && address < base + BLOCK_SIZE) busy.set((address - base) >> 1, this.#clock.monotonic() + QUARANTINE_MS);
    }
  }

  #newBlock(): Block | undefined {
    if (this.#blocks.size < BLOCKS) return { base: BASE + this.#blocks.size * BLOCK_SIZE, inherited: false, next: 0, busy: new Map() };
    const now = this.#clock.monotonic();
    for (const [key, block] of this.#blocks) {
      if ([...block.busy.values()].some((until) => until > now)) continue;
      this.#blocks.delete(key);
      return { base: block.base, inherited: true, next: block.next, busy: new Map() };
    }
    return undefined;
  }
}

const dotted = (address: number): string => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
const number = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
