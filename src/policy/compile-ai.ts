import { providerName } from '#api';
import type { AIProviderRoute } from '#api';
import type { AiMatch, AiRule, ObjectKey, PolicyListener } from '#model';
import { keyOf } from './attach.ts';
import { compileBudgets, idleBudgets } from './compile-budgets.ts';
import { parseEndpoint } from './endpoints.ts';
import { hostMatches } from './host-glob.ts';
import { takersOf } from './listeners.ts';
import { providerNamed, providerOfHost } from './providers/index.ts';

type Match = NonNullable<AIProviderRoute['spec']['rules'][number]['matches']>[number];

/** A name that a pattern of hosts covers. */
const exampleOf = (glob: string): string => glob.replaceAll('*', 'x');

/** What is wrong with an endpoint, as a sentence that begins with it. */
const endpointProblem = (provider: string, text: string): string | undefined => {
  const { host } = parseEndpoint(text);
  if (provider === 'custom') {
    if (host === undefined) return `${JSON.stringify(text)} names no host: endpoints of provider custom are HOST/PATH, like "llm.example.com/v1/*".`;
    const known = providerOfHost(exampleOf(host));
    return known && `${JSON.stringify(text)} is at a host of provider ${known.name}; name that provider.`;
  }
  const hosts = providerNamed(provider)?.hosts ?? [];
  if (host === undefined || hosts.some((glob) => hostMatches(glob, exampleOf(host)))) return undefined;
  return `${JSON.stringify(text)} is at no host of provider ${provider}, which has ${hosts.join(', ')}; use provider custom for other hosts.`;
};

/** Why a match can match nothing; undefined when it can. */
const matchProblem = (provider: string, endpoints: readonly string[], path: string): string | undefined => {
  if (provider === 'custom' && endpoints.length === 0) return `${path}.endpoints is missing: provider custom is reached at the hosts its endpoints name.`;
  for (const [e, text] of endpoints.entries()) {
    const problem = endpointProblem(provider, text);
    if (problem) return `${path}.endpoints[${e}] ${problem}`;
  }
  return undefined;
};

const compileMatch = ({ provider: name, models, endpoints = [] }: Match, path: string): AiMatch => {
  const provider = providerName(name) ?? name.toLowerCase();
  const refused = matchProblem(provider, endpoints, path);
  return { provider, ...(models?.length && { models }), ...(endpoints.length > 0 && { endpoints }), ...(refused !== undefined && { refused }) };
};

export const compileAiRule = (route: AIProviderRoute, index: number, gateway: ObjectKey, notBuilt: readonly string[]): AiRule => {
  const rule = route.spec.rules[index]!;
  return {
    index,
    matches: (rule.matches ?? []).map((match, m) => compileMatch(match, `spec.rules[${index}].matches[${m}]`)),
    ...compileBudgets(keyOf(route), index, gateway, rule),
    ...(rule.providerFetches?.length && { fetches: rule.providerFetches }),
    notBuilt: notBuilt.filter((path) => path.startsWith(`spec.rules[${index}].`) && !path.includes('.matches[')),
  };
};

/** Hosts of a match: those its endpoints name when all of them name one, else those of its provider. */
const hostsOfMatch = ({ provider, endpoints = [], refused }: AiMatch): readonly string[] => {
  if (refused !== undefined) return [];
  const named = endpoints.map((text) => parseEndpoint(text).host);
  return named.length > 0 && named.every((host) => host !== undefined) ? named : (providerNamed(provider)?.hosts ?? []);
};

/** Names and patterns of hosts that the rules of a route are about. */
export const hostsOf = (rules: readonly AiRule[]): readonly string[] => [...new Set(rules.flatMap(({ matches }) => matches.flatMap(hostsOfMatch)))];

/** What a user should know of a route: rules and matches that match nothing, budgets that limit nothing. */
export const aiRemarks = (route: AIProviderRoute, rules: readonly AiRule[]): { readonly text: string; readonly nothing: boolean } => {
  const matches = rules.flatMap((rule) => rule.matches);
  const empty = rules.flatMap((rule) => (rule.matches.length === 0 ? `spec.rules[${rule.index}] has no matches, so it matches nothing.` : []));
  return {
    text: [...matches.flatMap(({ refused }) => refused ?? []), ...empty, ...idleBudgets(route)].join(' '),
    nothing: matches.length > 0 && matches.every(({ refused }) => refused !== undefined),
  };
};

/**
 * Why no request to a port comes to the listeners a route is attached to; undefined when one can. Its hosts are for it alone all the same.
 * `who` is reached there.
 */
export const portProblem = (who: string, port: number, listeners: readonly PolicyListener[], attached: readonly string[]): string | undefined => {
  const takers = takersOf(listeners, 'TCP', port).map(({ name }) => name);
  if (attached.length === 0 || takers.some((name) => attached.includes(name))) return undefined;
  const taken = takers.length > 0 ? `listener ${takers.join(', ')} alone takes that port` : 'no listener of the gateway takes that port';
  return `${who} reached on port ${port}, and ${taken}, so nothing comes to listener ${attached.join(', ')} that the route is attached to.`;
};
