import { loggingPolicies, rateLimitPolicies, type Kind, type LoggingPolicy, type RateLimitPolicy } from '#api';
import { createController, keyOf, specChanged, splitKey, watches, type Informer } from '#kube';
import { kubeTime } from '#lib';
import type { Context } from '../context.ts';
import { enforced, foldConditions, type Finding } from '../status.ts';

type Extension = RateLimitPolicy | LoggingPolicy;

interface Route {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly rules: readonly { readonly filters?: readonly { readonly extensionRef?: { readonly kind: string; readonly name: string } }[] }[] };
}

const refersTo = (route: Route, kind: string, name: string): boolean =>
  route.spec.rules.some(({ filters = [] }) => filters.some(({ extensionRef }) => extensionRef?.kind === kind && extensionRef.name === name));

/** Condition `Accepted`: such a policy applies nowhere by itself, but where a filter of a route refers to it. */
const acceptance = (users: readonly string[]): Finding =>
  users.length > 0
    ? { type: 'Accepted', status: 'True', reason: 'Accepted', message: `Filters of ${users.join(', ')} refer to it.` }
    : { type: 'Accepted', status: 'False', reason: 'Pending', message: 'No filter of a route refers to it, so it applies to nothing.' };

/** Policies that routes refer to, and the routes -> which routes each applies to, and whether it is in effect. */
export const extensionControllers = (context: Context): AsyncDisposable => {
  const { statuses, clock, log, caches } = context;
  const all = new AsyncDisposableStack();
  const follow = <T extends Extension>(kind: Kind<T>, informer: Informer<T>): AsyncDisposable =>
    createController({
      name: kind.plural,
      log,
      sources: [
        watches(informer),
        ...[caches.routes, caches.mcpRoutes, caches.l4Routes].map((cache) =>
          watches(cache as Informer, ({ metadata }) => informer.list(metadata.namespace).map(keyOf), specChanged),
        ),
      ],
      async reconcile(key) {
        const { namespace, name } = splitKey(key);
        const policy = informer.get(namespace, name);
        if (!policy) return;
        const users = (['AIProviderRoute', 'MCPRoute', 'EgressL4Route'] as const).flatMap((routeKind, index) =>
          ([caches.routes, caches.mcpRoutes, caches.l4Routes][index]!.list(namespace) as readonly Route[])
            .filter((route) => refersTo(route, kind.kind, name))
            .map(({ metadata }) => `${routeKind} ${metadata.name}`),
        );
        const findings = [acceptance(users.toSorted()), enforced(kind, policy)];
        await statuses.write<Extension>(kind, policy, ({ status, metadata }) => ({
          conditions: foldConditions(status?.conditions, findings, kubeTime(clock.now()), metadata.generation),
        }));
      },
    });
  all.use(follow(rateLimitPolicies, caches.rateLimits));
  all.use(follow(loggingPolicies, caches.loggingPolicies));
  return all;
};
