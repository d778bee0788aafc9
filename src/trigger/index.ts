// trigger: consumes HTTP requests and InvokeRequests; produces CloudEvents, Invocations in the journal and the caller's answer.
// Owns: the ingress, invocation ids, the journal of invocations, and what a caller is told about a run.
// Heavy dependencies: none.
export { admit, reviewer, type AgentDirectory, type AgentView } from './admission.ts';
export { encodeEvent } from './cloud-event.ts';
export { startIngress, type Ingress } from './ingress.ts';
export { Invoker } from './invoker.ts';
export { Journal } from './journal.ts';
export { MAX_BODY_BYTES, MAX_HELD_BYTES } from './limits.ts';
