import { daemonAgents, egressL4Routes, mcpRoutes, pinProblem, type EgressL4Route, type Kind, type MCPRoute } from '#api';
import { createController, existenceChanged, keyOf, specChanged, splitKey, watches, type Informer } from '#kube';
import { kubeTime } from '#lib';
import { danglingRef, unmatchedParents, type ConditionState, type RouteParent } from '#policy';
import type { ActiveRuns } from './agent/active.ts';
import { RevisionKeeper } from './agent/keeper.ts';
import { latestReady } from './agent/revisions.ts';
import { missingReference } from './agent/status.ts';
import type { Context } from './context.ts';
import { existsIn } from './gateway/exists.ts';
import { routeStatus, withDangling } from './gateway/status.ts';
import { enforced, foldConditions } from './status.ts';

/**
 * Kinds that exist and whose behaviour does not yet: their objects say so, and nothing they ask for happens. A route lets
 * nothing through, a DaemonAgent runs nothing (its revisions are made, and tried, all the same).
 */
export const unbuiltControllers = (context: Context, active: ActiveRuns): AsyncDisposable => {
  const { caches, statuses, clock, log } = context;
  const { gateways, daemons, pools, revisions } = caches;
  const now = (): string => kubeTime(clock.now());
  const all = new AsyncDisposableStack();

  const routes = <T extends MCPRoute | EgressL4Route>(kind: Kind<T>, informer: Informer<T>): AsyncDisposable =>
    createController({
      name: `unbuilt-${kind.plural}`,
      log,
      sources: [
        watches(informer),
        watches(gateways, ({ metadata }) => informer.list(metadata.namespace).map(keyOf), specChanged),
        ...[caches.rateLimits, caches.loggingPolicies].map((cache) =>
          watches(cache as Informer, ({ metadata }) => informer.list(metadata.namespace).map(keyOf), existenceChanged),
        ),
      ],
      async reconcile(key) {
        const { namespace, name } = splitKey(key);
        const route = informer.get(namespace, name);
        if (!route) return;
        const unmatched = unmatchedParents(route, (gateway) => gateways.get(namespace, gateway) !== undefined);
        const matched = route.spec.parentRefs
          .filter((ref) => !unmatched.some(({ parentRef }) => parentRef === ref))
          .map((parentRef): RouteParent => {
            const listeners = gateways.get(namespace, parentRef.name)?.spec.listeners ?? [];
            const accepted: ConditionState =
              !parentRef.sectionName || listeners.some((listener) => listener.name === parentRef.sectionName)
                ? { status: 'False', reason: 'NotBuilt', message: `Kind ${kind.kind} is not built yet; it lets nothing through.` }
                : { status: 'False', reason: 'NoMatchingParent', message: `EgressGateway ${parentRef.name} has no listener ${parentRef.sectionName}.` };
            return { parentRef, accepted, resolvedRefs: { status: 'True', reason: 'ResolvedRefs', message: '' } };
          });
        const parents = withDangling([...matched, ...unmatched], danglingRef(route, existsIn(caches, namespace)));
        await statuses.write(kind, route, (current) => routeStatus(kind, current, parents, now()));
      },
    });
  all.use(routes(mcpRoutes, caches.mcpRoutes));
  all.use(routes(egressL4Routes, caches.l4Routes));

  const keeper = new RevisionKeeper(daemonAgents, context, active);
  all.use(
    createController({
      name: 'unbuilt-daemonagents',
      log,
      sources: [
        watches(daemons),
        keeper.source,
        watches(pools, (pool) => daemons.index('pool', keyOf(pool)).map(keyOf), existenceChanged),
        watches(gateways, ({ metadata }) => daemons.list(metadata.namespace).map(keyOf), existenceChanged),
      ],
      async reconcile(key) {
        const { namespace, name } = splitKey(key);
        const agent = daemons.get(namespace, name);
        if (!agent || agent.metadata.deletionTimestamp) return;
        const problem = await keeper.mint(agent);
        const own = keeper.of(agent);
        const pin = pinProblem(agent, revisions.get(namespace, agent.spec.revisionName ?? ''));
        const dangling =
          problem ??
          missingReference(agent, {
            pool: pools.get(namespace, agent.spec.workerPoolRef),
            gatewayExists: (gateway) => gateways.get(namespace, gateway) !== undefined,
          }) ??
          (pin && ({ type: 'Ready', status: 'False', ...pin } as const));
        const ready = { type: 'Ready', status: 'False', reason: 'NotBuilt', message: 'Kind DaemonAgent is not built yet; nothing runs.' } as const;
        const { generation } = agent.metadata;
        await statuses.write(daemonAgents, agent, (current) => ({
          phase: 'Stopped',
          latestCreatedRevisionName: own[0]?.metadata.name,
          latestReadyRevisionName: latestReady(current, own)?.metadata.name,
          observedGeneration: generation,
          conditions: foldConditions(current.status?.conditions, [dangling ?? ready, enforced(daemonAgents, agent)], now(), generation),
        }));
        await keeper.retain(agent);
      },
    }),
  );
  return all;
};
