import { join } from 'node:path';
import { ClrkError, exited, spawnChild } from '#lib';
import { APP, setup, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

/** A file of test/perf each. */
const PARTS: readonly string[] = ['change', 'gateway', 'llm', 'memory', 'trigger'];

export const benchCommand: CommandSpec = {
  path: ['bench'],
  summary: 'Measure this checkout beside the bare parts, in one run',
  details: 'Prints milliseconds and ratios against a baseline measured in the same minutes on this machine. Judges nothing.',
  args: [{ name: 'PART', help: `one part alone: ${PARTS.join(', ')}`, optional: true, complete: PARTS }],
  examples: ['clrk bench', 'clrk bench llm'],
  run: async ({ io, global, args: [part], signal }) => {
    if (part !== undefined && !PARTS.includes(part))
      throw new ClrkError('BadArgument', { what: `There is no part ${JSON.stringify(part)} of the bench.`, fix: `Parts are ${PARTS.join(', ')}.` });
    const tools = toolsDirOf(global.dir);
    await setup(tools, progress(io));
    const argv = [
      join(APP, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--config',
      'vitest.bench.config.ts',
      ...(part === undefined ? [] : [`test/perf/${part}.test.ts`]),
    ];
    const child = spawnChild(process.execPath, argv, { stdio: 'inherit', cwd: APP, env: { ...process.env, CLRK_TOOLS: tools } });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    return (await exited(child)).code ?? 1;
  },
};
