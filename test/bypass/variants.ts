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
  mcp: 'An MCP server at https://mcp.test/mcp with the credential added: tool `search`, the list of tools, and resources `notes://*` alone; TLS is terminated.',
  web: 'Like ai; only what comes in through the ingress starts it.',
  tcp: 'Raw TCP to 203.0.113.10 on ports 7, 25 and 8440 to 8445, and to the name allowed.test on ports 7 and 25.',
  names:
    'HTTPS on port 443 and HTTP on port 80 to allowed.test, second.test and every name of the canary zone but denied.test, other.test and mcp.test; TLS is terminated.',
  passthrough: 'TLS on port 443 that is not terminated, to allowed.test, second.test and the address 203.0.113.11.',
  wild: 'HTTPS to *.wild.test, one label; TLS is terminated.',
  ranges:
    'Raw TCP on any port to 10.99.0.0/24, 169.254.0.0/16, 127.0.0.0/8, 100.64.0.0/10 and 10.213.0.0/30; HTTPS to private.test and allowed.test where they resolve into 10.99.0.0/24; HTTP to 169.254.0.0/16.',
  udp: 'Datagrams to port 7 of 203.0.113.10 and of allowed.test.',
  claims: 'Like ai, an MCP server at mcp.test, and beside it TLS on port 443, HTTP on port 80 and raw TCP on every other port to any name.',
  all: 'Everything is allowed that no rule is about; api.openai.com as in ai, an MCP server at mcp.test, and denied.test denied.',
  agents: 'HTTPS to allowed.test for programs with the label app=friend, which this one does not have.',
  friend: 'The same policy for a program that has the label.',
  'denied-names':
    'HTTPS to allowed.test by two routes, the younger of which is denied; HTTPS to second.test by a route that applies a policy which does not exist.',
} as const;

export type VariantName = keyof typeof VARIANTS;
