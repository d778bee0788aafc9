import type { EgressGateway } from '#api';
import { keyOf } from '#kube';
import type { AgentLabels, CompileInput, SecretLookup } from '#policy';
import type { Caches } from '../caches.ts';
import { existsIn } from './exists.ts';

/** Decoded Secrets. */
export const secretsIn =
  ({ secrets }: Caches): SecretLookup =>
  (name, namespace) => {
    const secret = secrets.get(namespace, name);
    return secret && Object.fromEntries(Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
  };

/** Labels of the agents of a namespace; a TaskAgent and a DaemonAgent may share a name. */
const agentsOf = ({ agents, daemons }: Caches, namespace: string): AgentLabels => {
  const all = [...agents.list(namespace), ...daemons.list(namespace)].map((agent) => ({ key: keyOf(agent), labels: agent.metadata.labels ?? {} }));
  return new Map([...Map.groupBy(all, ({ key }) => key)].map(([key, group]) => [key, group.map(({ labels }) => labels)]));
};

/** Everything a gateway is compiled from, as the caches have it. */
export const compileInput = (caches: Caches, gateway: EgressGateway): CompileInput => {
  const { namespace = '' } = gateway.metadata;
  const aiRoutes = caches.routes.index('gateway', keyOf(gateway));
  const mcpRoutes = caches.mcpRoutes.index('gateway', keyOf(gateway));
  const l4Routes = caches.l4Routes.index('gateway', keyOf(gateway));
  const homes = [...new Set([namespace, ...[...aiRoutes, ...mcpRoutes, ...l4Routes].map(({ metadata }) => metadata.namespace ?? '')])];
  return {
    gateway,
    aiRoutes,
    mcpRoutes,
    l4Routes,
    credentialPolicies: homes.flatMap((home) => caches.policies.list(home)),
    denyPolicies: homes.flatMap((home) => caches.denyPolicies.list(home)),
    secret: secretsIn(caches),
    configMap: (name, home) => {
      const found = caches.prices.get(home, name);
      return found && (found.data ?? {});
    },
    exists: existsIn(caches),
    agents: agentsOf(caches, namespace),
    namespaceLabels: (name) => {
      const found = caches.namespaces.get('', name);
      return found && (found.metadata.labels ?? {});
    },
  };
};
