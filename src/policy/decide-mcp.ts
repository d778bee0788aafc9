import type { Decision, McpFacts, McpRoute, McpRule, PolicySet, RequestFacts, ToolPolicy } from '#model';
import { nameOfRoute } from './claimed.ts';
import { credentialProblem } from './credential-value.ts';
import { isHandshake, isNamed, mcpFactsOf, mcpMiss, serverMiss, TOOL_METHOD, type McpMiss } from './mcp-match.ts';

/** Judges messages to MCP servers, one by one. */

/** Ways a message comes to a server (streamable HTTP): it is sent, a stream of the server's is opened, a session is ended. */
export const MCP_HTTP_METHODS: readonly string[] = ['POST', 'GET', 'DELETE'];

const policiesOf = ({ denied, credential }: McpRoute): readonly string[] => [
  ...(denied ? [`EgressDenyPolicy/${denied.policy}`] : []),
  ...(credential ? [`CredentialInjectionPolicy/${credential.policy}`] : []),
];

interface Matched {
  readonly route: McpRoute;
  readonly rule: McpRule;
}

const matchedBy = (routes: readonly McpRoute[], facts: RequestFacts): readonly Matched[] =>
  routes.flatMap((route) => route.rules.filter(({ matches }) => matches.some((match) => mcpMiss(match, facts) === undefined)).map((rule) => ({ route, rule })));

/** Whether some route has a server at the URL of a request: then it is one of MCP, and no route of another kind is asked. */
export const isMcp = (routes: readonly McpRoute[], facts: RequestFacts): boolean =>
  routes.some(({ rules }) => rules.some(({ matches }) => matches.some((match) => serverMiss(match, facts) === undefined)));

const deny = (set: PolicySet, reason: string, message: string, at: Partial<Matched> = {}, status = 403): Decision => ({
  verdict: 'Denied',
  reason,
  message,
  status,
  route: at.route ? nameOfRoute(at.route) : '',
  rule: at.rule?.index ?? -1,
  policies: at.route ? policiesOf(at.route) : [],
  revision: set.revision,
});

/** Refusal by an EgressDenyPolicy: one that covers the request decides, whatever other routes would allow. */
export const mcpDeniedByPolicy = (set: PolicySet, routes: readonly McpRoute[], facts: RequestFacts): Decision | undefined => {
  const [at] = matchedBy(
    routes.filter(({ denied }) => denied),
    facts,
  );
  if (!at) return undefined;
  const { policy, status, message } = at.route.denied!;
  return deny(set, 'DeniedByPolicy', message || `EgressDenyPolicy ${policy} denies what ${nameOfRoute(at.route)} allows.`, at, status);
};

/** Why a ToolPolicy does not let a tool be called; undefined when it does. */
const toolProblem = ({ allowed, denied, notBuilt = [] }: ToolPolicy, tool: string): { readonly reason: string; readonly why: string } | undefined => {
  if (allowed && !isNamed(allowed, tool)) return { reason: 'ToolNotAllowed', why: 'is not among its allowedTools' };
  if (denied && isNamed(denied, tool, true)) return { reason: 'ToolNotAllowed', why: 'is among its deniedTools' };
  const field = notBuilt.find(({ tools }) => !tools || isNamed(tools, tool, true))?.field;
  return field === undefined ? undefined : { reason: 'NotBuilt', why: `is for what is not built yet: ${field}` };
};

const apply = (set: PolicySet, at: Matched, facts: McpFacts, host: string): Decision => {
  const { route, rule } = at;
  const name = nameOfRoute(route);
  const where = `Rule ${rule.index} of ${name}`;
  if (rule.refused) return deny(set, rule.refused.reason, `${where} lets nothing through: ${rule.refused.message}`, at);
  if (facts.method === TOOL_METHOD) {
    for (const policy of rule.toolPolicies) {
      const problem = toolProblem(policy, facts.tool ?? '');
      if (problem) return deny(set, problem.reason, `${where} does not let tool ${JSON.stringify(facts.tool ?? '')} be called: it ${problem.why}.`, at);
    }
  }
  const missing = route.credential && credentialProblem(route.credential, host);
  if (missing) {
    const message = `${name} needs a credential that cannot be injected (${missing}); see CredentialInjectionPolicy ${route.credential!.policy}.`;
    return deny(set, missing, message, at, 503);
  }
  return { ...deny(set, 'Allowed', `${where} allows it.`, at, 200), verdict: 'Allowed' };
};

const NEARNESS: readonly McpMiss[] = ['Refused', 'Server', 'Method', 'Resource', 'Tool'];

const notMatched = (set: PolicySet, routes: readonly McpRoute[], facts: RequestFacts): Decision => {
  let nearest: { readonly miss: McpMiss; readonly route: McpRoute } = { miss: 'Refused', route: routes[0]! };
  for (const route of routes) {
    for (const match of route.rules.flatMap(({ matches }) => matches)) {
      const miss = mcpMiss(match, facts);
      if (miss && NEARNESS.indexOf(miss) > NEARNESS.indexOf(nearest.miss)) nearest = { miss, route };
    }
  }
  const { miss, route } = nearest;
  const { method = '', tool = '', resource = '' } = mcpFactsOf(facts);
  const name = nameOfRoute(route);
  if (miss === 'Tool') return deny(set, 'ToolNotAllowed', `No rule of ${name} allows tool ${JSON.stringify(tool)}.`, { route });
  if (miss === 'Resource') return deny(set, 'ResourceNotAllowed', `No rule of ${name} allows resource ${JSON.stringify(resource.slice(0, 500))}.`, { route });
  if (miss === 'Method') return deny(set, 'McpMethodNotAllowed', `No rule of ${name} allows the method ${JSON.stringify(method.slice(0, 200))}.`, { route });
  return deny(set, 'EndpointNotAllowed', `${name} names no server at ${facts.host}:${facts.port}${facts.path}.`, { route });
};

/**
 * Judges one message by routes that claim its host, in order: the first rule with a match decides. What only keeps a session is not refused
 * because of a rule that lets nothing through when there is another one: it asks for nothing that rules tell apart.
 */
export const decideMcp = (set: PolicySet, routes: readonly McpRoute[], facts: RequestFacts): Decision => {
  if (!isMcp(routes, facts)) return notMatched(set, routes, facts);
  if (!MCP_HTTP_METHODS.includes(facts.method))
    return deny(
      set,
      'MethodNotAllowed',
      `${facts.method} is not a method of MCP over HTTP, which has ${MCP_HTTP_METHODS.join(', ')}.`,
      { route: routes[0]! },
      405,
    );
  const matched = matchedBy(routes, facts);
  if (matched.length === 0 && facts.method !== 'POST') {
    const message = `${nameOfRoute(routes[0]!)} lets ${facts.method} through only to paths that spec.rules[].matches[].servers names, not to every path of a host.`;
    return deny(set, 'MethodNotAllowed', message, { route: routes[0]! }, 405);
  }
  const mcp = mcpFactsOf(facts);
  const at = (isHandshake(mcp) ? matched.find(({ rule }) => !rule.refused) : undefined) ?? matched[0];
  return at ? apply(set, at, mcp, facts.host) : notMatched(set, routes, facts);
};
