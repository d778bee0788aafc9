import { runCli } from '#cli';

// The command line. Everything else a stack consists of is started by `clrk dev`.
process.exitCode = await runCli(process.argv.slice(2));
// A command that is done has nothing left to wait for but open connections of a keep-alive pool.
process.exit();
