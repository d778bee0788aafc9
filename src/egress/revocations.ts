import type { PolicySet, RequestFacts } from '#model';
import { decide, routesFor } from '#policy';

/** Kinds of requests remembered of one address; of what is beyond, only the host is, with the routes it had. */
const MAX_FACTS = 64;

const routesOf = (policy: PolicySet, { host, port }: RequestFacts): string => JSON.stringify(routesFor(policy, host, port));

/** By address or block of sandboxes: the destinations (`ip:port`) they may not have open any more. */
export type Revoked = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * What is open and denied by a change of policy: connections by their verdicts, requests of AI and MCP routes by what each address was
 * let do. Kept until the change is in force; closing before would only make clients come again.
 */
export class Revocations {
  readonly #destinationOf: (facts: RequestFacts) => string | undefined;
  readonly #served = new Map<string, Map<string, RequestFacts>>();
  /** Of each address: hosts of requests that are remembered no more. */
  readonly #hosts = new Map<string, Map<string, RequestFacts>>();
  #policy: PolicySet | undefined;
  #found = new Map<string, Set<string>>();

  /** `destinationOf`: where a sandbox dials for such a request, `ip:port`. */
  constructor(destinationOf: (facts: RequestFacts) => string | undefined) {
    this.#destinationOf = destinationOf;
  }

  /** A request with these facts was let through; remembered until the address is released. */
  served(source: string, facts: RequestFacts): void {
    let known = this.#served.get(source);
    if (!known) this.#served.set(source, (known = new Map()));
    const key = JSON.stringify([facts.host, facts.port, facts.method, facts.path, facts.provider, facts.model, facts.mcp]);
    known.delete(key);
    known.set(key, facts);
    if (known.size <= MAX_FACTS) return;
    const [oldest, about] = known.entries().next().value!;
    known.delete(oldest);
    let hosts = this.#hosts.get(source);
    if (!hosts) this.#hosts.set(source, (hosts = new Map()));
    hosts.set(`${about.host}:${about.port}`, about);
  }

  released(source: string): void {
    this.#served.delete(source);
    this.#hosts.delete(source);
  }

  /** Another policy, with the verdicts that were lost by it. */
  found(policy: PolicySet, verdicts: Revoked): void {
    this.lost(verdicts);
    for (const [source, known] of this.#served) {
      for (const [key, facts] of known) {
        if (decide(policy, facts).verdict === 'Allowed') continue;
        known.delete(key);
        this.#deny(source, facts);
      }
    }
    const before = this.#policy;
    this.#policy = policy;
    for (const [source, hosts] of this.#hosts) {
      // Which requests there were is not known: whatever changes about the host counts.
      for (const facts of hosts.values()) if (before && routesOf(before, facts) !== routesOf(policy, facts)) this.#deny(source, facts);
    }
  }

  #deny(source: string, facts: RequestFacts): void {
    const destination = this.#destinationOf(facts);
    if (destination !== undefined) this.#add(source, destination);
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
