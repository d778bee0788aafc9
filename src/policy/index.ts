// policy: consumes kinds (api) and facts of a request; produces one PolicySet a gateway and Decisions about it.
// Owns: attachment, compilation, the decision function, canonical host names, forbidden addresses and the provider registry.
// Heavy dependencies: none. Pure: no clock, no socket, no state.
export * from './address.ts';
export * from './attach.ts';
export * from './billing.ts';
export * from './claimed.ts';
export * from './compile.ts';
export type { AgentLabels } from './compile-l4.ts';
export type { CompileProblem } from './compile-upstream.ts';
export * from './connection.ts';
export * from './credential-value.ts';
export * from './credentials.ts';
export * from './decide.ts';
export { MCP_HTTP_METHODS } from './decide-mcp.ts';
export * from './deny.ts';
export * from './explain.ts';
export type { Missed } from './explain-misses.ts';
export * from './host.ts';
export { hostMatches, isHostGlob } from './host-glob.ts';
export * from './json.ts';
export { LISTEN_METHOD, RESOURCE_METHODS, TOOL_METHOD } from './mcp-match.ts';
export { answersDenied } from './listeners.ts';
export * from './names.ts';
export { PRICES_CONFIG_MAP } from './price-overrides.ts';
export * from './price.ts';
export * from './provider-fetches.ts';
export * from './providers/index.ts';
export * from './raw-targets.ts';
export { parseQuestion, type Question } from './question.ts';
export * from './references.ts';
export * from './spent.ts';
export * from './targets.ts';
export { coversHost } from './l4.ts';
