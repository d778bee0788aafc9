import { globMatch } from '#lib';
import type { AiMatch, AiRoute, AiRule, Decision, PolicySet, RequestFacts } from '#model';
import { AI_PORT, judgingAt, nameOfRoute, providerAt } from './claimed.ts';
import { credentialProblem } from './credential-value.ts';
import { decideMcp, isMcp, mcpDeniedByPolicy } from './decide-mcp.ts';
import { endpointMatches } from './endpoints.ts';
import type { RequestTarget } from './providers/index.ts';

/** The rule a decision fell on; undefined when it has none. */
export const ruleOf = (set: PolicySet, decision: Decision): { readonly route: AiRoute; readonly rule: AiRule } | undefined => {
  const route = set.aiRoutes.find((candidate) => nameOfRoute(candidate) === decision.route);
  const rule = route?.rules.find(({ index }) => index === decision.rule);
  return route && rule && { route, rule };
};

/** What a provider file recognises an operation by. */
export const targetOf = ({ method, host, path, query = '' }: RequestFacts): RequestTarget => ({ method, host, path, query });

/** How far a match got, so that a refusal can name the nearest miss. */
type Miss = 'Refused' | 'Provider' | 'Endpoint' | 'Model';
const NEARNESS: readonly Miss[] = ['Refused', 'Provider', 'Endpoint', 'Model'];

/** What of a match does not fit a request. */
export const requestMiss = ({ provider, models, endpoints, refused }: AiMatch, facts: RequestFacts): Miss | undefined => {
  if (refused !== undefined) return 'Refused';
  if (provider !== facts.provider) return 'Provider';
  if (endpoints?.length && !endpoints.some((endpoint) => endpointMatches(endpoint, facts))) return 'Endpoint';
  if (models?.length && !(facts.model !== undefined && models.some((glob) => globMatch(glob, facts.model!)))) return 'Model';
  return undefined;
};

const deny = (set: PolicySet, reason: string, message: string, route?: AiRoute, rule = -1, status = 403): Decision => ({
  verdict: 'Denied',
  reason,
  message,
  status,
  route: route ? nameOfRoute(route) : '',
  rule,
  policies: policiesOf(route),
  revision: set.revision,
});

const policiesOf = (route?: AiRoute): readonly string[] => [
  ...(route?.denied ? [`EgressDenyPolicy/${route.denied.policy}`] : []),
  ...(route?.credential ? [`CredentialInjectionPolicy/${route.credential.policy}`] : []),
];

/** The first rule of a route that a request matches. */
const ruleFor = (route: AiRoute, facts: RequestFacts): AiRule | undefined =>
  route.rules.find(({ matches }) => matches.some((match) => requestMiss(match, facts) === undefined));

/** Refusal by an EgressDenyPolicy: one that covers the request decides, whatever other routes would allow. */
const deniedByPolicy = (set: PolicySet, routes: readonly AiRoute[], facts: RequestFacts): Decision | undefined => {
  for (const route of routes) {
    const rule = route.denied && ruleFor(route, facts);
    if (!rule) continue;
    const { policy, status, message } = route.denied!;
    return deny(set, 'DeniedByPolicy', message || `EgressDenyPolicy ${policy} denies what ${nameOfRoute(route)} allows.`, route, rule.index, status);
  }
  return undefined;
};

/** Whether somebody understands calls of this kind. */
const isRead = (set: PolicySet, facts: RequestFacts): boolean => providerAt(set, facts.host)?.operation(targetOf(facts)) !== undefined;

const notMetered = (set: PolicySet, route: AiRoute, { method, path }: RequestFacts, rule?: number): Decision =>
  deny(set, 'EndpointNotBuilt', `${nameOfRoute(route)} is about ${method} ${path}, but calls to it cannot be metered yet.`, route, rule);

