import { join } from 'node:path';
import { exited, spawnChild } from '#lib';
import { APP, setup, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const benchCommand: CommandSpec = {
  path: ['bench'],
  summary: 'Measure this checkout beside the bare parts, in one run',
  details: 'Prints milliseconds and ratios against a baseline measured in the same minutes on this machine. Judges nothing.',
  examples: ['clrk bench'],
  run: async ({ io, global, signal }) => {
    const tools = toolsDirOf(global.dir);
    await setup(tools, progress(io));
    const argv = [join(APP, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', 'vitest.bench.config.ts'];
    const child = spawnChild(process.execPath, argv, { stdio: 'inherit', cwd: APP, env: { ...process.env, CLRK_TOOLS: tools } });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    return (await exited(child)).code ?? 1;
  },
};
