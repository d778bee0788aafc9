/**
 * The policies cases are tried under, in words; every target says them in its own language (`clrk/manifests.ts` in ours). One
 * sandboxed program runs under each. Names resolve by the canary's DNS, but for the provider's, which is at the fixture.
 */
export const VARIANTS = {
  ai: 'POST api.openai.com/v1/chat/completions of models gpt-4.1* with the credential added; TLS is terminated; nothing else.',
  nothing: 'No way out at all.',
  two: 'Like ai, but gpt-4.1* goes out with one credential and gpt-4o* with another.',
  denied: 'Like ai, and then denied as a whole by an explicit policy.',
  budget: 'Like ai, each model of its own under a budget of 400 tokens a day, in a rule of its own.',
  expired: 'Like ai, but the certificate of the upstream has expired.',
  'wrong-name': 'Like ai, but the certificate of the upstream is for another name.',
  'unknown-ca': 'Like ai, but nobody knows who signed the certificate of the upstream.',
  weak: 'Like ai, but the certificate of the upstream is RSA-1024 with SHA-1.',
  mcp: 'An MCP server at mcp.test, tool `search` alone; TLS is terminated.',
  web: 'Like ai; only what comes in through the ingress starts it.',
} as const;

export type VariantName = keyof typeof VARIANTS;
