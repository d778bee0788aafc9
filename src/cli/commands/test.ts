import { join } from 'node:path';
import { exited, spawnChild } from '#lib';
import { APP, setup, TEST_PACKAGES, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const testCommand: CommandSpec = {
  path: ['test'],
  summary: 'Run the tests of this checkout',
  details: 'Without TIER: what a change is likely to break. `all`: the long ones too. The last line is `N passed, N failed`.',
  args: [{ name: 'TIER', help: '`all` for every test', optional: true, complete: ['all'] }],
  examples: ['clrk test', 'clrk test all'],
  run: async ({ io, global, args, signal }) => {
    const tools = toolsDirOf(global.dir);
    await setup(tools, progress(io), TEST_PACKAGES);
    const child = spawnChild(process.execPath, [join(APP, 'tools', 'test.ts'), ...args], { stdio: 'inherit', env: { ...process.env, CLRK_TOOLS: tools } });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    return (await exited(child)).code ?? 1;
  },
};
