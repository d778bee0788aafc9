import { mkdtemp, rm, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { exited, run, spawnChild } from '#lib';
import { createLab } from '../../src/supervisor/lab.ts';
import { APP } from '../fixtures/quickstart.ts';

const links = async (): Promise<string> => (await run('ip', ['-brief', 'link'])).stdout;
const mounts = async (dir: string): Promise<string[]> => (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(dir));

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-lab-'));
});
afterEach(() => rm(dir, { recursive: true }));

it('joins two namespaces with each other and with nothing else, beside another lab', async () => {
  const before = await links();
  {
    await using one = await createLab(join(dir, 'one'));
    await using two = await createLab(join(dir, 'two'));
    expect(await links()).toBe(before);
    for (const lab of [one, two]) {
      const server = spawnChild(
        process.execPath,
        ['-e', `require('net').createServer(s => s.end('hello')).listen(443, '${lab.fixtureIp}', () => console.log('up'))`],
        { netns: lab.fixture },
      );
      await new Promise((resolve) => server.stdout!.once('data', resolve));
      const dial = `require('net').connect(443, '${lab.fixtureIp}').on('data', d => process.stdout.write(d))`;
      expect((await run(process.execPath, ['-e', dial], { netns: lab.stack })).stdout).toBe('hello');
      const routes = await Promise.all([lab.stack, lab.fixture].map(async (netns) => (await run('ip', ['route'], { netns })).stdout.trim().split('\n')));
      expect(routes.map((lines) => lines.length)).toEqual([1, 1]);
      expect((await run('ip', ['-6', 'route'], { netns: lab.stack })).stdout.trim()).toBe('');
      await expect(run(process.execPath, ['-e', `require('net').connect(443, '1.1.1.1')`], { netns: lab.stack })).rejects.toThrow('ENETUNREACH');
      server.kill();
      await exited(server);
    }
  }
  expect(await mounts(dir)).toEqual([]);
  expect(await readdir(dir)).toEqual([]);
  expect(await links()).toBe(before);
});

it('sweeps what a killed owner left, and only that', async () => {
  const program = `import { createLab } from ${JSON.stringify(join(APP, 'src/supervisor/lab.ts'))}; await createLab(${JSON.stringify(join(dir, 'dead'))}); console.log('made'); setInterval(() => {}, 1e6);`;
  const owner = spawnChild(process.execPath, ['--input-type=module', '-e', program], { cwd: APP });
  await new Promise((resolve) => owner.stdout!.once('data', resolve));
  await expect(createLab(join(dir, 'dead'))).rejects.toMatchObject({ code: 'StackRunning' });
  await using _mine = await createLab(join(dir, 'mine'));
  expect(await mounts(join(dir, 'dead'))).toHaveLength(2);
  owner.kill('SIGKILL');
  await exited(owner);
  await using _another = await createLab(join(dir, 'another'));
  expect((await readdir(dir)).toSorted()).toEqual(['another', 'mine']);
  expect(await mounts(join(dir, 'dead'))).toEqual([]);
});
