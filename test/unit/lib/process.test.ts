import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { DRAIN_SIGNAL, exited, KeptChild, READY_STDIO, readyReport, run, silentLogger, spawnChild, stopChild } from '#lib';

const alive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

test('run returns output, and a failure names the command and its stderr', async () => {
  expect((await run('cat', [], { input: 'hello' })).stdout).toBe('hello');
  await expect(run('sh', ['-c', 'echo why >&2; exit 3'])).rejects.toMatchObject({
    code: 'ChildFailed',
    message: expect.stringMatching(/exit code 3: why/) as string,
  });
  await expect(run('no-such-tool', [])).rejects.toMatchObject({ code: 'ToolMissing' });
});

test('a child dies with the process that started it, and dumps no core', async () => {
  const parent = spawn(process.execPath, [
    '--input-type=module-typescript',
    '-e',
    `import { spawnChild } from '#lib'; const c = spawnChild('sleep', ['60']); console.log(c.pid); setInterval(() => {}, 1000);`,
  ]);
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  await expect.poll(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('sleep');
  await expect.poll(() => readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max core file size\s+0\s+0/);
  parent.kill('SIGKILL');
  await expect.poll(() => alive(pid)).toBe(false);
});

test('a child whose parent died while it was being started runs nothing', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-slow-'));
  const [tool, go, ran] = [join(dir, 'prlimit'), join(dir, 'go'), join(dir, 'ran')];
  // Holds the child back until its parent is dead, so that nothing sends it a signal any more.
  await writeFile(tool, `#!/bin/sh\nwhile ! [ -e ${go} ]; do sleep 0.02; done\nPATH=\${PATH#*:}; exec prlimit "$@"\n`, { mode: 0o755 });
  const program = `import { spawnChild } from '#lib'; console.log(spawnChild('sh', ['-c', 'echo > ${ran}; exec sleep 60']).pid); setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], { env: { ...process.env, PATH: `${dir}:${process.env['PATH']}` } });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  expect(alive(pid)).toBe(true);
  await writeFile(go, '');
  await expect.poll(() => alive(pid)).toBe(false);
  expect(existsSync(ran)).toBe(false);
});

test('a child that ignores SIGTERM is killed after its grace', async () => {
  const child = spawnChild('sh', ['-c', "trap '' TERM; echo up; while :; do sleep 1; done"]);
  await once(child.stdout!, 'data');
  expect(await stopChild(child, 50)).toEqual({ code: null, signal: 'SIGKILL' });
});

test('a kept child is restarted when it dies, and stays down when disposed', async () => {
  const reports: unknown[] = [];
  const again = Promise.withResolvers<void>();
  let current = 0;
  const kept = new KeptChild({
    log: silentLogger,
    start: () => {
      const child = spawnChild('sh', ['-c', `echo '{"ready":true,"pid":'$$'}' >&3; exec sleep 60`], { stdio: READY_STDIO });
      current = child.pid!;
      return child;
    },
    started: async (child) => {
      reports.push(await readyReport(child));
      if (reports.length === 2) again.resolve();
    },
  });
  await kept.start();
  const first = current;
  process.kill(first, 'SIGKILL');
  await again.promise;
  expect(kept.restarts).toBe(1);
  expect(current).not.toBe(first);
  await kept[Symbol.asyncDispose]();
  expect(alive(current)).toBe(false);
});

test('a kept child that retires ends by itself, after what it is at, and is not started again', async () => {
  const script = `trap 'sleep 0.2; exit 0' ${DRAIN_SIGNAL.slice(3)}; echo '{"ready":true}' >&3; while :; do sleep 0.01; done`;
  let starts = 0;
  let last: ReturnType<typeof exited> | undefined;
  const kept = new KeptChild({
    log: silentLogger,
    start: () => {
      const child = spawnChild('sh', ['-c', script], { stdio: READY_STDIO });
      starts++;
      last = exited(child);
      return child;
    },
    started: async (child) => void (await readyReport(child)),
  });
  await kept.start();
  await kept.retire();
  expect(await last).toEqual({ code: 0, signal: null });
  expect(starts).toBe(1);
  await kept[Symbol.asyncDispose]();
});

test('a kept child that ends before it is ready fails to start', async () => {
  const kept = new KeptChild({
    log: silentLogger,
    start: () => spawnChild('false', [], { stdio: READY_STDIO }),
    started: async (child) => void (await readyReport(child)),
  });
  await expect(kept.start()).rejects.toMatchObject({ code: 'ChildFailed' });
});

test('a child that cannot be started counts as ended', async () => {
  expect(await exited(spawn('/no/such/program'))).toEqual({ code: 127, signal: null });
});
