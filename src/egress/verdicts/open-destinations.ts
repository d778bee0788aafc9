import { judge, type JudgeContext, type Judged } from './judge.ts';
import type { VerdictKey } from './key.ts';

/** Kinds of connections remembered; beyond, the oldest is forgotten. */
const MAX = 16_384;

/** By block: `ip:port` as sandboxes dial it. */
export type Destinations = Map<string, Set<string>>;

export const addDestination = (to: Destinations, { block, address, port }: VerdictKey): void => {
  const destination = `${address}:${port}`;
  const known = to.get(block);
  if (known) known.add(destination);
  else to.set(block, new Set([destination]));
};

/** Some of all keys. */
export interface Part {
  readonly block?: string;
  readonly address?: string;
}

export const isPart = ({ block, address }: VerdictKey, of: Part): boolean =>
  (of.block === undefined || of.block === block) && (of.address === undefined || of.address === address);

interface Open {
  readonly key: VerdictKey;
  /** The name the address stood for when it was let through; empty for none. */
  readonly host: string;
}

/**
 * What connections may be open to although the verdict that let them through is gone: a connection can outlive the hour of its
 * key, and `egress`. Each is judged anew with every change of policy, like the verdicts that Envoy holds.
 */
export class OpenDestinations {
  readonly #known = new Map<string, Open>();
  /** Denied when it was seen. */
  #denied: Destinations = new Map();

  keep(key: VerdictKey, host: string): void {
    const name = `${key.kind}/${key.block}/${key.address}:${key.port}/${key.name}`;
    this.#known.delete(name);
    this.#known.set(name, { key, host });
    if (this.#known.size > MAX) this.#known.delete(this.#known.keys().next().value!);
  }

  /** One that was asked for before, as it is judged now. */
  add(key: VerdictKey, { decision, host }: Judged): void {
    if (decision.verdict === 'Allowed') this.keep(key, host);
    else addDestination(this.#denied, key);
  }

  /** Moves what is denied now, or stands for another name, to `revoked`. */
  revoke(context: JudgeContext, revoked: Destinations, of: Part = {}): void {
    for (const [name, { key, host }] of this.#known) {
      if (!isPart(key, of)) continue;
      const now = judge(key, context);
      if (now.decision.verdict === 'Allowed' && now.host === host) continue;
      this.#known.delete(name);
      addDestination(revoked, key);
    }
    if (of.block !== undefined || of.address !== undefined) return;
    // Of several kinds of connections to one destination some are denied from the first, and what is allowed must not end for that.
    const allowed: Destinations = new Map();
    for (const { key } of this.#known.values()) addDestination(allowed, key);
    for (const [block, destinations] of this.#denied) {
      const lost = destinations.difference(allowed.get(block) ?? new Set());
      if (lost.size > 0) revoked.set(block, (revoked.get(block) ?? new Set()).union(lost));
    }
    this.#denied = new Map();
  }
}
