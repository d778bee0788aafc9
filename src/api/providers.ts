/** Names a route may match; what is known of each provider is the registry of module `policy`. Compared without case. */
export const PROVIDERS = ['openai', 'anthropic', 'google', 'azure-openai', 'bedrock', 'custom'] as const;
export type ProviderName = (typeof PROVIDERS)[number];

export const providerName = (text: string): ProviderName | undefined => PROVIDERS.find((name) => name === text.toLowerCase());
