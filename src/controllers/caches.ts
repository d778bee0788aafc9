import {
  agentSandboxRevisions,
  aiProviderRoutes,
  configMaps,
  controllerOf,
  credentialInjectionPolicies,
  daemonAgents,
  egressDenyPolicies,
  egressGateways,
  egressL4Routes,
  loggingPolicies,
  mcpRoutes,
  namespaces,
  rateLimitPolicies,
  secrets,
  taskAgents,
  workerPools,
  type Agent,
  type KubeObject,
} from '#api';
import { createInformer, type Client, type Informer } from '#kube';
import type { Logger } from '#lib';
import { gatewayOfRef, PRICES_CONFIG_MAP, type AnyRoute } from '#policy';

/** Namespaces of the gateways a route names. */
export const gatewayNamespacesOf = (route: AnyRoute): readonly string[] => [
  ...new Set(route.spec.parentRefs.flatMap((ref) => gatewayOfRef(ref, route)?.namespace ?? [])),
];

const byGateway = {
  /** By a gateway it names, `namespace/name`. */
  gateway: (route: AnyRoute): readonly string[] => [
    ...new Set(
      route.spec.parentRefs.flatMap((ref) => {
        const named = gatewayOfRef(ref, route);
        return named ? [`${named.namespace}/${named.name}`] : [];
      }),
    ),
  ],
  /** By own namespace, when it names a gateway of another one. */
  abroad: (route: AnyRoute): readonly string[] => {
    const { namespace = '' } = route.metadata;
    return gatewayNamespacesOf(route).some((named) => named !== namespace) ? [namespace] : [];
  },
};

/** Local copies of everything controllers read. */
export const createCaches = (client: Client, log: Logger) => {
  const all: Informer[] = [];
  const follow = <T extends KubeObject>(
    kind: Parameters<typeof createInformer<T>>[1],
    indexes: Record<string, (object: T) => readonly string[]> = {},
    fieldSelector?: string,
  ) => {
    const informer = createInformer<T>(client, kind, { log, indexes, ...(fieldSelector !== undefined && { fieldSelector }) });
    all.push(informer as unknown as Informer);
    return informer;
  };
  return {
    pools: follow(workerPools),
    agents: follow(taskAgents, { pool: (agent) => [poolKeyOf(agent)] }),
    revisions: follow(agentSandboxRevisions, { owner: (revision) => [controllerOf(revision)?.uid ?? ''] }),
    gateways: follow(egressGateways),
    routes: follow(aiProviderRoutes, byGateway),
    policies: follow(credentialInjectionPolicies),
    denyPolicies: follow(egressDenyPolicies),
    mcpRoutes: follow(mcpRoutes, byGateway),
    l4Routes: follow(egressL4Routes, byGateway),
    rateLimits: follow(rateLimitPolicies),
    loggingPolicies: follow(loggingPolicies),
    daemons: follow(daemonAgents, { pool: (agent) => [poolKeyOf(agent)] }),
    secrets: follow(secrets),
    /** One a namespace at most: of all ConfigMaps only this name is of interest. */
    prices: follow(configMaps, {}, `metadata.name=${PRICES_CONFIG_MAP}`),
    namespaces: follow(namespaces),
    synced: Promise.resolve().then(() => Promise.all(all.map(({ synced }) => synced)).then(() => {})),
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map((informer) => informer[Symbol.asyncDispose]()));
    },
  };
};

export type Caches = ReturnType<typeof createCaches>;

/** The pool of an agent, as workers name it: `namespace/name`. */
export const poolKeyOf = (agent: Agent): string => `${agent.metadata.namespace}/${agent.spec.workerPoolRef}`;
