import { aiProviderRoutes, credentialInjectionPolicies, egressDenyPolicies, egressGateways, type KubeObject } from '#api';
import { createController, existenceChanged, keyOf, signals, splitKey, watches, type Informer } from '#kube';
import { kubeTime } from '#lib';
import { danglingRef, unmatchedParents } from '#policy';
import type { Context } from '../context.ts';
import type { Plans } from './plans.ts';
import { existsIn } from './exists.ts';
import { gatewayStatus, policyStatus, routeStatus, withDangling, type ServingWorker } from './status.ts';

/**
 * Plans and reports of egresses -> status of gateways, routes and policies. A controller of its own, so that writing
 * statuses never delays what is published.
 */
export const gatewayStatusController = ({ caches, workers, egresses, statuses, clock, log }: Context, plans: Plans): AsyncDisposable => {
  const { gateways, routes, policies, denyPolicies } = caches;
  const now = (): string => kubeTime(clock.now());
  const workersOf = (namespace: string): string[] =>
    workers.all().flatMap(({ worker, report }) => (splitKey(report.pool).namespace === namespace ? [worker] : []));

  const writers: Readonly<Record<string, (namespace: string, name: string) => Promise<void>>> = {
    gateway: async (namespace, name) => {
      const gateway = gateways.get(namespace, name);
      const plan = plans.of(namespace)?.gateways.get(name);
      if (!gateway || !plan) return;
      const serving = workersOf(namespace).map((worker): ServingWorker => {
        const state = egresses.get(worker)?.gateways.find((candidate) => candidate.gateway === keyOf(gateway));
        return { worker, ...(state && { state }) };
      });
      await statuses.write(egressGateways, gateway, (current) => gatewayStatus(plan, current, serving, now()));
    },
    route: async (namespace, name) => {
      const route = routes.get(namespace, name);
      const plan = plans.of(namespace);
      if (!route || !plan) return;
      const matched = [...plan.gateways.values()].flatMap(({ compiled }) =>
        compiled.routes.filter(({ key }) => key.name === name).flatMap(({ parents }) => parents),
      );
      const unmatched = unmatchedParents(route, (gateway) => plan.gateways.has(gateway));
      const parents = withDangling([...matched, ...unmatched], danglingRef(route, existsIn(caches, namespace)));
      await statuses.write(aiProviderRoutes, route, (current) => routeStatus(aiProviderRoutes, current, parents, now()));
    },
    policy: async (namespace, name) => {
      const policy = policies.get(namespace, name);
      const judgement = plans.of(namespace)?.policies.get(name);
      if (policy && judgement)
        await statuses.write(credentialInjectionPolicies, policy, (current) => policyStatus(credentialInjectionPolicies, current, judgement, now()));
    },
    deny: async (namespace, name) => {
      const policy = denyPolicies.get(namespace, name);
      const judgement = plans.of(namespace)?.denyPolicies.get(name);
      if (policy && judgement) await statuses.write(egressDenyPolicies, policy, (current) => policyStatus(egressDenyPolicies, current, judgement, now()));
    },
  };
  const keyed = (what: string) => (object: KubeObject) => [`${what}:${keyOf(object)}`];

  return createController({
    name: 'gateway-status',
    log,
    sources: [
      watches(gateways, keyed('gateway')),
      watches(routes, keyed('route')),
      watches(policies, keyed('policy')),
      watches(denyPolicies, keyed('deny')),
      ...[caches.rateLimits, caches.loggingPolicies].map((cache) =>
        watches(cache as Informer, ({ metadata }) => routes.list(metadata.namespace).flatMap(keyed('route')), existenceChanged),
      ),
      signals((enqueue) =>
        plans.onChange((namespace) => {
          for (const [what, cache] of Object.entries({ gateway: gateways, route: routes, policy: policies, deny: denyPolicies }))
            for (const object of cache.list(namespace)) keyed(what)(object).forEach(enqueue);
        }),
      ),
      signals((enqueue) => {
        const wake = (namespace: string): void => gateways.list(namespace).flatMap(keyed('gateway')).forEach(enqueue);
        const stopWorkers = workers.onChange((worker, current, previous) => {
          // Only coming, going and moving matter here, not every heartbeat.
          if (current?.pool === previous?.pool) return;
          for (const report of [current, previous]) if (report) wake(splitKey(report.pool).namespace);
        });
        const stopEgresses = egresses.onChange((worker) => {
          const report = workers.get(worker);
          if (report) wake(splitKey(report.pool).namespace);
        });
        return () => [stopWorkers, stopEgresses].forEach((stop) => stop());
      }),
    ],
    async reconcile(key) {
      const colon = key.indexOf(':');
      const { namespace, name } = splitKey(key.slice(colon + 1));
      await writers[key.slice(0, colon)]!(namespace, name);
    },
  });
};
