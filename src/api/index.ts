// api: consumes lib; produces the kinds (schemas, types, defaults, rules, columns) and what is said about them.
// Owns: CONTRACT 1. One file a kind; `schema.ts` has the combinators, `kinds.ts` the table, `labels.ts` the well-known names.
// Heavy dependencies: none.
export * from './conditions.ts';
export * from './coordination/v1.ts';
export * from './core/events.ts';
export * from './core/v1.ts';
export type * from './extra.ts';
export * from './kind.ts';
export * from './kinds.ts';
export * from './labels.ts';
export * from './openapi.ts';
export * from './providers.ts';
export * from './resources.ts';
export * from './roles.ts';
export * from './revisions.ts';
export type { BuiltCheck, Infer, JsonSchema, Rule, Schema } from './schema.ts';
export type { Condition, ParentRef } from './shared.ts';
export * from './run-template.ts';
export * from './v1alpha1/agent-sandbox-revision.ts';
export * from './v1alpha1/ai-provider-route.ts';
export * from './v1alpha1/credential-injection-policy.ts';
export * from './v1alpha1/daemon-agent.ts';
export * from './v1alpha1/egress-deny-policy.ts';
export * from './v1alpha1/egress-gateway.ts';
export * from './v1alpha1/egress-l4-route.ts';
export * from './v1alpha1/invocation.ts';
export * from './v1alpha1/logging-policy.ts';
export * from './v1alpha1/mcp-route.ts';
export * from './v1alpha1/rate-limit-policy.ts';
export * from './v1alpha1/task-agent.ts';
export * from './v1alpha1/worker-pool.ts';
