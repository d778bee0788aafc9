import type { Informer } from '#kube';
import type { Exists } from '#policy';
import type { Caches } from '../caches.ts';

/** Which objects of our kinds there are. A kind that is not here has none. */
export const existsIn = (caches: Caches): Exists => {
  const byKind: Readonly<Record<string, Pick<Informer, 'get'>>> = {
    EgressGateway: caches.gateways,
    AIProviderRoute: caches.routes,
    MCPRoute: caches.mcpRoutes,
    EgressL4Route: caches.l4Routes,
    RateLimitPolicy: caches.rateLimits,
    LoggingPolicy: caches.loggingPolicies,
  };
  return (kind, name, namespace) => byKind[kind]?.get(namespace, name) !== undefined;
};
