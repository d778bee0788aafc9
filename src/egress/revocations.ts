import type { PolicySet, RequestFacts } from '#model';
import { decide } from '#policy';

/** Kinds of requests remembered of one address; beyond, the oldest is forgotten. */
const MAX_FACTS = 64;

/** By address or block of sandboxes: the destinations (`ip:port`) they may not have open any more. */
export type Revoked = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * What is open and denied by a change of policy: connections by their verdicts, requests of AI routes by what each address was
 * let do. Kept until the change is in force; closing before would only make clients come again.
 */
export class Revocations {
  readonly #destinationOf: (facts: RequestFacts) => string | undefined;
  readonly #served = new Map<string, Map<string, RequestFacts>>();
  #found = new Map<string, Set<string>>();

  /** `destinationOf`: where a sandbox dials for such a request, `ip:port`. */
  constructor(destinationOf: (facts: RequestFacts) => string | undefined) {
    this.#destinationOf = destinationOf;
  }

  /** A request with these facts was let through; remembered until the address is released. */
  served(source: string, facts: RequestFacts): void {
    let known = this.#served.get(source);
    if (!known) this.#served.set(source, (known = new Map()));
    const key = JSON.stringify([facts.host, facts.port, facts.method, facts.path, facts.provider, facts.model]);
    known.delete(key);
    known.set(key, facts);
    if (known.size > MAX_FACTS) known.delete(known.keys().next().value!);
  }

  released(source: string): void {
    this.#served.delete(source);
  }

  /** Another policy, with the verdicts that were lost by it. */
  found(policy: PolicySet, verdicts: Revoked): void {
    this.lost(verdicts);
    for (const [source, known] of this.#served) {
      for (const [key, facts] of known) {
        if (decide(policy, facts).verdict === 'Allowed') continue;
        known.delete(key);
        const destination = this.#destinationOf(facts);
        if (destination !== undefined) this.#add(source, destination);
      }
    }
  }

  /** Denied without a change of policy that was seen. */
  lost(verdicts: Revoked): void {
    for (const [block, destinations] of verdicts) for (const destination of destinations) this.#add(block, destination);
  }

  #add(source: string, destination: string): void {
    const known = this.#found.get(source);
    if (known) known.add(destination);
    else this.#found.set(source, new Set([destination]));
  }

  /** All that was found since, once. */
  take(): Revoked {
    const found = this.#found;
    this.#found = new Map();
    return found;
  }
}
