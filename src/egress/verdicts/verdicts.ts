import type { Clock } from '#lib';
import type { ConnectionDecision } from '#model';
import { providerOfHost } from '#policy';
import { encodeResource } from '#wire/xds';
import type { Revoked } from '../revocations.ts';
import { credentialFilters } from '../translate/credential.ts';
import { gatewayName } from '../translate/input.ts';
import { verdictCluster } from '../translate/verdict.ts';
import { versionOf, type VersionedResource } from '../xds/snapshot.ts';
import { judge, type JudgeContext, type Upstream } from './judge.ts';
import { hourOf, parseVerdictKey, type VerdictKey } from './key.ts';
import { addDestination, isPart, OpenDestinations, type Destinations, type Part } from './open-destinations.ts';

/**
 * Verdicts one agent may have in an hour, and all of them together; more are refused. One is about 35 KB of Envoy's memory. Where
 * an upstream has to prove a name it counts for eight: with its own copy of the trusted roots, the leaf and the connection a new
 * name was measured at 370 KB, and Envoy ends requests at 730 MB.
 */
const MAX_OF_BLOCK = 4_096;
const MAX = 10_240;
const weightOf = ({ kind }: VerdictKey): number => (kind === 'tls' ? 8 : 1);
/** Verdicts of an hour that is over are kept this long: a connection may just have been seen. */
const GRACE_MS = 60_000;

interface Live {
  readonly key: VerdictKey;
  readonly resource: VersionedResource;
  /** By policy; where its name leads may still be forbidden. */
  readonly allowed: boolean;
  /** The name that was dialled; empty for an address. */
  readonly host: string;
  /** All of it but the revision: a verdict that stays the same keeps the revision it was found under. */
  readonly content: string;
}

/** What policy allows and leads nowhere it may: its name has forbidden addresses only. */
const forbid = (decision: ConnectionDecision, message: string): ConnectionDecision => ({
  ...decision,
  verdict: 'Denied',
  reason: 'ForbiddenAddress',
  message,
  status: 403,
});

export interface VerdictsOptions {
  /** Undefined while the gateway has no policy: then nothing is answered, and nothing goes out. */
  readonly context: () => JudgeContext | undefined;
  /** The name by which endpoints of an upstream are asked for. */
  readonly serviceOf: (upstream: Extract<Upstream, { host: string }>) => string;
  /** A sentence when a service leads to nothing but forbidden addresses; else empty. */
  readonly forbidden: (service: string) => string;
  /** The agent of a block asks for more than it may have. */
  readonly flooded: (block: string) => void;
  readonly clock: Clock;
  readonly max?: number;
  readonly maxOfBlock?: number;
}

export interface Rejudged {
  /** Those whose resource differs now. */
  readonly changed: readonly { readonly name: string; readonly resource: VersionedResource }[];
  /** By block: destinations that were allowed and are denied now, or whose address stands for another name. */
  readonly revoked: Revoked;
}

/**
 * The verdicts of one gateway that Envoy holds, as clusters: an allowed connection's has endpoints, a denied one's has none and
 * says why. Envoy asks for each once; a change of policy judges all of them anew.
 */
export class Verdicts {
  readonly #options: VerdictsOptions;
  readonly #live = new Map<string, Live>();
  readonly #ofBlock = new Map<string, number>();
  #weight = 0;
  /** What was let through in hours that are over may still be open. */
  readonly #open = new OpenDestinations();

  constructor(options: VerdictsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#live.size;
  }

