import { join } from 'node:path';
import { exited, spawnChild } from '#lib';
import { APP, setup, TEST_PACKAGES, toolsDirOf } from '#supervisor';
import type { CommandSpec } from '../command.ts';
import { progress } from '../output.ts';

export const testCommand: CommandSpec = {
  path: ['test'],
  summary: 'Run the tests of this checkout',
  details:
    'Without TIER: what a change is likely to break. `all`: the long ones too. `bypass`: the egress-bypass suite with its scoreboard, alone. The last line is `N passed, N failed`.',
  args: [{ name: 'TIER', help: '`all` for every test, `bypass` for the egress-bypass suite', optional: true, complete: ['all', 'bypass'] }],
  flags: [
    { name: 'json', value: 'FILE', help: 'of the bypass suite: a line of JSON for each case', complete: 'file' },
    { name: 'only', value: 'PATTERN', help: 'of the bypass suite: cases whose id matches this regular expression' },
  ],
  examples: ['clrk test', 'clrk test all', 'clrk test bypass --only smuggling/'],
  run: async ({ io, global, args, flag, signal }) => {
    const tools = toolsDirOf(global.dir);
    await setup(tools, progress(io), TEST_PACKAGES);
    const options = ['json', 'only'].flatMap((name) => (flag(name) === undefined ? [] : [`--${name}`, flag(name)!]));
    const argv = [join(APP, 'tools', 'test.ts'), ...args, ...options];
    const child = spawnChild(process.execPath, argv, { stdio: 'inherit', env: { ...process.env, CLRK_TOOLS: tools }, core: true });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    return (await exited(child)).code ?? 1;
  },
};
