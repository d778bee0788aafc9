import { BlockList, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isForbiddenUpstream } from '#policy';
import type { Family } from './question.ts';

export type LookupFamily = 'V4Preferred' | 'V4Only' | 'V6Only' | 'Auto' | 'All';

/** What somebody wants of a name. */
export interface Wanted {
  /** CIDRs the addresses must be in; private ones in them are allowed. Absent = every public address. */
  readonly ranges?: readonly string[];
  /** Addresses the gateway itself gives the name (`hostAliases`): then no name server is asked. */
  readonly aliases: readonly string[];
  readonly lookupFamily: LookupFamily;
}

/** What is dialled, or why nothing is. `reason` and `problem` are empty when there is something. */
export interface Choice {
  readonly endpoints: readonly string[];
  readonly reason: '' | 'ForbiddenAddress' | 'NameNotFound' | 'NameServerUnavailable';
  readonly problem: string;
}

const family = (ip: string): 'ipv4' | 'ipv6' => (isIPv4(ip) ? 'ipv4' : 'ipv6');

/** Every address of this worker's namespace, loopback included. */
export const ownAddresses = (): readonly string[] => Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));

/** Also finds an IPv4 address that is written as an IPv6 one. */
const listOf = (addresses: readonly string[]): BlockList => {
  const list = new BlockList();
  for (const address of addresses) list.addAddress(address.replace(/%.*$/, ''), family(address));
  return list;
};

/** Whether an address may be dialled for who wants it so. `alias`: the gateway itself names it. */
const mayDial =
  ({ ranges }: Wanted, own: BlockList, alias: boolean): ((ip: string) => boolean) =>
  (ip) =>
    !own.check(ip, family(ip)) && !isForbiddenUpstream(ip, { alias, ...(ranges && { ranges }) });

/** Types that have to be asked for in any case. */
export const asksFor = ({ aliases, lookupFamily }: Wanted): readonly Family[] => {
  if (aliases.length > 0) return [];
  if (lookupFamily === 'V6Only') return ['AAAA'];
  return lookupFamily === 'Auto' || lookupFamily === 'All' ? ['A', 'AAAA'] : ['A'];
};

/** Whether AAAA has to be asked for too, now that the A records are known. */
export const needsV6 = (wanted: Wanted, v4: readonly string[], own: readonly string[]): boolean =>
  wanted.aliases.length === 0 && wanted.lookupFamily === 'V4Preferred' && !v4.some(mayDial(wanted, listOf(own), false));

/** What the name servers are known to have said last. */
export interface Known {
  readonly A: readonly string[];
  readonly AAAA: readonly string[];
  /** Why one of the questions has no answer; empty when all have. */
  readonly failure: string;
}

/** What is dialled for a name, of what is known of it. The checked addresses are the ones that are dialled: there is no second look-up. */
export const choose = (name: string, wanted: Wanted, known: Known, own: readonly string[]): Choice => {
  const alias = wanted.aliases.length > 0;
  const usable = mayDial(wanted, listOf(own), alias);
  const pick = (): readonly string[] => {
    if (alias) return wanted.aliases;
    const [v4, v6] = [known.A.filter(usable), known.AAAA.filter(usable)];
    switch (wanted.lookupFamily) {
      case 'V4Only':
        return known.A;
      case 'V6Only':
        return known.AAAA;
      case 'V4Preferred':
        return v4.length > 0 ? v4 : [...known.A, ...known.AAAA];
      case 'Auto':
        return v6.length > 0 ? v6 : [...known.AAAA, ...known.A];
      case 'All':
        return [...known.A, ...known.AAAA];
    }
  };
  const picked = pick();
  const endpoints = picked.filter(usable);
  if (endpoints.length > 0) return { endpoints, reason: '', problem: '' };
  if (picked.length > 0) {
    const shown = picked.slice(0, 4).join(', ') + (picked.length > 4 ? ', …' : '');
    const where = wanted.ranges ? `is not in ${wanted.ranges.join(', ')} or is one a gateway never dials` : 'is one a gateway never dials';
    const whose = alias ? `The host alias of ${name} names ${shown}` : `${name} resolves to ${shown}`;
    return { endpoints: [], reason: 'ForbiddenAddress', problem: `${whose}, which ${where}.` };
  }
  if (known.failure) return { endpoints: [], reason: 'NameServerUnavailable', problem: `No name server answered for ${name}: ${known.failure}.` };
  return { endpoints: [], reason: 'NameNotFound', problem: `${name} has no address (lookupFamily ${wanted.lookupFamily}).` };
};
