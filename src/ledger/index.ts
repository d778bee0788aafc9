// ledger: consumes reservations and settlements by id; produces grants that never let a counter pass its cap.
// Owns: every counter that outlives a process (budgets of tokens and money, by UTC day and by run), in tables of its own.
// Heavy dependencies: node:sqlite, through lib.
export * from './ledger.ts';
