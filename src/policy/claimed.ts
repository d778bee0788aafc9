import type { AiRoute, Claim, ObjectKey, PolicySet } from '#model';
import { carriersOf, TERMINATES, type Group } from './listeners.ts';
import { hostMatches, isHostGlob } from './host-glob.ts';
import { patternOf } from './l4.ts';
import { CUSTOM, providerOfHost, type Provider } from './providers/index.ts';

/** Port an AI provider is reached on; no other port is admitted for its hosts. */
export const AI_PORT = 443;

/** What has a host for itself: routes that judge requests, so that no connection passes by them. */
export interface Claimants {
  /** In the order they are asked: oldest first, then by name. */
  readonly aiRoutes: readonly AiRoute[];
  readonly claims: readonly Claim[];
}

interface Index {
  readonly byHost: ReadonlyMap<string, readonly AiRoute[]>;
  /** Routes by pattern of hosts. */
  readonly byGlob: ReadonlyMap<string, readonly AiRoute[]>;
  readonly claims: ReadonlyMap<string, readonly Claim[]>;
}

/** Which of two routes is asked first. */
export const compareRoutes = (
  a: { readonly createdAt: number; readonly route: ObjectKey },
  b: { readonly createdAt: number; readonly route: ObjectKey },
): number => a.createdAt - b.createdAt || compare(a.route.name, b.route.name) || compare(a.route.namespace, b.route.namespace);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const push = <V>(map: Map<string, V[]>, key: string, value: V): void => void (map.get(key)?.push(value) ?? map.set(key, [value]));

const build = (set: PolicySet): Index => {
  const byHost = new Map<string, AiRoute[]>();
  const claims = new Map<string, Claim[]>();
  const byGlob = new Map<string, AiRoute[]>();
  for (const route of set.aiRoutes.toSorted(compareRoutes)) for (const host of new Set(route.hosts)) push(isHostGlob(host) ? byGlob : byHost, host, route);
  for (const claim of set.claims) for (const host of new Set(claim.hosts)) push(claims, host, claim);
  return { byHost, byGlob, claims };
};

const indexes = new WeakMap<PolicySet, Index>();
const indexOf = (set: PolicySet): Index => {
  let known = indexes.get(set);
  if (!known) indexes.set(set, (known = build(set)));
  return known;
};

const NONE: readonly never[] = [];

const aiRoutesOf = ({ byHost, byGlob }: Index, host: string): readonly AiRoute[] => {
  const exact = byHost.get(host) ?? NONE;
  const wild = [...byGlob].flatMap(([glob, routes]) => (hostMatches(glob, host) ? routes : NONE));
  return wild.length === 0 ? exact : [...new Set([...exact, ...wild])].sort(compareRoutes);
};

/** Who claims a name, on every port; undefined when nobody does. */
export const claimantsOf = (set: PolicySet, host: string): Claimants | undefined => {
  const index = indexOf(set);
  const { claims } = index;
  const aiRoutes = aiRoutesOf(index, host);
  const claiming = [...(claims.get(host) ?? NONE), ...(claims.get(patternOf(host)) ?? NONE)];
  return aiRoutes.length + claiming.length > 0 ? { aiRoutes, claims: claiming } : undefined;
};

/** The listeners that take a claimed host to its AI routes, and these routes; undefined when no listener does. */
export const aiGroupOf = (set: PolicySet, aiRoutes: readonly AiRoute[]): { readonly group: Group; readonly routes: readonly AiRoute[] } | undefined => {
  for (const group of carriersOf(set, { transport: 'TCP', port: AI_PORT, speaks: 'tls' })) {
    if (!TERMINATES.has(group.shape)) continue;
    const routes = aiRoutes.filter(({ listeners }) => listeners.some((name) => group.names.includes(name)));
    if (routes.length > 0) return { group, routes };
  }
  return undefined;
};

/** AI routes that claim a host where its connections arrive, in the order they are asked. */
export const routesFor = (set: PolicySet, host: string, port: number): readonly AiRoute[] =>
  (port === AI_PORT ? aiGroupOf(set, claimantsOf(set, host)?.aiRoutes ?? NONE)?.routes : undefined) ?? NONE;

/** Whether some AI route of the gateway lets requests to this canonical name through to be judged. */
export const admitsHost = (set: PolicySet, host: string): boolean => routesFor(set, host, AI_PORT).length > 0;

/** Whether a name is claimed by a pattern alone: what serves it is made when it is asked for. */
export const isServedOnDemand = (set: PolicySet, host: string): boolean => !indexOf(set).byHost.has(host) && admitsHost(set, host);

/** Every name `admitsHost` holds for that a route names itself, and those of `asked` that a pattern covers; sorted. */
export const admittedHosts = (set: PolicySet, asked: readonly string[] = []): readonly string[] =>
  [...new Set([...indexOf(set).byHost.keys(), ...asked])].filter((host) => admitsHost(set, host)).sort();

/** What understands requests to a host: a provider that has it, or else whatever `custom` understands when a route claims it. */
export const providerAt = (set: PolicySet, host: string): Provider | undefined =>
  providerOfHost(host) ?? (aiRoutesOf(indexOf(set), host).length > 0 ? CUSTOM : undefined);
