import type { CredentialValue, McpRoute } from '#model';
import { createdAt, keyOf, no, sortedByAge, withRemarks, yes } from './attach.ts';
import { attach, type Fit, type GatewayListeners } from './attach-listeners.ts';
import { portProblem } from './compile-ai.ts';
import { compileMcpRule, mcpPlaces, mcpRemarks, notBuiltRefs } from './compile-mcp.ts';
import type { CompiledRoute, CompileInput } from './compile.ts';
import { credentialClaims, credentialOn } from './credentials.ts';
import { denialOn, type Denials } from './deny.ts';
import { TERMINATES } from './listeners.ts';

export interface CompiledMcpRoutes {
  readonly states: readonly CompiledRoute[];
  /** Those that a listener takes, and that are for some host. */
  readonly routes: readonly McpRoute[];
  readonly credentials: readonly CredentialValue[];
}

const MCP: Fit = { kind: 'MCPRoute', fits: (shape) => TERMINATES.has(shape), needs: 'an MCPRoute needs one that terminates TLS' };

/** MCPRoutes with references to the gateway, in the order they are asked. */
export const compileMcpRoutes = (
  { gateway, mcpRoutes, credentialPolicies, secret, exists }: CompileInput,
  at: GatewayListeners,
  denials: Denials,
): CompiledMcpRoutes => {
  const states: CompiledRoute[] = [];
  const claims = credentialClaims(credentialPolicies);
  const credentials = new Map<string, string>();
  const compiled = sortedByAge(mcpRoutes).flatMap((route): readonly McpRoute[] => {
    const { parents, listeners } = attach(route, at, MCP);
    if (parents.length === 0) return [];
    const rules = route.spec.rules.map((_, index) => compileMcpRule(route, index, exists));
    const { hosts, places } = mcpPlaces(route, rules);
    const { text, nothing } = mcpRemarks(route, rules, hosts);
    const problems = [...new Set(places.map(({ port }) => port))].map((port) => portProblem('Its servers are', port, at.listeners, listeners));
    const elsewhere = problems.every((problem) => problem !== undefined) ? problems[0] : undefined;
    const unbuilt = notBuiltRefs(route);
    const resolvedRefs = unbuilt.length > 0 ? no('NotBuilt', `Not built yet: ${unbuilt.join(', ')}.`) : yes('ResolvedRefs');
    states.push({
      kind: 'MCPRoute',
      key: keyOf(route),
      parents: parents.map(({ parentRef, accepted }) => ({
        parentRef,
        accepted: accepted.status === 'True' && elsewhere ? no('NoMatchingParent', elsewhere) : withRemarks(accepted, text, nothing),
        resolvedRefs,
      })),
    });
    if (listeners.length === 0 || hosts.length === 0) return [];
    const credential = credentialOn('MCPRoute', route, keyOf(gateway), claims, secret);
    if (credential?.value !== undefined) credentials.set(credential.use.credential, credential.value);
    const denied = denialOn('MCPRoute', route, denials);
    return [
      {
        route: keyOf(route),
        createdAt: createdAt(route),
        listeners,
        rules,
        ...(credential && { credential: credential.use }),
        ...(denied && { denied }),
        hosts,
        places,
      },
    ];
  });
  return { states, routes: compiled, credentials: [...credentials].map(([name, value]) => ({ name, value })) };
};
