import type { AiRule, PolicySet } from '#model';
import { AI_PORT } from './claimed.ts';
import { decideConnection } from './connection.ts';
import { canonicalHost } from './host.ts';
import { coversHost } from './l4.ts';

/** What an LLM provider would fetch for an agent leaves by the provider: no gateway sees it, so it is judged by the request that asks for it. */

/** Any host, and in a rule also what the provider runs: searches, code, connectors. */
export const ANY_FETCH = '*';

/** Whether the agent may get to a name itself by this gateway, as a web server is reached. */
const reaches = (set: PolicySet, agent: string, host: string): boolean =>
  decideConnection(set, { agent, transport: 'TCP', host, port: AI_PORT, speaks: 'tls', sni: host }).verdict === 'Allowed' ||
  decideConnection(set, { agent, transport: 'TCP', host, port: 80, speaks: 'plain' }).verdict === 'Allowed';

/**
 * The first host the provider may not fetch from: the rule does not name it, and the agent cannot get there itself. An address, and
 * what no host is known of, goes only where the rule says so.
 */
export const refusedFetch = (set: PolicySet, { fetches = [] }: AiRule, agent: string, asked: readonly string[]): string | undefined => {
  if (fetches.includes(ANY_FETCH)) return undefined;
  return [...new Set(asked)].find((text) => {
    const host = canonicalHost(text);
    return host === undefined || !(coversHost(fetches, host) || reaches(set, agent, host));
  });
};
