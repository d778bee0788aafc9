import { daemonAgents, egressL4Routes, mcpRoutes, type EgressL4Route, type Kind, type MCPRoute } from '#api';
import { createController, keyOf, splitKey, watches, type Informer } from '#kube';
import { kubeTime } from '#lib';
import { unmatchedParents, type RouteParent } from '#policy';
import type { ActiveRuns } from './agent/active.ts';
import { RevisionKeeper } from './agent/keeper.ts';
import { latestReady } from './agent/revisions.ts';
import type { Context } from './context.ts';
import { routeStatus } from './gateway/status.ts';
import { enforced, foldConditions, writeStatus } from './status.ts';

/**
 * Kinds that exist and whose behaviour does not yet: their objects say so, and nothing they ask for happens. A route lets
 * nothing through, a DaemonAgent runs nothing (its revisions are made, and tried, all the same).
 */
export const unbuiltControllers = (context: Context, active: ActiveRuns): AsyncDisposable => {
  const { client, caches, clock, log } = context;
  const { gateways, daemons } = caches;
  const now = (): string => kubeTime(clock.now());
  const all = new AsyncDisposableStack();

  const routes = <T extends MCPRoute | EgressL4Route>(kind: Kind<T>, informer: Informer<T>): AsyncDisposable =>
    createController({
      name: `unbuilt-${kind.plural}`,
      log,
      sources: [
        watches(informer),
        watches(
          gateways,
          ({ metadata }) => informer.list(metadata.namespace).map(keyOf),
          (a, b) => a === undefined || b === undefined,
        ),
      ],
      async reconcile(key) {
        const { namespace, name } = splitKey(key);
        const route = informer.get(namespace, name);
        if (!route) return;
        const unmatched = unmatchedParents(route, (gateway) => gateways.get(namespace, gateway) !== undefined);
        const matched = route.spec.parentRefs
          .filter((ref) => !unmatched.some(({ parentRef }) => parentRef === ref))
          .map((parentRef): RouteParent => ({
            parentRef,
            accepted: { status: 'False', reason: 'NotBuilt', message: `Kind ${kind.kind} is not built yet; it lets nothing through.` },
            resolvedRefs: { status: 'True', reason: 'ResolvedRefs', message: '' },
          }));
        await writeStatus(client, kind, route, routeStatus(kind, route, [...matched, ...unmatched], now()));
      },
    });
  all.use(routes(mcpRoutes, caches.mcpRoutes));
  all.use(routes(egressL4Routes, caches.l4Routes));

  const keeper = new RevisionKeeper(daemonAgents, context, active);
  all.use(
    createController({
      name: 'unbuilt-daemonagents',
      log,
      sources: [watches(daemons), keeper.source],
      async reconcile(key) {
        const { namespace, name } = splitKey(key);
        const agent = daemons.get(namespace, name);
        if (!agent || agent.metadata.deletionTimestamp) return;
        const problem = await keeper.mint(agent);
        const own = keeper.of(agent);
        const ready = { type: 'Ready', status: 'False', reason: 'NotBuilt', message: 'Kind DaemonAgent is not built yet; nothing runs.' } as const;
        const { generation } = agent.metadata;
        await writeStatus(client, daemonAgents, agent, {
          phase: 'Stopped',
          latestCreatedRevisionName: own[0]?.metadata.name,
          latestReadyRevisionName: latestReady(agent, own)?.metadata.name,
          observedGeneration: generation,
          conditions: foldConditions(agent.status?.conditions, [problem ?? ready, enforced(daemonAgents, agent)], now(), generation),
        });
        await keeper.retain(agent);
      },
    }),
  );
  return all;
};
