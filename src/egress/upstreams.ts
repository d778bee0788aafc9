import { createHash } from 'node:crypto';
import { encodeResource, type Encoded } from '#wire/xds';
import { any } from './translate/envoy.ts';
import type { Choice } from './upstream/index.ts';

/** Where a name is reached: port and, when a rule says so, the only ranges it may resolve to. */
export interface HostUpstream {
  readonly host: string;
  readonly port: number;
  readonly ranges?: readonly string[];
}

/** The name by which Envoy asks for the endpoints of an upstream (EDS): `up/<host>:<port>[/<ranges>]`. */
export const serviceName = ({ host, port, ranges }: HostUpstream): string =>
  `up/${host}:${port}${ranges ? `/${createHash('sha256').update(ranges.join(' ')).digest('hex').slice(0, 12)}` : ''}`;

/** Tells where a name leads for as long as somebody watches; `reason` says why nowhere. Implemented by `upstream/`. */
export type WatchName = (
  name: string,
  ranges: readonly string[] | undefined,
  listener: (addresses: readonly string[], problem: string, reason: Choice['reason']) => void,
) => Disposable;

/** A name that takes longer is answered without addresses for now, so that what waits for it is refused rather than held. */
const FIRST_ANSWER_MS = 1_500;

const assignment = (service: string, addresses: readonly string[], port: number): Encoded =>
  encodeResource(
    any('envoy.config.endpoint.v3.ClusterLoadAssignment', {
      cluster_name: service,
      endpoints:
        addresses.length === 0
          ? []
          : [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address: { socket_address: { address, port_value: port } } } })) }],
    }),
  );

export interface Endpoints {
  readonly version: string;
  readonly body: Encoded;
  /** Whether the name leads to nothing but forbidden addresses is another answer than before. */
  readonly turned: boolean;
}

interface Known {
  readonly upstream: HostUpstream;
  /** Says which forbidden addresses the name leads to, when it leads to no other; else empty. */
  forbidden: string;
}

/** Endpoints of one gateway's upstreams, from names as they resolve. Only what a verdict or a route named is ever resolved. */
export class Upstreams {
  readonly #watch: WatchName;
  readonly #known = new Map<string, Known>();
  /** Who hears of each service: all of them begin anew when aliases or address families change. */
  readonly #watched = new Set<{ again: () => void }>();

  /** `watch` resolves by the aliases and address families of the gateway as they are when it is called. */
  constructor(watch: WatchName) {
    this.#watch = watch;
  }

  /** Makes an upstream known and returns the name of its endpoints. */
  serviceOf(upstream: HostUpstream): string {
    const service = serviceName(upstream);
    if (!this.#known.has(service)) this.#known.set(service, { upstream, forbidden: '' });
    return service;
  }

  /** A sentence when the name of a service led to nothing but forbidden addresses when it was heard of last; else empty. */
  forbidden(service: string): string {
    return this.#known.get(service)?.forbidden ?? '';
  }

  /** Endpoints of a service, now and whenever they change. One that is not known has none. */
  subscribe(service: string, listener: (endpoints: Endpoints) => void): Disposable {
    const known = this.#known.get(service);
    const tell = (addresses: readonly string[], turned = false): void => {
      const sorted = [...addresses].sort();
      const version = createHash('sha256').update(sorted.join(' ')).digest('hex').slice(0, 16);
      listener({ version, body: assignment(service, sorted, known?.upstream.port ?? 0), turned });
    };
    if (!known) {
      tell([]);
      return { [Symbol.dispose]() {} };
    }
    const late = setTimeout(() => tell([]), FIRST_ANSWER_MS);
    const start = (): Disposable =>
      this.#watch(known.upstream.host, known.upstream.ranges, (addresses, problem, reason) => {
        clearTimeout(late);
        const before = known.forbidden;
        known.forbidden = reason === 'ForbiddenAddress' ? problem : '';
        tell(addresses, known.forbidden !== before);
      });
    let watching = start();
    const entry = {
      again: () => {
        const before = watching;
        watching = start();
        before[Symbol.dispose]();
      },
    };
    this.#watched.add(entry);
    return {
      [Symbol.dispose]: () => {
        clearTimeout(late);
        this.#watched.delete(entry);
        watching[Symbol.dispose]();
      },
    };
  }

  /** Aliases or address families changed. */
  refresh(): void {
    for (const { again } of this.#watched) again();
  }
}
