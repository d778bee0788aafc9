import type { L4Route, PolicySet } from '#model';
import { claimantsOf } from './claimed.ts';
import { hostMatches, isHostGlob } from './host-glob.ts';
import { entriesForHost, entriesOf, patternOf } from './l4.ts';
import { once } from './memo.ts';

/** Which names the routes of a gateway are about, for DNS and for leaves. */

const canServe = (set: PolicySet, { listeners }: L4Route, protocol: 'TCP' | 'UDP' | undefined): boolean =>
  protocol === undefined || set.listeners.some(({ name, shape }) => listeners.includes(name) && (shape === 'udp') === (protocol === 'UDP'));

/**
 * Whether DNS gives this agent an address for a canonical name: some route is about it, on whatever port, or allow-all lets names
 * through. Also a name of which all is refused (by a policy, or a rule that is not built): its connections are told why. Nothing is
 * resolved before a connection is let through.
 */
export const admitsName = (set: PolicySet, agent: string, host: string): boolean => {
  if (set.defaultPolicy === 'allow-all') return true;
  if (claimantsOf(set, host)) return true;
  return entriesForHost(set, host).some(
    ({ route, match }) =>
      (match.hosts !== undefined || match.cidrs === undefined) && (!match.agents || match.agents.includes(agent)) && canServe(set, route, match.protocol),
  );
};

const isSuffix = (name: string): boolean => name.startsWith('*.') && !isHostGlob(name.slice(1));

export interface Names {
  /** Sorted. */
  readonly exact: readonly string[];
  /** Patterns `*.x`, sorted: one label for the `*`. */
  readonly suffixes: readonly string[];
  /** Patterns of hosts of any other form, sorted. */
  readonly globs: readonly string[];
  /** Any other name may be admitted too. */
  readonly any: boolean;
}

/** Every name and pattern that `admitsName` can hold for, of whatever agent. */
export const namesOf = once((set: PolicySet): Names => {
  const entries = entriesOf(set).filter(({ route, match }) => canServe(set, route, match.protocol));
  const all = new Set([
    ...set.aiRoutes.flatMap(({ hosts }) => hosts),
    ...set.mcpRoutes.flatMap(({ hosts }) => hosts),
    ...entries.flatMap(({ match }) => match.hosts ?? []),
  ]);
  const sorted = [...all].sort();
  return {
    exact: sorted.filter((name) => !isHostGlob(name)),
    suffixes: sorted.filter(isSuffix),
    globs: sorted.filter((name) => isHostGlob(name) && !isSuffix(name)),
    any: set.defaultPolicy === 'allow-all' || entries.some(({ match }) => !match.hosts && !match.cidrs),
  };
});

/** Whether one of these names or patterns stands for a canonical host. */
export const coversName = ({ exact, suffixes, globs, any }: Names, host: string): boolean =>
  any || exact.includes(host) || suffixes.includes(patternOf(host)) || globs.some((glob) => hostMatches(glob, host));
