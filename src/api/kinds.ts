import { leases } from './coordination/v1.ts';
import { events, eventsV1 } from './core/events.ts';
import { configMaps, namespaces, secrets } from './core/v1.ts';
import type { Kind } from './kind.ts';
import { agentSandboxRevisions } from './v1alpha1/agent-sandbox-revision.ts';
import { aiProviderRoutes } from './v1alpha1/ai-provider-route.ts';
import { credentialInjectionPolicies } from './v1alpha1/credential-injection-policy.ts';
import { daemonAgents } from './v1alpha1/daemon-agent.ts';
import { egressDenyPolicies } from './v1alpha1/egress-deny-policy.ts';
import { egressGateways } from './v1alpha1/egress-gateway.ts';
import { egressL4Routes } from './v1alpha1/egress-l4-route.ts';
import { loggingPolicies } from './v1alpha1/logging-policy.ts';
import { mcpRoutes } from './v1alpha1/mcp-route.ts';
import { rateLimitPolicies } from './v1alpha1/rate-limit-policy.ts';
import { taskAgents } from './v1alpha1/task-agent.ts';
import { workerPools } from './v1alpha1/worker-pool.ts';

/** Kinds of `clrk.apoxy.dev`, in the order people meet them; each becomes a CRD. */
export const CLRK_KINDS: readonly Kind[] = [
  taskAgents,
  daemonAgents,
  agentSandboxRevisions,
  workerPools,
  egressGateways,
  aiProviderRoutes,
  mcpRoutes,
  egressL4Routes,
  credentialInjectionPolicies,
  rateLimitPolicies,
  egressDenyPolicies,
  loggingPolicies,
];

/** Every kind that is stored. Adding one = one file and one line. */
export const KINDS: readonly Kind[] = [...CLRK_KINDS, namespaces, secrets, configMaps, events as unknown as Kind, eventsV1, leases];
