import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { detectDriver } from '#sandbox';
import { inGroup } from '../../../src/sandbox/cgroup/index.ts';
import { v1Driver } from '../../../src/sandbox/cgroup/v1.ts';
import { v2Driver } from '../../../src/sandbox/cgroup/v2.ts';

/** What is written and read in plain files; real groups are in test/e2e/sandbox.test.ts. */

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-cgroup-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const mount = (point: string, type: string, options: string): string => `29 22 0:26 / ${point} rw,relatime shared:9 - ${type} ${type} ${options}`;
const V1 = ['cpu,cpuacct', 'memory', 'pids'].map((name) => mount(`/cg/${name}`, 'cgroup', `rw,${name}`));
const unified = async (controllers: string): Promise<string> => {
  await writeFile(join(dir, 'cgroup.controllers'), `${controllers}\n`);
  return mount(dir, 'cgroup2', 'rw,nsdelegate');
};

test('version 1 where its hierarchies have all controllers, beside a version 2 without them too', async () => {
  for (const mountinfo of [V1, [await unified('hugetlb'), ...V1]]) {
    const driver = await detectDriver(mountinfo.join('\n'));
    expect(driver.version).toBe(1);
    expect(driver.dirs('a/b')).toEqual(['/cg/memory/a/b', '/cg/cpu,cpuacct/a/b', '/cg/pids/a/b']);
  }
});

test('version 2 where it has all controllers', async () => {
  const driver = await detectDriver([await unified('cpuset cpu io memory pids'), mount('/cg/systemd', 'cgroup', 'rw,name=systemd')].join('\n'));
  expect([driver.version, driver.dirs('a')]).toEqual([2, [join(dir, 'a')]]);
});

test.each([
  ['nothing is mounted', [], '', 'cpu, memory, pids', 'no cgroup file system'],
  ['one controller is missing', V1.slice(0, 2), undefined, 'pids', 'cgroup at /cg/cpu,cpuacct, cgroup at /cg/memory'],
  ['the controllers are split between versions', V1.slice(1), 'cpu', 'cpu', 'cgroup2 at '],
])('a clear error when %s', async (_, mounts, controllers, missing, found) => {
  const mountinfo = [...(controllers ? [await unified(controllers)] : []), ...mounts].join('\n');
  const error = await detectDriver(mountinfo).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'CgroupsUnusable', message: expect.stringContaining(`controllers ${missing} in one hierarchy (found ${found}`) });
});

const LIMITS = { cpus: 1.5, memoryBytes: 2 ** 29 + 0.5, pids: 300 };

test('version 1: limits and counters', async () => {
  const roots = { cpu: join(dir, 'cpu'), memory: join(dir, 'memory'), pids: join(dir, 'pids') };
  const driver = v1Driver(roots);
  await driver.prepare('g');
  expect(driver.limits('g', LIMITS).map(({ file, value }) => [file.slice(dir.length), value])).toEqual([
    ['/memory/g/memory.limit_in_bytes', '536870912'],
    ['/memory/g/memory.memsw.limit_in_bytes', '536870912'],
    ['/memory/g/memory.swappiness', '0'],
    ['/cpu/g/cpu.cfs_period_us', '100000'],
    ['/cpu/g/cpu.cfs_quota_us', '150000'],
    ['/pids/g/pids.max', '300'],
  ]);
  await writeFile(join(roots.memory, 'g/memory.oom_control'), 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n');
  await writeFile(join(roots.cpu, 'g/cpu.stat'), 'nr_periods 30\nnr_throttled 20\nthrottled_time 1500000000\n');
  expect(await driver.usage('g')).toEqual({ oomKills: 2, pidsRefused: 0, periods: 30, throttledPeriods: 20, throttledMs: 1500 });
  await writeFile(join(roots.pids, 'g/pids.events'), 'max 7\n');
  expect(await driver.usage('g')).toMatchObject({ pidsRefused: 7 });
});

test('version 2: limits and counters', async () => {
  await mkdir(join(dir, 'g'));
  await writeFile(join(dir, 'cgroup.subtree_control'), 'cpuset cpu\n');
  const driver = v2Driver(dir);
  await driver.prepare('g');
  for (const file of ['cgroup.subtree_control', 'g/cgroup.subtree_control']) expect(await readFile(join(dir, file), 'utf8')).toBe('+cpu +memory +pids');
  expect(driver.limits('g', LIMITS).map(({ file, value }) => [file.slice(dir.length), value])).toEqual([
    ['/g/memory.max', '536870912'],
    ['/g/memory.swap.max', '0'],
    ['/g/memory.oom.group', '1'],
    ['/g/cpu.max', '150000 100000'],
    ['/g/pids.max', '300'],
  ]);
  await writeFile(join(dir, 'g/memory.events'), 'low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 1\n');
  await writeFile(join(dir, 'g/cpu.stat'), 'usage_usec 9\nnr_periods 3\nnr_throttled 2\nthrottled_usec 2500\n');
  await writeFile(join(dir, 'g/pids.events'), 'max 1\n');
  expect(await driver.usage('g')).toEqual({ oomKills: 1, pidsRefused: 1, periods: 3, throttledPeriods: 2, throttledMs: 2.5 });
});

const output = async (argv: readonly [string, ...string[]]): Promise<{ pid: number; stdout: string; code: unknown }> => {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  const [code] = await once(child, 'close');
  return { pid: child.pid!, stdout, code };
};

test('the wrapper joins every group, then becomes the command with its arguments as they are', async () => {
  const files = [join(dir, 'a b'), join(dir, '$(c)')];
  const { pid, stdout, code } = await output(inGroup(files, ['/bin/echo', '$HOME', '`id`', "'", '--', '']));
  expect([stdout, code]).toEqual(["$HOME `id` ' -- \n", 0]);
  for (const file of files) expect(await readFile(file, 'utf8')).toBe(`${pid}\n`);
});

test('what cannot join does not start', async () => {
  expect(await output(inGroup([join(dir, 'none', 'cgroup.procs')], ['/bin/echo', 'started']))).toMatchObject({ stdout: '', code: 128 });
});