  /** The verdict Envoy asks for; undefined = none will come, and the connection is refused. */
  ask(name: string): VersionedResource | undefined {
    const known = this.#live.get(name);
    if (known) return known.resource;
    const key = parseVerdictKey(name);
    const context = this.#options.context();
    // A key of another hour would take the place of one that is used: Envoy names all it ever asked for on a new stream.
    if (!key || !context || !this.#hours().has(key.hour)) return undefined;
    const weight = weightOf(key);
    const of = (this.#ofBlock.get(key.block) ?? 0) + weight;
    if (of > (this.#options.maxOfBlock ?? MAX_OF_BLOCK) || this.#weight + weight > (this.#options.max ?? MAX)) {
      // Only who is beyond its own share is cut off, not who finds the gateway full.
      if (of > (this.#options.maxOfBlock ?? MAX_OF_BLOCK)) this.#options.flooded(key.block);
      return undefined;
    }
    const live = this.#judge(name, key, context);
    this.#live.set(name, live);
    this.#ofBlock.set(key.block, of);
    this.#weight += weight;
    return live.resource;
  }

  /**
   * Envoy asked for these before, of an egress that is gone, and connections they let through may be open: what is denied now is
   * said by the next `rejudge` or `lost`.
   */
  resume(names: readonly string[]): void {
    const context = this.#options.context();
    if (!context) return;
    for (const name of names) {
      const key = parseVerdictKey(name);
      if (key) this.#open.add(key, judge(key, context));
    }
  }

  /** By block: destinations denied to connections of earlier hours, or of an egress that is gone. Once. */
  lost(): Revoked {
    const context = this.#options.context();
    const revoked: Destinations = new Map();
    if (context) this.#open.revoke(context, revoked);
    return revoked;
  }

  /** Judges every live verdict anew, or those of a block whose agent changed, or of an address that stands for another name now. */
  rejudge(of: Part = {}): Rejudged {
    const context = this.#options.context();
    const changed: { name: string; resource: VersionedResource }[] = [];
    const revoked: Destinations = new Map();
    if (!context) return { changed, revoked };
    for (const [name, before] of this.#live) {
      if (!isPart(before.key, of)) continue;
      const now = this.#judge(name, before.key, context, before);
      if (now === before) continue;
      this.#live.set(name, now);
      changed.push({ name, resource: now.resource });
      // Another name, or other ranges for it, is another upstream: what is open goes to the one before.
      if (!before.allowed || (now.allowed && now.host === before.host && now.resource.service === before.resource.service)) continue;
      addDestination(revoked, now.key);
    }
    this.#open.revoke(context, revoked, of);
    return { changed, revoked };
  }

  /**
   * Where a service leads turned forbidden, or may be dialled again: its verdicts that differ now. No connection is closed for
   * that: an open one goes to an address that was checked.
   */
  turned(service: string): Rejudged {
    const context = this.#options.context();
    const changed: { name: string; resource: VersionedResource }[] = [];
    if (!context) return { changed, revoked: new Map() };
    for (const [name, before] of this.#live) {
      if (before.resource.service !== service) continue;
      const now = this.#judge(name, before.key, context, before);
      if (now === before) continue;
      this.#live.set(name, now);
      changed.push({ name, resource: now.resource });
    }
    return { changed, revoked: new Map() };
  }

  /** Forgets the verdicts of earlier hours and returns their names, which Envoy must forget too. */
  expire(): readonly string[] {
    const current = this.#hours();
    const gone = [...this.#live].filter(([, { key }]) => !current.has(key.hour));
    for (const [name, { key, allowed, host }] of gone) {
      this.#live.delete(name);
      if (allowed) this.#open.keep(key, host);
      this.#ofBlock.set(key.block, this.#ofBlock.get(key.block)! - weightOf(key));
      this.#weight -= weightOf(key);
    }
    return gone.map(([name]) => name);
  }

  #hours(): ReadonlySet<string> {
    const now = this.#options.clock.now();
    return new Set([hourOf(now - GRACE_MS), hourOf(now), hourOf(now + GRACE_MS)]);
  }

  /** `before` is returned when nothing but the revision would differ. */
  #judge(name: string, key: VerdictKey, context: JudgeContext, before?: Live): Live {
    const judged = judge(key, context);
    const { upstream, serverName, decision } = judged;
    const service = upstream && 'host' in upstream ? this.#options.serviceOf(upstream) : '';
    const forbidden = service && this.#options.forbidden(service);
    const { policy } = context;
    const { credential } = decision;
    // Of a key that signs the cluster itself holds the value.
    const value = credential?.inject.kind === 'AWSv4' ? context.credentials.values.get(credential.credential) : undefined;
    const trusted = serverName !== undefined && policy.trustBundle === '';
    const content = JSON.stringify([{ ...decision, revision: '' }, service, serverName, trusted, forbidden, value]);
    if (content === before?.content) return before;
    const found = forbidden ? { ...judged, decision: forbid(decision, forbidden) } : judged;
    const place = { host: judged.host, provider: providerOfHost(judged.host), gateway: gatewayName(policy), route: decision.route };
    const filters = credential ? credentialFilters(credential, place, value) : [];
    const body = encodeResource(verdictCluster(name, key.kind, found, service || undefined, policy, filters));
    return {
      key,
      resource: { version: versionOf(body), body, ...(service && { service }) },
      allowed: decision.verdict === 'Allowed',
      host: judged.host,
      content,
    };
  }
}
