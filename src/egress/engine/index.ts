// egress/engine: consumes requests on AI and MCP routes (ext_proc) and finished access-log lines; produces verdicts and settlements.
// Owns: reading a body strictly, the reservation of a request and its settlement. `policy` decides, the ledger counts.
// Heavy dependencies: none of its own.
export { createEngine, type Engine } from './ext-proc.ts';
export type { EngineOptions } from './judge.ts';
export { createSettler, SETTLED, type SettlerOptions } from './settler.ts';
