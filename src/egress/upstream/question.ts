import { messageOf, systemCode } from '#lib';
import type { NameServers } from './name-servers.ts';

export type Family = 'A' | 'AAAA';

/** What the name servers said: addresses, that there are none, or nothing of use. */
export type Said =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[]; readonly ttlS: number }
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly cause: string };

/** Addresses of one answer that are looked at; a larger answer is cut, in the order of addresses so that it stays the same. */
const MAX_ADDRESSES = 128;

/** Asks for one type of one name. CNAMEs are followed by the servers; a truncated answer is asked for again by TCP. */
export const ask = async (servers: NameServers, name: string, family: Family): Promise<Said> => {
  try {
    const resolver = await servers.current();
    if (!resolver) return { kind: 'failed', cause: 'this machine names no server in /etc/resolv.conf' };
    const records = await (family === 'A' ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }));
    if (records.length === 0) return { kind: 'none' };
    return {
      kind: 'addresses',
      addresses: [...new Set(records.map(({ address }) => address))].sort().slice(0, MAX_ADDRESSES),
      ttlS: Math.min(...records.map(({ ttl }) => ttl)),
    };
  } catch (error) {
    const code = systemCode(error);
    return code === 'ENOTFOUND' || code === 'ENODATA' ? { kind: 'none' } : { kind: 'failed', cause: code ?? messageOf(error) };
  }
};

/** Part of the slots that names of one zone may have: servers that do not answer must not hold up who asks others. */
const ZONE_SHARE = 4;

/** Names below the same name; of a name of one or two labels, itself. */
const zoneOf = (name: string): string => name.split('.').slice(1).join('.') || name;

/** At most so many at a time, of one zone a quarter of them; the others wait in the order they came. */
export class Slots {
  readonly #ofZone: number;
  #free: number;
  readonly #running = new Map<string, number>();
  readonly #waiting: { readonly zone: string; readonly start: () => void }[] = [];

  constructor(count: number) {
    this.#free = count;
    this.#ofZone = Math.max(1, Math.floor(count / ZONE_SHARE));
  }

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    const zone = zoneOf(name);
    if (this.#free > 0 && this.#mayRun(zone)) this.#take(zone);
    else await new Promise<void>((start) => this.#waiting.push({ zone, start }));
    try {
      return await work();
    } finally {
      this.#give(zone);
    }
  }

  #mayRun(zone: string): boolean {
    return (this.#running.get(zone) ?? 0) < this.#ofZone;
  }

  #take(zone: string): void {
    this.#free--;
    this.#running.set(zone, (this.#running.get(zone) ?? 0) + 1);
  }

  #give(zone: string): void {
    this.#free++;
    const left = this.#running.get(zone)! - 1;
    if (left > 0) this.#running.set(zone, left);
    else this.#running.delete(zone);
    const next = this.#waiting.find((one) => this.#mayRun(one.zone));
    if (!next) return;
    this.#waiting.splice(this.#waiting.indexOf(next), 1);
    this.#take(next.zone);
    next.start();
  }
}
