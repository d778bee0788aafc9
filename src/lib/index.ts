// lib: consumes nothing of ours; produces domain-free building blocks.
// Owns: errors, logging, clocks, child processes, queues, retries, durations, quantities, globs, ids, atomic files.
// Heavy dependencies owned here: pino, node:sqlite, @bufbuild/re2, croner.
export * from './cidr.ts';
export * from './clock.ts';
export * from './cron.ts';
export * from './duration.ts';
export * from './errors.ts';
export * from './files.ts';
export * from './fingerprint.ts';
export * from './glob.ts';
export * from './ids.ts';
export * from './keyed-queue.ts';
export * from './latest.ts';
export * from './lifecycle.ts';
export * from './log.ts';
export * from './money.ts';
export * from './process.ts';
export * from './commands.ts';
export * from './quantity.ts';
export * from './record-file.ts';
export * from './regex.ts';
export * from './retry.ts';
export * from './similar.ts';
export * from './sqlite.ts';
export * from './tail.ts';
