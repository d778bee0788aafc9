import { mcpRoutes, notBuiltFields, type MCPRoute } from '#api';
import type { McpMatch, McpPlace, McpRule, NamePatterns, ToolPolicy } from '#model';
import type { Exists } from './attach.ts';
import { AI_PORT } from './claimed.ts';
import { commonHost, parseMcpServer, type McpServer } from './mcp-server.ts';
import { refusalOfRule } from './references.ts';

/** Rules of an MCPRoute as they are judged. */

type Rule = MCPRoute['spec']['rules'][number];
type Match = NonNullable<Rule['matches']>[number];
type ToolPolicySpec = NonNullable<NonNullable<Rule['filters']>[number]['toolPolicy']>;

const namesOf = (globs: readonly string[] = [], regexes: readonly string[] = []): NamePatterns | undefined =>
  globs.length + regexes.length > 0 ? { ...(globs.length > 0 && { globs }), ...(regexes.length > 0 && { regexes }) } : undefined;

/** Why nothing is at a server of a match, as a sentence that begins with its field; undefined when something can be. */
const serverProblem = (text: string, server: McpServer | undefined, hostnames: readonly string[], path: string): string | undefined => {
  const quoted = `${path} ${JSON.stringify(text)}`;
  if (!server) return `${quoted} is no URL pattern https://HOST[:PORT]/PATH, with a host name in which * stays inside a label.`;
  if (hostnames.length === 0 || hostnames.some((host) => commonHost(host, server.host) !== undefined)) return undefined;
  return `${quoted} is at no host of spec.hostnames (${hostnames.join(', ')}).`;
};

const serverProblems = ({ servers = [] }: Match, hostnames: readonly string[], path: string): readonly string[] =>
  servers.flatMap((text, s) => serverProblem(text, parseMcpServer(text), hostnames, `${path}.servers[${s}]`) ?? []);

const compileMatch = (match: Match, route: MCPRoute, path: string): McpMatch => {
  const { servers = [], methods = [], tools, toolsRegex, resources = [] } = match;
  const { hostnames = [] } = route.spec;
  const named = namesOf(tools, toolsRegex);
  const problems = serverProblems(match, hostnames, path);
  const nowhere = servers.length > 0 && problems.length === servers.length;
  return {
    ...(servers.length > 0 && { servers }),
    ...(methods.length > 0 && { methods }),
    ...(named && { tools: named }),
    ...(resources.length > 0 && { resources }),
    ...(nowhere && { refused: problems.join(' ') }),
  };
};

const compileToolPolicy = (policy: ToolPolicySpec, path: string): ToolPolicy => {
  const { requireConfirmation = [], rateLimits = [], maxCallsPerExecution } = policy;
  const allowed = namesOf(policy.allowedTools, policy.allowedToolsRegex);
  const denied = namesOf(policy.deniedTools, policy.deniedToolsRegex);
  const waiting = namesOf(requireConfirmation);
  const notBuilt = [
    ...(waiting ? [{ field: `${path}.requireConfirmation`, tools: waiting }] : []),
    ...(maxCallsPerExecution === undefined ? [] : [{ field: `${path}.maxCallsPerExecution` }]),
    ...rateLimits.map(({ tools, toolsRegex }, l) => {
      const counted = namesOf(tools, toolsRegex);
      return { field: `${path}.rateLimits[${l}]`, ...(counted && { tools: counted }) };
    }),
  ];
  return { ...(allowed && { allowed }), ...(denied && { denied }), ...(notBuilt.length > 0 && { notBuilt }) };
};

export const compileMcpRule = (route: MCPRoute, index: number, exists: Exists): McpRule => {
  const { matches = [], filters = [] } = route.spec.rules[index]!;
  const path = `spec.rules[${index}]`;
  const refused = refusalOfRule(route, index, exists);
  return {
    index,
    matches: matches.map((match, m) => compileMatch(match, route, `${path}.matches[${m}]`)),
    toolPolicies: filters.flatMap(({ type, toolPolicy }, f) =>
      type === 'ToolPolicy' && toolPolicy ? [compileToolPolicy(toolPolicy, `${path}.filters[${f}].toolPolicy`)] : [],
    ),
    ...(refused && { refused }),
  };
};

/** Where the servers of a route are: at its hosts, and there where its matches say. */
export const mcpPlaces = (
  { spec: { hostnames = [] } }: MCPRoute,
  rules: readonly McpRule[],
): { readonly hosts: readonly string[]; readonly places: readonly McpPlace[] } => {
  const servers = (match: McpMatch): readonly McpServer[] => (match.servers ?? []).flatMap((text) => parseMcpServer(text) ?? []);
  const matches = rules.flatMap((rule) => rule.matches);
  const named = matches.flatMap(servers);
  const hosts = [...new Set(hostnames.length > 0 ? hostnames : named.map(({ host }) => host))].sort();
  const places = matches.flatMap((match): readonly McpPlace[] => {
    if (!match.servers) return hosts.map((host) => ({ host, port: AI_PORT }));
    return servers(match).flatMap(({ host, port }) => hosts.flatMap((own) => commonHost(own, host) ?? []).map((common) => ({ host: common, port })));
  });
  const distinct = new Map(places.map((place) => [`${place.host}:${place.port}`, place]));
  return { hosts, places: [...distinct.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, place]) => place) };
};

const sentence = (fields: readonly string[]): string =>
  fields.length === 0 ? '' : `Calls that are about ${fields.join(', ')} are refused: ${fields.length > 1 ? 'they are' : 'it is'} not built yet.`;

/** What a user should know of a route: what of it matches nothing or is refused; `nothing` = no request can be let through. */
export const mcpRemarks = (route: MCPRoute, rules: readonly McpRule[], hosts: readonly string[]): { readonly text: string; readonly nothing: boolean } => {
  const matches = rules.flatMap((rule) => rule.matches);
  const { hostnames = [] } = route.spec;
  const problems = route.spec.rules.flatMap(({ matches: own = [] }, r) =>
    own.flatMap((match, m) => serverProblems(match, hostnames, `spec.rules[${r}].matches[${m}]`)),
  );
  if (hosts.length === 0) {
    const fix = 'name its hosts in spec.hostnames, or give URLs in spec.rules[].matches[].servers.';
    return { text: [`It claims no host, so nothing gets through: ${fix}`, ...problems].join(' '), nothing: true };
  }
  const unused = rules.flatMap(({ index, matches: own }) => (own.length === 0 ? [`spec.rules[${index}] has no matches, so it matches nothing.`] : []));
  const notBuilt = rules.flatMap(({ toolPolicies }) => toolPolicies.flatMap((policy) => (policy.notBuilt ?? []).map(({ field }) => field)));
  return {
    text: [...problems, ...unused, sentence(notBuilt)].filter(Boolean).join(' '),
    nothing: matches.every(({ refused }) => refused !== undefined),
  };
};

/** References of rules that are not built yet, as paths. What tool policies have of that is refused call by call. */
export const notBuiltRefs = (route: MCPRoute): readonly string[] => notBuiltFields(mcpRoutes, route).filter((path) => !path.includes('.toolPolicy.'));
