// cli: consumes command lines; produces calls of the API, running stacks and text for people and programs.
// Owns: the command table (one file a command), output forms, exit codes.
// Heavy dependencies owned here: commander, yaml (documents with their line numbers).
export { createProgram, runCli } from './program.ts';
