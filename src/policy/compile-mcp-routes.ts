import type { CredentialValue, McpRoute } from '#model';
import { no, sortedByAge, yes } from './attach.ts';
import { attach, type Fit, type GatewayListeners } from './attach-listeners.ts';
import { portProblem } from './compile-ai.ts';
import { compileMcpRule, mcpPlaces, mcpRemarks, notBuiltRefs } from './compile-mcp.ts';
import type { CompiledRoute, CompileInput } from './compile.ts';
import type { Denials } from './deny.ts';
import { judgingBasis, judgingState } from './judging-route.ts';
import { TERMINATES } from './listeners.ts';

export interface CompiledMcpRoutes {
  readonly states: readonly CompiledRoute[];
  /** Those that a listener takes, and that are for some host. */
  readonly routes: readonly McpRoute[];
  readonly credentials: readonly CredentialValue[];
}

const MCP: Fit = { kind: 'MCPRoute', fits: (shape) => TERMINATES.has(shape), needs: 'an MCPRoute needs one that terminates TLS' };

/** MCPRoutes with references to the gateway, in the order they are asked. */
export const compileMcpRoutes = (input: CompileInput, at: GatewayListeners, denials: Denials): CompiledMcpRoutes => {
  const states: CompiledRoute[] = [];
  const { basisOf, credentials } = judgingBasis('MCPRoute', input, denials);
  const routes = sortedByAge(input.mcpRoutes).flatMap((route): readonly McpRoute[] => {
    const attachment = attach(route, at, MCP);
    const { parents, listeners } = attachment;
    if (parents.length === 0) return [];
    const rules = route.spec.rules.map((_, index) => compileMcpRule(route, index, input.exists));
    const { hosts, places } = mcpPlaces(route, rules);
    const problems = [...new Set(places.map(({ port }) => port))].map((port) => portProblem('Its servers are', port, at.listeners, listeners));
    const elsewhere = problems.every((problem) => problem !== undefined) ? problems[0] : undefined;
    const unbuilt = notBuiltRefs(route);
    const resolvedRefs = unbuilt.length > 0 ? no('NotBuilt', `Not built yet: ${unbuilt.join(', ')}.`) : yes('ResolvedRefs');
    states.push(judgingState('MCPRoute', route, attachment, { resolvedRefs, elsewhere, remarks: mcpRemarks(route, rules, hosts) }));
    return listeners.length === 0 || hosts.length === 0 ? [] : [{ ...basisOf(route, attachment), rules, hosts, places }];
  });
  return { states, routes, credentials: credentials() };
};
