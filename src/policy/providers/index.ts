import { openai } from './openai.ts';
import type { Provider, UsageRule } from './provider.ts';

export type * from './provider.ts';

/** What is known of LLM providers. Adding one = one file and one line, and its name in `api/providers`. */
export const REGISTRY: readonly Provider[] = [openai];

const byName = new Map<string, Provider>(REGISTRY.map((provider) => [provider.name, provider]));
const byHost = new Map<string, Provider>(REGISTRY.flatMap((provider) => provider.hosts.map((host) => [host, provider] as const)));

/** By canonical provider name. */
export const providerNamed = (name: string): Provider | undefined => byName.get(name);

/** By canonical host. */
export const providerOfHost = (host: string): Provider | undefined => byHost.get(host);

/** Where usage is found in answers, over all providers: one list for Envoy's JSON and SSE extraction. */
export const usageRules = (): readonly UsageRule[] => REGISTRY.flatMap(({ usage }) => usage);
