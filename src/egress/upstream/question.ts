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

/** At most so many at a time; the others wait in the order they came. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
