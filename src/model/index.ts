// model: consumes nothing; produces the records and ports that stages share.
// Owns: CONTRACT 2 (Invocation, Assignment, PolicySet, Decision, exchange lines and records, desired state) and the layout.
// Wire messages (proto/control.proto) have the same shapes, so a received message is a record.
export * from './budgets.ts';
export * from './desired.ts';
export * from './dispatch.ts';
export * from './exchange.ts';
export * from './explain.ts';
export * from './identities.ts';
export * from './layout.ts';
export * from './log.ts';
export * from './policy-set.ts';
export * from './ports.ts';
export * from './price.ts';
export * from './run.ts';
