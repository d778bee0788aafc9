import type { AiRoute, McpRoute, ObjectKey, PolicySet } from '#model';
import { carriersOf, TERMINATES, type Group } from './listeners.ts';
import { hostMatches, isHostGlob } from './host-glob.ts';
import { CUSTOM, providerOfHost, type Provider } from './providers/index.ts';

/** Port an AI provider is reached on; no other port is admitted for its hosts. MCP servers are there unless their URL names another. */
export const AI_PORT = 443;

/** A route that judges each request. */
export type JudgingRoute = McpRoute | AiRoute;

export const isMcpRoute = (route: JudgingRoute): route is McpRoute => 'places' in route;

/** `Kind/namespace/name` */
export const nameOfRoute = (route: JudgingRoute): string =>
  `${isMcpRoute(route) ? 'MCPRoute' : 'AIProviderRoute'}/${route.route.namespace}/${route.route.name}`;

/** What has a host for itself: routes that judge requests, so that no connection passes by them. Oldest first, then by name. */
export interface Claimants {
  /** Asked before the others. */
  readonly mcpRoutes: readonly McpRoute[];
  readonly aiRoutes: readonly AiRoute[];
}

/** All of them, in the order they are asked. */
export const inOrder = ({ mcpRoutes, aiRoutes }: Claimants): readonly JudgingRoute[] => [...mcpRoutes, ...aiRoutes];

interface ByHost<R> {
  readonly exact: ReadonlyMap<string, readonly R[]>;
  /** By pattern of hosts. */
  readonly globs: ReadonlyMap<string, readonly R[]>;
}

interface Index {
  readonly mcp: ByHost<McpRoute>;
  readonly ai: ByHost<AiRoute>;
}

/** Which of two routes is asked first. */
export const compareRoutes = (
  a: { readonly createdAt: number; readonly route: ObjectKey },
  b: { readonly createdAt: number; readonly route: ObjectKey },
): number => a.createdAt - b.createdAt || compare(a.route.name, b.route.name) || compare(a.route.namespace, b.route.namespace);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const push = <V>(map: Map<string, V[]>, key: string, value: V): void => void (map.get(key)?.push(value) ?? map.set(key, [value]));

const byHost = <R extends JudgingRoute>(routes: readonly R[]): ByHost<R> => {
  const exact = new Map<string, R[]>();
  const globs = new Map<string, R[]>();
  for (const route of routes.toSorted(compareRoutes)) for (const host of new Set(route.hosts)) push(isHostGlob(host) ? globs : exact, host, route);
  return { exact, globs };
};

const indexes = new WeakMap<PolicySet, Index>();
const indexOf = (set: PolicySet): Index => {
  let known = indexes.get(set);
  if (!known) indexes.set(set, (known = { mcp: byHost(set.mcpRoutes), ai: byHost(set.aiRoutes) }));
  return known;
};

const NONE: readonly never[] = [];

const routesOf = <R extends JudgingRoute>({ exact, globs }: ByHost<R>, host: string): readonly R[] => {
  const named = exact.get(host) ?? NONE;
  const wild = [...globs].flatMap(([glob, routes]) => (hostMatches(glob, host) ? routes : NONE));
  return wild.length === 0 ? named : [...new Set([...named, ...wild])].sort(compareRoutes);
};

/** Who claims a name, on every port; undefined when nobody does. */
export const claimantsOf = (set: PolicySet, host: string): Claimants | undefined => {
  const { mcp, ai } = indexOf(set);
  const claimants = { mcpRoutes: routesOf(mcp, host), aiRoutes: routesOf(ai, host) };
  return claimants.mcpRoutes.length + claimants.aiRoutes.length > 0 ? claimants : undefined;
};

/** The listeners that take a claimed host to routes that judge its requests, and these routes. */
export interface Judging extends Claimants {
  readonly group: Group;
}

const isThere = ({ places }: McpRoute, host: string, port: number): boolean => places.some((place) => place.port === port && hostMatches(place.host, host));

/** Who judges requests to a name at a port; undefined when nobody does. */
export const judgingAt = (set: PolicySet, host: string, port: number): Judging | undefined => {
  const claimants = claimantsOf(set, host);
  if (!claimants) return undefined;
  const mcpRoutes = claimants.mcpRoutes.filter((route) => isThere(route, host, port));
  const aiRoutes = port === AI_PORT ? claimants.aiRoutes : NONE;
  for (const group of carriersOf(set, { transport: 'TCP', port, speaks: 'tls' })) {
    if (!TERMINATES.has(group.shape)) continue;
    const taken = ({ listeners }: JudgingRoute): boolean => listeners.some((name) => group.names.includes(name));
    const judging = { group, mcpRoutes: mcpRoutes.filter(taken), aiRoutes: aiRoutes.filter(taken) };
    if (judging.mcpRoutes.length + judging.aiRoutes.length > 0) return judging;
  }
  return undefined;
};

/** Routes that judge requests to a host where its connections arrive, in the order they are asked. */
export const routesFor = (set: PolicySet, host: string, port: number): readonly JudgingRoute[] => {
  const judging = judgingAt(set, host, port);
  return judging ? inOrder(judging) : NONE;
};

/** Ports at which requests to this canonical name are judged, in order. */
export const judgedPorts = (set: PolicySet, host: string): readonly number[] => {
  const { mcpRoutes = NONE } = claimantsOf(set, host) ?? {};
  const named = mcpRoutes.flatMap(({ places }) => places.filter((place) => hostMatches(place.host, host)).map(({ port }) => port));
  return [...new Set([AI_PORT, ...named])].filter((port) => judgingAt(set, host, port) !== undefined).sort((a, b) => a - b);
};

/** Whether some route of the gateway lets requests to this canonical name through to be judged. */
export const admitsHost = (set: PolicySet, host: string): boolean => judgedPorts(set, host).length > 0;

/** Names that a route claims itself. */
const namedHosts = (set: PolicySet): ReadonlySet<string> => {
  const { mcp, ai } = indexOf(set);
  return new Set([...mcp.exact.keys(), ...ai.exact.keys()]);
};

/** Whether a name is claimed by a pattern alone: what serves it is made when it is asked for. */
export const isServedOnDemand = (set: PolicySet, host: string): boolean => {
  const { mcp, ai } = indexOf(set);
  return !mcp.exact.has(host) && !ai.exact.has(host) && admitsHost(set, host);
};

/** Every name `admitsHost` holds for that a route names itself, and those of `asked` that a pattern covers; sorted. */
export const admittedHosts = (set: PolicySet, asked: readonly string[] = []): readonly string[] =>
  [...new Set([...namedHosts(set), ...asked])].filter((host) => admitsHost(set, host)).sort();

/** What understands requests to a host: a provider that has it, or else whatever `custom` understands when a route claims it. */
export const providerAt = (set: PolicySet, host: string): Provider | undefined =>
  providerOfHost(host) ?? (routesOf(indexOf(set).ai, host).length > 0 ? CUSTOM : undefined);
