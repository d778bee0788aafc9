import { fingerprintOf } from '#lib';
import type { GatewayRoot, TrustState } from '#model';

/** The roots one sandbox trusts, until it is gone. */
export interface Trusted {
  /** PEM of each. */
  readonly roots: readonly string[];
  release(): void;
}

const keyOf = (gateway: string, pems: readonly string[]): string => JSON.stringify([gateway, pems]);

/**
 * Which roots of gateways the sandboxes of a worker trust. A sandbox has them in a file from when it is made; a gateway can
 * change its root only when no sandbox is left that lacks the new one, so they are counted.
 */
export class Trust {
  readonly #current: () => readonly GatewayRoot[];
  readonly #changed: () => void;
  readonly #held = new Map<string, { readonly gateway: string; readonly pems: readonly string[]; sandboxes: number }>();

  /** `current`: the roots of all gateways now. `changed` is called when the last sandbox with roots of before is gone. */
  constructor({ current, changed = () => {} }: { current: () => readonly GatewayRoot[]; changed?: () => void }) {
    this.#current = current;
    this.#changed = changed;
  }

  /** What a sandbox with these gateways would trust now; undefined while the roots of one are not known. */
  of(gateways: readonly string[]): readonly string[] | undefined {
    const known = gateways.map((name) => this.#rootsOf(name));
    return known.includes(undefined) ? undefined : known.flatMap((pems) => pems!);
  }

  /** The same for a sandbox that is being made; it counts until it is released. */
  take(gateways: readonly string[]): Trusted | undefined {
    const roots = this.of(gateways);
    if (!roots) return undefined;
    const held = gateways.map((gateway) => {
      const pems = this.#rootsOf(gateway)!;
      const entry = this.#held.get(keyOf(gateway, pems)) ?? { gateway, pems, sandboxes: 0 };
      entry.sandboxes++;
      this.#held.set(keyOf(gateway, pems), entry);
      return entry;
    });
    const release = (): void => {
      for (const entry of held.splice(0)) {
        if (--entry.sandboxes > 0) continue;
        this.#held.delete(keyOf(entry.gateway, entry.pems));
        if (keyOf(entry.gateway, this.#rootsOf(entry.gateway) ?? []) !== keyOf(entry.gateway, entry.pems)) this.#changed();
      }
    };
    return { roots, release };
  }

  get states(): readonly TrustState[] {
    const state = (gateway: string, pems: readonly string[], sandboxes: number, current: boolean): TrustState => ({
      gateway,
      roots: pems.map(fingerprintOf),
      sandboxes,
      current,
    });
    const current = this.#current().map(({ gateway, rootPems }) => ({ gateway, pems: rootPems, key: keyOf(gateway, rootPems) }));
    const keys = new Set(current.map(({ key }) => key));
    const older = [...this.#held].filter(([key]) => !keys.has(key));
    return [
      ...current.map(({ gateway, pems, key }) => state(gateway, pems, this.#held.get(key)?.sandboxes ?? 0, true)),
      ...older.map(([, { gateway, pems, sandboxes }]) => state(gateway, pems, sandboxes, false)),
    ];
  }

  #rootsOf(gateway: string): readonly string[] | undefined {
    return this.#current().find((candidate) => candidate.gateway === gateway)?.rootPems;
  }
}
