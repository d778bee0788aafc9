import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Compiled code is kept beside the packages, which halves the time a command takes to start; without a place for it, it is not kept.
enableCompileCache(join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'clrk'));
const { runCli } = await import('#cli');

// The command line. Everything else a stack consists of is started by `clrk dev`.
// Nobody reads any more (`clrk … | head`): there is nothing left to do.
process.stdout.on('error', () => process.exit());
process.exitCode = await runCli(process.argv.slice(2));
// What was written to a pipe is not in it yet.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))));
// A command that is done has nothing left to wait for but open connections of a keep-alive pool.
process.exit();
