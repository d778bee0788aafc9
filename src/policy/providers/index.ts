import { hostMatches } from '../host-glob.ts';
import { anthropic } from './anthropic.ts';
import { azureOpenai } from './azure-openai.ts';
import { bedrock } from './bedrock.ts';
import { custom } from './custom.ts';
import { google } from './google.ts';
import { openai } from './openai.ts';
import type { Provider, UsageRule } from './provider.ts';

export type * from './provider.ts';

/** What is known of LLM providers. Adding one = one file and one line, and its name in `api/providers`. */
export const REGISTRY: readonly Provider[] = [openai, anthropic, google, azureOpenai, bedrock, custom];

/** What understands requests to hosts that only routes name. */
export const CUSTOM: Provider = custom;

const byName = new Map<string, Provider>(REGISTRY.map((provider) => [provider.name, provider]));

/** By canonical provider name. */
export const providerNamed = (name: string): Provider | undefined => byName.get(name);

/** The provider that has a canonical host, whatever policy says. */
export const providerOfHost = (host: string): Provider | undefined => REGISTRY.find(({ hosts }) => hosts.some((glob) => hostMatches(glob, host)));

/** Where usage is found in answers, over all providers: one list for Envoy's extraction. */
export const usageRules = (): readonly UsageRule[] => [
  ...new Map(REGISTRY.flatMap(({ usage }) => usage).map((rule) => [JSON.stringify([rule.selectors, rule.key]), rule])).values(),
];
