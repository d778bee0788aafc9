import { canonicalJson } from '#lib';
import type { EgressL4Route } from '#api';
import type { L4Match, L4Ports, L4Rule } from '#model';
import type { Exists } from './attach.ts';
import { formatCidr, parseCidr } from './cidr.ts';
import { tooWideForUdp } from './l4.ts';
import { refusalOfRule } from './references.ts';
import { isEmpty, selects, type Labels, type LabelSelector } from './selector.ts';

/** Agents of the gateway's namespace, which are those whose traffic it takes: labels of each of them by `namespace/name`. */
export type AgentLabels = ReadonlyMap<string, readonly Labels[]>;

/** Finds the agents of selectors; the same selector is looked up once. */
export const agentFinder = (agents: AgentLabels): ((selector: LabelSelector | undefined) => readonly string[] | undefined) => {
  const known = new Map<string, readonly string[]>();
  return (selector) => {
    if (!selector || isEmpty(selector)) return undefined;
    const key = canonicalJson(selector);
    let found = known.get(key);
    if (!found) {
      // Agents of two kinds can share a name, which is all that is known of who connects: then the selector must select both.
      found = [...agents]
        .filter(([, labels]) => labels.every((each) => selects(selector, each)))
        .map(([name]) => name)
        .sort();
      known.set(key, found);
    }
    return found;
  };
};

type Rule = EgressL4Route['spec']['rules'][number];
type Match = NonNullable<Rule['matches']>[number];

const portsOf = ({ port, startPort, endPort }: NonNullable<Match['ports']>[number]): L4Ports => ({ from: port ?? startPort ?? 1, to: port ?? endPort ?? 0 });

const compileMatch = (match: Match, agentsOf: ReturnType<typeof agentFinder>): L4Match => {
  const { destinationHostnames: hosts, destinationCIDRs: cidrs, ports, protocol } = match;
  const agents = agentsOf(match.sourceAgents);
  return {
    ...(hosts?.length && { hosts }),
    // What is no range stays out, and what is left matches by the others: the list is never empty by that, which would mean any address.
    ...(cidrs?.length && { cidrs: cidrs.flatMap((text) => parseCidr(text) ?? []).map(formatCidr) }),
    ...(ports?.length && { ports: ports.map(portsOf) }),
    ...(protocol && { protocol }),
    ...(agents && { agents }),
  };
};

/** Why a rule for UDP cannot be served. A match that names no protocol is fine: it is not for UDP then, unless it can be. */
const udpProblem = (index: number, matches: readonly L4Match[], udpAlone: boolean): L4Rule['refused'] => {
  for (const [m, match] of matches.entries()) {
    if (match.protocol === 'TCP' || (match.protocol === undefined && !udpAlone)) continue;
    const wide = tooWideForUdp(match);
    if (wide) return { reason: 'UnsupportedValue', message: `spec.rules[${index}].matches[${m}].${wide.field} ${wide.why}.` };
  }
  return undefined;
};

/** The rules of a route; `udpAlone` = every listener it is attached to takes UDP. */
export const compileL4Rules = (route: EgressL4Route, agentsOf: ReturnType<typeof agentFinder>, exists: Exists, udpAlone: boolean): readonly L4Rule[] =>
  route.spec.rules.map((rule, index): L4Rule => {
    const matches = (rule.matches ?? []).map((match) => compileMatch(match, agentsOf));
    const refused = refusalOfRule(route, index, exists) ?? udpProblem(index, matches, udpAlone);
    return { index, matches, ...(refused && { refused }) };
  });

/** What a user should know of a route that is accepted: rules that match nothing, agents that are not there. */
export const l4Remarks = (rules: readonly L4Rule[]): string =>
  rules
    .flatMap(({ index, matches, refused }) =>
      refused?.reason === 'UnsupportedValue'
        ? [`spec.rules[${index}] lets nothing through: ${refused.message}`]
        : matches.length === 0
          ? [`spec.rules[${index}] has no matches, so it matches nothing.`]
          : matches.flatMap(({ agents }, m) => (agents?.length === 0 ? [`spec.rules[${index}].matches[${m}].sourceAgents selects no agent.`] : [])),
    )
    .join(' ');