/** The rule that matched lets the request through, unless it or what it needs is incomplete. */
const applyRule = (set: PolicySet, route: AiRoute, rule: AiRule, facts: RequestFacts): Decision => {
  const name = nameOfRoute(route);
  const refuse = (reason: string, message: string, status = 403): Decision => deny(set, reason, message, route, rule.index, status);
  if (rule.notBuilt.length > 0) return refuse('NotBuilt', `Rule ${rule.index} of ${name} uses what is not built yet: ${rule.notBuilt.join(', ')}.`);
  if (!isRead(set, facts)) return notMetered(set, route, facts, rule.index);
  const missing = route.credential && credentialProblem(route.credential, facts.host);
  if (missing) {
    const { policy } = route.credential!;
    return refuse(missing, `${name} needs a credential that cannot be injected (${missing}); see CredentialInjectionPolicy ${policy}.`, 503);
  }
  const unpriced = set.prices?.[route.route.namespace]?.problem;
  if (unpriced && rule.budgets.some(({ unit }) => unit === 'microdollars'))
    return refuse('InvalidPrices', `${name} caps money, and the prices of its namespace cannot be used: ${unpriced}`, 503);
  return {
    verdict: 'Allowed',
    reason: 'Allowed',
    message: `Rule ${rule.index} of ${name} allows it.`,
    status: 200,
    route: name,
    rule: rule.index,
    policies: policiesOf(route),
    revision: set.revision,
  };
};

const decideAi = (set: PolicySet, routes: readonly AiRoute[], facts: RequestFacts): Decision => {
  let nearest: { miss: Miss; route: AiRoute } = { miss: 'Refused', route: routes[0]! };
  for (const route of routes) {
    for (const rule of route.rules) {
      for (const match of rule.matches) {
        const miss = requestMiss(match, facts);
        if (miss === undefined) return applyRule(set, route, rule, facts);
        if (NEARNESS.indexOf(miss) > NEARNESS.indexOf(nearest.miss)) nearest = { miss, route };
      }
    }
  }
  const { miss, route } = nearest;
  // Of a call that nobody reads the model is not known: that it is not read is the reason.
  if (miss === 'Model' && facts.model === undefined && !isRead(set, facts)) return notMetered(set, route, facts);
  if (miss === 'Model') return deny(set, 'ModelNotAllowed', `${nameOfRoute(route)} does not allow model ${JSON.stringify(facts.model ?? '')}.`, route);
  return deny(set, 'EndpointNotAllowed', `${nameOfRoute(route)} does not allow ${facts.method} ${facts.path}.`, route);
};

/**
 * Judges one request, or one message of it to an MCP server. Routes that claim its host are asked in order, and the first rule that
 * matches decides; no rule means no. A fact that is unknown matches nothing that asks for it. The same function serves the engine, tests
 * and explanations.
 */
export const decide = (set: PolicySet, facts: RequestFacts): Decision => {
  const judging = judgingAt(set, facts.host, facts.port);
  if (!judging) return deny(set, 'NoRoute', `No route of gateway ${set.gateway.namespace}/${set.gateway.name} admits ${facts.host}:${facts.port}.`);
  const { mcpRoutes, aiRoutes } = judging;
  const denied = mcpDeniedByPolicy(set, mcpRoutes, facts) ?? deniedByPolicy(set, aiRoutes, facts);
  if (denied) return denied;
  return aiRoutes.length === 0 || isMcp(mcpRoutes, facts) ? decideMcp(set, mcpRoutes, facts) : decideAi(set, aiRoutes, facts);
};

/**
 * Whether a request is one to an MCP server, so that each message in it is judged. `elsewhere` = it is not, and at a host at which there is
 * nothing else: it can only be refused.
 */
export const mcpAt = (set: PolicySet, facts: RequestFacts): 'server' | 'elsewhere' | undefined => {
  const judging = judgingAt(set, facts.host, facts.port);
  if (!judging || judging.mcpRoutes.length === 0) return undefined;
  if (isMcp(judging.mcpRoutes, facts)) return 'server';
  return judging.aiRoutes.length === 0 ? 'elsewhere' : undefined;
};

/** What Envoy is told to serve a request by: the route, and the port where it is not the usual one. */
export const servedBy = (route: string, port: number): string => (port === AI_PORT ? route : `${route}:${port}`);
