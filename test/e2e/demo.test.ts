import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { exited, spawnChild } from '#lib';
import { APP } from '../fixtures/quickstart.ts';
import { TOOLS } from './harness.ts';
import { command } from './support/command.ts';
import { linkImages } from './support/images.ts';
import { mountsOf, processesOf } from './support/leftovers.ts';

/** The demo as a new user runs it: from the namespace of the machine. */

let dir: string;
beforeAll(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'clrk-demo-')));
  await mkdir(join(dir, 'demo'));
  await linkImages(inject('images'), join(dir, 'demo', 'images'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it('--keep: the printed commands work from the host, and Ctrl-C ends everything', async () => {
  const argv = [join(APP, 'src', 'cmd', 'clrk.ts'), 'demo', '--keep', '--clrk-dir', dir];
  const demo = spawnChild(process.execPath, argv, { env: { ...process.env, CLRK_TOOLS: TOOLS } });
  const ended = exited(demo);
  let output = '';
  for (const stream of [demo.stdout!, demo.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  try {
    while (!/ {2}\.\/clrk egress log .*\n/.test(output)) {
      await Promise.race([once(demo.stdout!, 'data'), ended.then(() => Promise.reject(new Error(`the demo ended:\n${output}`)))]);
    }
    expect(output).toContain('NoRoute');
    const commands = output.split('\n').filter((line) => /^ {2}(kubectl|curl|\.\/clrk) /.test(line));
    expect(commands).toHaveLength(3);
    const [kubectl, curl, log] = await Promise.all(commands.map((line) => command(['sh', '-c', line], { cwd: APP, env: { HOME: dir, CLRK_TOOLS: TOOLS } })));
    expect(kubectl!.stderr).toBe('');
    expect(kubectl!.stdout).toContain('taskagent.clrk.apoxy.dev/summarizer');
    expect(kubectl!.stdout).toMatch(/Normal +Programmed +egressgateway\/default/);
    expect(JSON.parse(curl!.stdout)).toMatchObject({ exfiltration: { status: 403 } });
    expect(log!.stdout).toContain('exfil.example.com');
  } finally {
    demo.kill('SIGINT');
  }
  expect(await ended, output).toEqual({ code: 0, signal: null });
  expect((await processesOf(dir)).map((left) => left.argv.join(' '))).toEqual([]);
  expect(await mountsOf('self', join('/run/clrk', `demo-${demo.pid}`))).toEqual([]);
  expect(await readdir('/run/clrk')).not.toContain(`demo-${demo.pid}`);
});
