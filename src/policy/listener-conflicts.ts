import type { PolicySet } from '#model';
import { groupsAt, CARRIES } from './listeners.ts';

/**
 * Listeners that can never take anything, with what takes it instead: for all that such a listener could carry, one of the same port goes
 * first and has every route that it has.
 */
export const idleListeners = (set: PolicySet): ReadonlyMap<string, readonly string[]> => {
  const routesAt = new Map<string, Set<string>>();
  for (const [kind, routes] of [
    ['mcp', set.mcpRoutes],
    ['ai', set.aiRoutes],
    ['l4', set.l4Routes],
  ] as const) {
    for (const { route, listeners } of routes) {
      for (const name of listeners) {
        const known = routesAt.get(name) ?? new Set();
        routesAt.set(name, known.add(`${kind}/${route.namespace}/${route.name}`));
      }
    }
  }
  const routesOf = (names: readonly string[]): ReadonlySet<string> => new Set(names.flatMap((name) => [...(routesAt.get(name) ?? [])]));
  const idle = new Map<string, readonly string[]>();
  for (const port of new Set(set.listeners.map((listener) => listener.port))) {
    // Port 0 stands for every port no listener names.
    const groups = groupsAt(set, 'TCP', port ?? 0);
    for (const [index, group] of groups.entries()) {
      const mine = routesOf(group.names);
      if (mine.size === 0 && set.defaultPolicy === 'deny-all') continue;
      const before = groups.slice(0, index).filter(({ names }) => mine.isSubsetOf(routesOf(names)));
      const takers = CARRIES[group.shape].map((speaks) => before.find(({ shape }) => CARRIES[shape].includes(speaks)));
      if (takers.every((taker) => taker !== undefined)) for (const name of group.names) idle.set(name, [...new Set(takers.flatMap(({ names }) => names))]);
    }
  }
  return idle;
};
