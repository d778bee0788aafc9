import { aiProviderRoutes, credentialInjectionPolicies, egressDenyPolicies, egressGateways, egressL4Routes, mcpRoutes, type Kind, type KubeObject } from '#api';
import { createController, existenceChanged, keyOf, signals, splitKey, watches, type Informer } from '#kube';
import { kubeTime } from '#lib';
import type { EgressReport, ObjectKey } from '#model';
import { danglingRef, gatewayOfRef, unmatchedParents, type AnyRoute } from '#policy';
import type { Context } from '../context.ts';
import { routeKey, type Plans } from './plans.ts';
import { existsIn } from './exists.ts';
import { gatewayStatus, policyStatus, routeStatus, withDangling, withTroubles, type CredentialTrouble, type ServingWorker } from './status.ts';

/** Credentials of which an egress says something else than before. */
const changedTroubles = (current: EgressReport | undefined, previous: EgressReport | undefined): readonly string[] => {
  const [now, before] = [current, previous].map(
    (report) =>
      new Set((report?.gateways ?? []).flatMap(({ gateway, unavailable = [] }) => unavailable.map((one) => `${one.credential} ${one.reason} ${gateway}`))),
  ) as [Set<string>, Set<string>];
  return [...new Set([...now.symmetricDifference(before)].map((entry) => entry.split(' ')[0]!))];
};

const keyOfGateway = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;

/**
 * Plans and reports of egresses -> status of gateways, routes and policies. A controller of its own, so that writing
 * statuses never delays what is published.
 */
export const gatewayStatusController = ({ caches, workers, egresses, statuses, clock, log }: Context, plans: Plans): AsyncDisposable => {
  const { gateways, policies, denyPolicies } = caches;
  const routeKinds = { AIProviderRoute: caches.routes, MCPRoute: caches.mcpRoutes, EgressL4Route: caches.l4Routes } as Readonly<
    Record<string, Informer<AnyRoute>>
  >;
  const now = (): string => kubeTime(clock.now());
  const workersOf = (namespace: string): string[] =>
    workers.all().flatMap(({ worker, report }) => (splitKey(report.pool).namespace === namespace ? [worker] : []));

  const troublesOf = (credential: string): readonly CredentialTrouble[] =>
    egresses
      .all()
      .flatMap(({ worker, report }) =>
        report.gateways.flatMap(({ gateway, unavailable = [] }) =>
          unavailable.filter((trouble) => trouble.credential === credential).map(({ reason }) => ({ worker, gateway, reason })),
        ),
      );

  const isThere = ({ namespace, name }: ObjectKey): boolean => {
    const gateway = gateways.get(namespace, name);
    return gateway !== undefined && !gateway.metadata.deletionTimestamp;
  };
  const writeRoute = async (kind: Kind, namespace: string, name: string): Promise<void> => {
    const route = routeKinds[kind.kind]!.get(namespace, name);
    if (!route) return;
    const named = new Map(route.spec.parentRefs.flatMap((ref) => gatewayOfRef(ref, route) ?? []).map((gateway) => [keyOfGateway(gateway), gateway]));
    const key = routeKey(kind.kind, { namespace, name });
    const known = [...named.values()].filter(isThere).map((gateway) => plans.of(gateway.namespace)?.gateways.get(gateway.name)?.routes.get(key));
    // A plan from before the route or its gateway says nothing; the next one wakes this again.
    if (known.includes(undefined)) return;
    const parents = withDangling([...known.flatMap((states) => states ?? []), ...unmatchedParents(route, isThere)], danglingRef(route, existsIn(caches)));
    await statuses.write<AnyRoute>(kind as Kind<AnyRoute>, route, (current) => routeStatus(kind, current, parents, now()));
  };

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
    ...Object.fromEntries(
      ([aiProviderRoutes, mcpRoutes, egressL4Routes] as readonly Kind[]).map((kind) => [
        kind.kind,
        (namespace: string, name: string) => writeRoute(kind, namespace, name),
      ]),
    ),
    policy: async (namespace, name) => {
      const policy = policies.get(namespace, name);
      const planned = plans.of(namespace)?.policies.get(name);
      if (!policy || !planned) return;
      const judgement = withTroubles(planned, troublesOf(`cred:${namespace}/${name}`));
      await statuses.write(credentialInjectionPolicies, policy, (current) => policyStatus(credentialInjectionPolicies, current, judgement, now()));
    },
    deny: async (namespace, name) => {
      const policy = denyPolicies.get(namespace, name);
      const judgement = plans.of(namespace)?.denyPolicies.get(name);
      if (policy && judgement) await statuses.write(egressDenyPolicies, policy, (current) => policyStatus(egressDenyPolicies, current, judgement, now()));
    },
  };
  const allRoutes = Object.entries(routeKinds);
  const keyed = (what: string) => (object: KubeObject) => [`${what}:${keyOf(object)}`];

  return createController({
    name: 'gateway-status',
    log,
    sources: [
      watches(gateways, keyed('gateway')),
      ...allRoutes.map(([kind, cache]) => watches(cache, keyed(kind))),
      watches(policies, keyed('policy')),
      watches(denyPolicies, keyed('deny')),
      ...[caches.rateLimits, caches.loggingPolicies].map((cache) =>
        watches(
          cache as Informer,
          ({ metadata }) => allRoutes.flatMap(([kind, routes]) => routes.list(metadata.namespace).flatMap(keyed(kind))),
          existenceChanged,
        ),
      ),
      signals((enqueue) =>
        plans.onChange((namespace, changed) => {
          for (const [what, cache] of Object.entries({ gateway: gateways, policy: policies, deny: denyPolicies }))
            for (const object of cache.list(namespace)) keyed(what)(object).forEach(enqueue);
          // Not every route: what a plan says of the others is in their statuses, and there may be thousands.
          for (const route of changed) enqueue(route.replace('/', ':'));
        }),
      ),
      signals((enqueue) => {
        const wake = (namespace: string): void => gateways.list(namespace).flatMap(keyed('gateway')).forEach(enqueue);
        const stopWorkers = workers.onChange((worker, current, previous) => {
          // Only coming, going and moving matter here, not every heartbeat.
          if (current?.pool === previous?.pool) return;
          for (const report of [current, previous]) if (report) wake(splitKey(report.pool).namespace);
        });
        const stopEgresses = egresses.onChange((worker, current, previous) => {
          for (const credential of changedTroubles(current, previous)) enqueue(credential.replace('cred:', 'policy:'));
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
